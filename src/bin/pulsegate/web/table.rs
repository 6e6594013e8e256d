//! The connected devices as the gateway last listed them: searched, sorted and paged.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde_json::{Value, json};

/// Types that the table distinguishes. Further types are shown as the last type.
const TYPES_MAX: usize = 256;
/// Devices of one answer.
pub(super) const LIMIT_MAX: usize = 500;

/// A device in as few bytes as its figures need: 18,000 of them are held at a time.
#[derive(Debug)]
struct Row {
    conn: u64,
    objects: u64,
    bytes: u64,
    name: Option<Box<str>>,
    address: SocketAddr,
    connected_s: f32,
    seen_s: f32,
    credit: u8,
    last_type: Option<u8>,
}

/// A device as `{"device":{…}}` of the control socket has it.
#[derive(Deserialize)]
struct Sent<'a> {
    conn: u64,
    ip: IpAddr,
    port: u16,
    connected_s: f32,
    seen_s: f32,
    credit: u8,
    objects: u64,
    bytes: u64,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    last_type: Option<Cow<'a, str>>,
}

/// Which devices an answer has, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The search text in lower case. A device matches by name, address, type or `#ID`.
    pub(super) query: String,
    pub(super) column: Column,
    pub(super) is_descending: bool,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

pulsegate::closed_list! {
    /// The sort columns.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Column {
        Name => "name",
        Ip => "ip",
        ConnectedFor => "connected_s",
        IdleFor => "seen_s",
        Credit => "credit",
        Objects => "objects",
        Bytes => "bytes",
        LastType => "last_type",
    }
}

/// One list of devices, complete or still coming.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    types: Vec<Box<str>>,
    /// Missing names, as the gateway lists them.
    gone: Vec<Value>,
}

impl Table {
    /// Takes one line of the gateway's answer. Other lines are ignored.
    pub(super) fn push(&mut self, device: &str) {
        let Ok(sent) = serde_json::from_str::<Sent<'_>>(device) else { return };
        let last_type = sent.last_type.map(|kind| self.type_number(&kind));
        self.rows.push(Row {
            conn: sent.conn,
            objects: sent.objects,
            bytes: sent.bytes,
            name: sent.name.map(|name| name.into_owned().into_boxed_str()),
            address: SocketAddr::new(sent.ip, sent.port),
            connected_s: sent.connected_s,
            seen_s: sent.seen_s,
            credit: sent.credit,
            last_type,
        });
    }

    /// Takes a name that is gone.
    pub(super) fn push_gone(&mut self, name: Value) {
        self.gone.push(name);
    }

    /// Gives back the memory that growing left over.
    pub(super) fn finish(&mut self) {
        self.rows.shrink_to_fit();
    }

    fn type_number(&mut self, kind: &str) -> u8 {
        let known = self.types.iter().position(|known| **known == *kind);
        let number = known.unwrap_or_else(|| {
            if self.types.len() < TYPES_MAX {
                self.types.push(kind.into());
            }
            self.types.len() - 1
        });
        number as u8
    }

    fn type_of(&self, row: &Row) -> Option<&str> {
        row.last_type.map(|number| &*self.types[usize::from(number)])
    }

    /// The devices of a view, in its order. Only the page is sorted, so that a page of 18,000 devices costs little.
    pub(super) fn page(&self, view: &View) -> Value {
        let mut text = String::new();
        let mut found: Vec<&Row> = self.rows.iter().filter(|row| self.has(row, &view.query, &mut text)).collect();
        let order = |a: &&Row, b: &&Row| {
            let order = self.compare(view.column, a, b);
            let order = if view.is_descending { order.reverse() } else { order };
            order.then(a.conn.cmp(&b.conn))
        };
        let total = found.len();
        let (start, end) = (view.offset.min(total), view.offset.saturating_add(view.limit).min(total));
        if end < total {
            found.select_nth_unstable_by(end, order);
        }
        let page = &mut found[..end];
        if start > 0 && start < end {
            page.select_nth_unstable_by(start, order);
        }
        let page = &mut page[start..];
        page.sort_unstable_by(order);
        let devices: Vec<Value> = page.iter().map(|row| self.json(row)).collect();
        let has = |gone: &&Value| view.query.is_empty() || gone.to_string().to_lowercase().contains(&view.query);
        let gone: Vec<&Value> = self.gone.iter().filter(has).collect();
        json!({
            "devices": devices, "total": total, "offset": start,
            "gone": &gone[..gone.len().min(view.limit)], "gone_total": gone.len(),
        })
    }

    /// The device of that connection.
    pub(super) fn device(&self, conn: u64) -> Option<Value> {
        self.rows.iter().find(|row| row.conn == conn).map(|row| self.json(row))
    }

    fn has(&self, row: &Row, query: &str, text: &mut String) -> bool {
        if query.is_empty() {
            return true;
        }
        text.clear();
        // Writing to memory does not fail.
        let _ = write!(text, "#{} {} ", row.conn, row.address);
        text.push_str(row.name.as_deref().unwrap_or(""));
        text.push(' ');
        text.push_str(self.type_of(row).unwrap_or(""));
        text.to_lowercase().contains(query)
    }

    fn compare(&self, column: Column, a: &Row, b: &Row) -> Ordering {
        match column {
            // Named devices come first. The others follow by address.
            Column::Name => match (&a.name, &b.name) {
                (Some(a), Some(b)) => a.cmp(b),
                (None, None) => a.address.cmp(&b.address),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
            Column::Ip => a.address.cmp(&b.address),
            Column::ConnectedFor => a.connected_s.total_cmp(&b.connected_s),
            Column::IdleFor => a.seen_s.total_cmp(&b.seen_s),
            Column::Credit => a.credit.cmp(&b.credit),
            Column::Objects => a.objects.cmp(&b.objects),
            Column::Bytes => a.bytes.cmp(&b.bytes),
            Column::LastType => self.type_of(a).cmp(&self.type_of(b)),
        }
    }

    fn json(&self, row: &Row) -> Value {
        let tenths = |seconds: f32| (f64::from(seconds) * 10.0).round() / 10.0;
        json!({
            "conn": row.conn, "name": row.name, "ip": row.address.ip(), "port": row.address.port(),
            "connected_s": tenths(row.connected_s), "seen_s": tenths(row.seen_s), "credit": row.credit,
            "objects": row.objects, "bytes": row.bytes, "last_type": self.type_of(row),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        for (conn, name, ip, bytes, kind) in [
            (1, None, "192.0.2.9", 30, "Status"),
            (2, Some("pump-2"), "192.0.2.8", 10, "Project"),
            (3, Some("Pump-1"), "2001:db8::7", 20, "Status"),
            (4, None, "192.0.2.10", 40, "Status"),
        ] {
            table.push(
                &json!({
                    "conn": conn, "name": name, "ip": ip, "port": 7, "connected_s": 1.0, "seen_s": 0.5, "credit": 5,
                    "objects": 1, "bytes": bytes, "last_type": kind,
                })
                .to_string(),
            );
        }
        table.push("nonsense");
        table
    }

    fn page(query: &str, sort: &str, offset: usize, limit: usize) -> (Vec<u64>, u64) {
        let (name, is_descending) = sort.strip_prefix('-').map_or((sort, false), |name| (name, true));
        let column = Column::find(name).unwrap();
        let page = table().page(&View { query: query.into(), column, is_descending, offset, limit });
        let conns = page["devices"].as_array().unwrap().iter().map(|device| device["conn"].as_u64().unwrap());
        (conns.collect(), page["total"].as_u64().unwrap())
    }

    #[test]
    fn devices_are_sorted_by_any_column_and_paged() {
        assert_eq!(page("", "bytes", 0, 9), (vec![2, 3, 1, 4], 4));
        assert_eq!(page("", "-bytes", 0, 9), (vec![4, 1, 3, 2], 4));
        assert_eq!(page("", "name", 0, 9), (vec![3, 2, 1, 4], 4));
        assert_eq!(page("", "ip", 0, 9), (vec![2, 1, 4, 3], 4));
        assert_eq!(page("", "bytes", 1, 2), (vec![3, 1], 4));
        assert_eq!(page("", "bytes", 3, 2), (vec![4], 4));
        assert_eq!(page("", "bytes", 9, 2), (vec![], 4));
    }

    #[test]
    fn a_search_finds_names_addresses_types_and_numbers_whatever_their_case() {
        assert_eq!(page("pump", "bytes", 0, 9), (vec![2, 3], 2));
        assert_eq!(page("192.0.2.1", "bytes", 0, 9), (vec![4], 1));
        assert_eq!(page("[2001:db8::7]:7", "bytes", 0, 9), (vec![3], 1));
        assert_eq!(page("project", "bytes", 0, 9), (vec![2], 1));
        assert_eq!(page("#3", "bytes", 0, 9), (vec![3], 1));
        assert_eq!(page("none", "bytes", 0, 9), (vec![], 0));
        assert_eq!(table().device(3).unwrap()["name"], "Pump-1");
    }

    /// Every page of every order, put together, is the whole table sorted.
    #[test]
    fn pages_put_together_are_the_sorted_table() {
        let mut table = Table::default();
        for conn in 0..500_u64 {
            let bytes = conn * 7919 % 97;
            table.push(
                &json!({
                    "conn": conn, "ip": "192.0.2.1", "port": conn, "connected_s": 0.0, "seen_s": 0.0, "credit": 5,
                    "objects": 0, "bytes": bytes, "last_type": null,
                })
                .to_string(),
            );
        }
        for is_descending in [false, true] {
            let view =
                |offset, limit| View { query: String::new(), column: Column::Bytes, is_descending, offset, limit };
            let all = table.page(&view(0, 500))["devices"].as_array().unwrap().clone();
            let parts: Vec<Value> = (0..500)
                .step_by(33)
                .flat_map(|at| table.page(&view(at, 33))["devices"].as_array().unwrap().clone())
                .collect();
            assert_eq!(all, parts);
        }
    }
}
