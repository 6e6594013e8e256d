//! Values with several entries.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use pulsegate::{Cidr, ConnectionId, Glob};
use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::format::{Fault, Format, Input, What, all, quote, shown, single_quoted, text, type_of};
use super::scalar::Count;

/// An entry of a list.
pub(super) trait Entry: FromStr<Err: Display> + Display {
    /// Returns the accepted form, for a text that is no such entry.
    fn fault(_text: &str, error: Self::Err) -> String {
        error.to_string()
    }
}

impl Entry for SocketAddr {
    fn fault(text: &str, _: Self::Err) -> String {
        let parts =
            text.rsplit_once(':').map(|(ip, port)| (ip.trim_matches(['[', ']']).parse::<IpAddr>().is_ok(), port));
        match parts {
            Some((true, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() => {
                "expected a port from 0 to 65535".into()
            }
            _ => "expected an IP address with a port, such as 192.0.2.1:5556 or [2001:db8::1]:5556".into(),
        }
    }
}
impl Entry for Cidr {}
impl Entry for Glob {}

/// A list. A single entry needs no brackets.
pub(super) struct List;

impl<T: Entry> Format<Vec<T>> for List {
    const WANT: &'static str = "a list of texts, such as [\"…\", \"…\"]";
    const LIST: bool = true;

    fn read(input: Input<'_>) -> Result<Vec<T>, Vec<Fault>> {
        let of_list = |value: &Spanned<DeValue<'_>>| {
            let what = match value.get_ref() {
                DeValue::String(text) => return entry(text).map_err(|fault| at(value, fault)),
                _ => What::Entry(shown(Input::Toml(value)), "expected a text in quotes".into()),
            };
            Err(at(value, what))
        };
        match input {
            Input::Toml(value) => match value.get_ref() {
                DeValue::Array(entries) => all(entries.iter().map(of_list)),
                DeValue::String(_) => all([of_list(value)].into_iter()),
                other => Err(What::OfType(type_of(other)).into()),
            },
            Input::Text("") => Ok(Vec::new()),
            Input::Text(text) => all(text.split(',').map(|text| Ok(entry(text.trim())?))),
        }
    }

    fn show(value: &Vec<T>) -> String {
        let entries: Vec<_> = value.iter().map(|entry| quote(&entry.to_string())).collect();
        format!("[{}]", entries.join(", "))
    }
}

fn entry<T: Entry>(text: &str) -> Result<T, What> {
    text.parse().map_err(|error| What::Entry(single_quoted(text), T::fault(text, error)))
}

fn at(value: &Spanned<DeValue<'_>>, what: What) -> Fault {
    Fault { span: Some(value.span()), what }
}

/// A list, or `off` for an empty list.
pub(super) struct ListOrOff;

impl<T: Entry> Format<Vec<T>> for ListOrOff {
    const WANT: &'static str = "\"off\" or a list of texts, such as [\"…\", \"…\"]";
    const LIST: bool = true;

    fn read(input: Input<'_>) -> Result<Vec<T>, Vec<Fault>> {
        if matches!(text(input), Ok("off")) { Ok(Vec::new()) } else { List::read(input) }
    }

    fn show(value: &Vec<T>) -> String {
        if value.is_empty() { quote("off") } else { List::show(value) }
    }
}

/// A number for each block of addresses.
pub(super) struct Blocks;

impl Format<Vec<(Cidr, usize)>> for Blocks {
    const WANT: &'static str = "a table of blocks and numbers, such as { \"192.0.2.0/24\" = 100 }";
    const LIST: bool = true;

    fn read(input: Input<'_>) -> Result<Vec<(Cidr, usize)>, Vec<Fault>> {
        let of_table = |(block, number): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let block_at = |what| Fault { span: Some(block.span()), what };
            let max = block_number(Input::Toml(number)).map_err(|what| at(number, what))?;
            Ok((entry(block.get_ref()).map_err(block_at)?, max))
        };
        let of_text = |text: &str| {
            let example = "expected a block and a number, such as 192.0.2.0/24=100";
            let (block, number) =
                text.split_once('=').ok_or_else(|| What::Entry(single_quoted(text), example.into()))?;
            Ok((entry(block.trim())?, block_number(Input::Text(number.trim()))?))
        };
        match input {
            Input::Toml(value) => match value.get_ref() {
                DeValue::Table(table) => all(table.iter().map(of_table)),
                other => Err(What::OfType(type_of(other)).into()),
            },
            Input::Text("") => Ok(Vec::new()),
            Input::Text(text) => all(text.split(',').map(of_text)),
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
    number.ok_or_else(|| What::Entry(shown(input), format!("expected a whole number from 1 to {max}")))
}
