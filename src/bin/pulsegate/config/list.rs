//! Values with several entries.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use pulsegate::{Cidr, ConnectionId, Glob};
use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::format::{Fault, Format, Input, What, quote, text, type_of};
use super::scalar::Count;

/// What a list may hold.
pub(super) trait Entry: FromStr<Err: Display> + Display {
    /// What an entry that cannot be read is told to be, where its error does not say.
    const RULE: Option<&'static str> = None;
}

impl Entry for SocketAddr {
    const RULE: Option<&'static str> =
        Some("an address is written with its port, such as 192.0.2.1:5556 or [2001:db8::1]:5556");
}
impl Entry for Cidr {}
impl Entry for Glob {}

/// Entries in any number, the single one also without brackets.
pub(super) struct List;

impl<T: Entry> Format<Vec<T>> for List {
    const WANT: &'static str = "a list of texts, such as [\"…\", \"…\"]";
    const LIST: bool = true;

    fn read(input: Input<'_>) -> Result<Vec<T>, Fault> {
        let of_list = |value: &Spanned<DeValue<'_>>| {
            let what = match value.get_ref() {
                DeValue::String(text) => return entry(text).map_err(|fault| at(value, fault)),
                other => What::Other(format!("an entry of a list must be a text in quotes, not {}", type_of(other))),
            };
            Err(at(value, what))
        };
        match input {
            Input::Toml(value) => match value.get_ref() {
                DeValue::Array(entries) => entries.iter().map(of_list).collect(),
                DeValue::String(_) => Ok(vec![of_list(value)?]),
                other => Err(What::OfType(type_of(other)).into()),
            },
            Input::Text("") => Ok(Vec::new()),
            Input::Text(text) => Ok(text.split(',').map(|text| entry(text.trim())).collect::<Result<_, _>>()?),
        }
    }

    fn show(value: &Vec<T>) -> String {
        let entries: Vec<_> = value.iter().map(|entry| quote(&entry.to_string())).collect();
        format!("[{}]", entries.join(", "))
    }
}

fn entry<T: Entry>(text: &str) -> Result<T, What> {
    text.parse().map_err(|error: T::Err| What::Other(T::RULE.map_or_else(|| error.to_string(), Into::into)))
}

fn at(value: &Spanned<DeValue<'_>>, what: What) -> Fault {
    Fault { span: Some(value.span()), what }
}

/// A list that may be switched off.
pub(super) struct ListOrOff;

impl<T: Entry> Format<Vec<T>> for ListOrOff {
    const WANT: &'static str = "\"off\" or a list of texts, such as [\"…\", \"…\"]";
    const LIST: bool = true;

    fn read(input: Input<'_>) -> Result<Vec<T>, Fault> {
        if matches!(text(input), Ok("off")) { Ok(Vec::new()) } else { List::read(input) }
    }

    fn show(value: &Vec<T>) -> String {
        if value.is_empty() { quote("off") } else { List::show(value) }
    }
}

/// A number for each of some blocks of addresses.
pub(super) struct Blocks;

impl Format<Vec<(Cidr, usize)>> for Blocks {
    const WANT: &'static str = "a table of blocks and numbers, such as { \"192.0.2.0/24\" = 100 }";
    const LIST: bool = true;

    fn read(input: Input<'_>) -> Result<Vec<(Cidr, usize)>, Fault> {
        let of_table = |(block, number): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let block_at = |what| Fault { span: Some(block.span()), what };
            let number_at = |what| at(number, what);
            let max = block_number(Input::Toml(number)).map_err(number_at)?;
            Ok((entry(block.get_ref()).map_err(block_at)?, max))
        };
        let of_text = |text: &str| {
            let example = || What::Other("an entry must be a block and a number, such as 192.0.2.0/24=100".into());
            let (block, number) = text.split_once('=').ok_or_else(example)?;
            Ok((entry(block.trim())?, block_number(Input::Text(number.trim()))?))
        };
        match input {
            Input::Toml(value) => match value.get_ref() {
                DeValue::Table(table) => table.iter().map(of_table).collect(),
                other => Err(What::OfType(type_of(other)).into()),
            },
            Input::Text("") => Ok(Vec::new()),
            Input::Text(text) => text.split(',').map(of_text).collect(),
        }
    }

    fn show(value: &Vec<(Cidr, usize)>) -> String {
        let entries: Vec<_> = value.iter().map(|(block, number)| format!("\"{block}\" = {number}")).collect();
        if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
    }
}

fn block_number(input: Input<'_>) -> Result<usize, What> {
    let max = ConnectionId::SLOTS_MAX;
    let number = Count::read(input).ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| What::Other(format!("the number for a block must be a whole number from 1 to {max}")))
}
