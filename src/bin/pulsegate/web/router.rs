//! From a request to its route, and the rules that keep other sites out.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::page;
use super::request::{Method, Request};
use super::response::{Response, Status};
use super::ring::Filter;
use super::table::{Column, LIMIT_MAX, View};

/// The resource or change that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// A file of the page.
    File(Response),
    Metrics,
    Health,
    Status,
    Stats,
    History,
    Devices(View),
    Device(u64),
    /// The event stream, and the last event that the page has seen.
    Events(Filter, Option<String>),
    /// Send the text to a connection.
    Command(u64, String),
    /// Close a connection.
    Remove(u64),
    /// Open a session with that token.
    SignIn(String),
    SignOut,
}

impl Route {
    /// Whether the request changes something, so that only a signed-in page or program may ask.
    pub(super) fn is_change(&self) -> bool {
        matches!(self, Self::Command(..) | Self::Remove(_))
    }
}

/// The names under which the page may be asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    /// The addresses that were bound.
    pub(super) bound: Vec<IpAddr>,
    /// Further names, `web.hosts`.
    pub(super) names: Vec<String>,
}

impl Hosts {
    /// Whether a request may ask for that authority. A site that has its own name lead to this address (DNS rebinding)
    /// asks for that name, so only addresses and the names of the configuration are served.
    fn has(&self, authority: &str) -> bool {
        if let Ok(address) = authority.parse::<SocketAddr>() {
            return self.has_ip(address.ip());
        }
        let bracketed = authority.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bracketed.unwrap_or(authority).parse::<IpAddr>() {
            return self.has_ip(ip);
        }
        let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
        name.eq_ignore_ascii_case("localhost") || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn has_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.bound.iter().any(|bound| bound.is_unspecified() || bound.to_canonical() == ip)
    }
}

/// Finds the route of a request.
///
/// # Errors
/// The answer to a request that asks for nothing here.
pub(super) fn route(request: &Request, body: &[u8], hosts: &Hosts) -> Result<Route, Response> {
    if let Some(host) = request.host.as_deref().filter(|host| !hosts.has(host)) {
        let detail = format!("the name '{host}' is not served here: add it to web.hosts in pulsegate.toml");
        return Err(Response::error(Status::Misdirected, "unknown_host", &detail));
    }
    let reads = matches!(request.method, Method::Get | Method::Head);
    if !reads {
        check_origin(request)?;
    }
    let path = request.path.as_str();
    let found = match (path, request.method) {
        ("/metrics", Method::Get | Method::Head) => Route::Metrics,
        ("/healthz", Method::Get | Method::Head) => Route::Health,
        ("/api/status", Method::Get | Method::Head) => Route::Status,
        ("/api/stats", Method::Get | Method::Head) => Route::Stats,
        ("/api/history", Method::Get | Method::Head) => Route::History,
        ("/api/devices", Method::Get | Method::Head) => Route::Devices(view(request)?),
        ("/api/events", Method::Get) => events(request)?,
        ("/api/sign-in", Method::Post) => Route::SignIn(member(body, "token")?),
        ("/api/sign-out", Method::Post) => Route::SignOut,
        _ => return device(request, body).unwrap_or_else(|| absent(path, reads)),
    };
    Ok(found)
}

/// The routes under `/api/devices/ID`.
fn device(request: &Request, body: &[u8]) -> Option<Result<Route, Response>> {
    let rest = request.path.strip_prefix("/api/devices/")?;
    let (conn, action) = rest.split_once('/').map_or((rest, None), |(conn, action)| (conn, Some(action)));
    let conn = conn.parse().ok()?;
    match (request.method, action) {
        (Method::Get | Method::Head, None) => Some(Ok(Route::Device(conn))),
        (Method::Delete, None) => Some(Ok(Route::Remove(conn))),
        (Method::Post, Some("commands")) => Some(member(body, "text").map(|text| Route::Command(conn, text))),
        _ => None,
    }
}

/// A file of the page, or the answer that there is none.
fn absent(path: &str, reads: bool) -> Result<Route, Response> {
    const PATHS: [&str; 8] = [
        "/metrics",
        "/healthz",
        "/api/status",
        "/api/stats",
        "/api/history",
        "/api/devices",
        "/api/events",
        "/api/sign-in",
    ];
    match page::file(path) {
        Some(file) if reads => Ok(Route::File(file)),
        None if !PATHS.contains(&path) => {
            Err(Response::error(Status::NotFound, "not_found", "there is nothing under this path"))
        }
        _ => {
            let detail = "this path does not take that method";
            Err(Response::error(Status::MethodNotAllowed, "method_not_allowed", detail))
        }
    }
}

/// A page of another site may make a browser send a request here, but cannot hide where it comes from (RFC 6454
/// section 7). A program that has a token is no browser and sends none.
fn check_origin(request: &Request) -> Result<(), Response> {
    let own = |origin: &str| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some() && authority == request.host.as_deref()
    };
    match &request.origin {
        Some(origin) if own(origin) => Ok(()),
        None if request.bearer.is_some() => Ok(()),
        _ => Err(Response::error(
            Status::Forbidden,
            "other_origin",
            "only this page and programs with a token may change something",
        )),
    }
}

fn bad(detail: &str) -> Response {
    Response::error(Status::BadRequest, "bad_request", detail)
}

/// A text of a JSON body.
fn member(body: &[u8], name: &str) -> Result<String, Response> {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let text = parsed.as_ref().and_then(|value| value.get(name)).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| bad(&format!("the body must be a JSON object with a text '{name}'")))
}

fn view(request: &Request) -> Result<View, Response> {
    let sort = request.query("sort").filter(|sort| !sort.is_empty()).unwrap_or("name");
    let (name, is_descending) = sort.strip_prefix('-').map_or((sort, false), |name| (name, true));
    let column = Column::find(name)
        .ok_or_else(|| bad(&format!("invalid sort '{sort}': expected one of {}", Column::WORDS.join(", "))))?;
    let number = |name: &str, default: usize| match request.query(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| bad(&format!("invalid {name} '{text}': expected a whole number"))),
    };
    let query = request.query("query").unwrap_or_default().trim().to_lowercase();
    Ok(View { query, column, is_descending, offset: number("offset", 0)?, limit: number("limit", 100)?.min(LIMIT_MAX) })
}

fn events(request: &Request) -> Result<Route, Response> {
    let filter = Filter::new(request.query("type"), request.query("device")).map_err(|detail| bad(&detail))?;
    Ok(Route::Events(filter, request.last_event_id.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::request::parse;
    use super::*;

    fn ask(head: &str, body: &str) -> Result<Route, Status> {
        let head = format!("{head}\r\nContent-Length: {}\r\n\r\n", body.len());
        let (request, _) = parse(head.as_bytes()).unwrap().unwrap();
        let hosts = Hosts { bound: vec!["127.0.0.1".parse().unwrap()], names: vec!["gate.example".into()] };
        route(&request, body.as_bytes(), &hosts).map_err(|response| response.status)
    }

    #[test]
    fn every_path_leads_somewhere() {
        let get = |path: &str| ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost"), "");
        assert_eq!(get("/metrics"), Ok(Route::Metrics));
        assert_eq!(get("/api/devices/7"), Ok(Route::Device(7)));
        assert!(
            matches!(get("/api/devices?sort=-bytes&limit=9999"), Ok(Route::Devices(view)) if view.limit == LIMIT_MAX && view.is_descending)
        );
        assert!(
            matches!(get("/api/events?type=Status&device=%237"), Ok(Route::Events(filter, None)) if filter.kind.is_some())
        );
        assert_eq!(get("/api/devices?sort=x"), Err(Status::BadRequest));
        assert_eq!(get("/api/devices/x"), Err(Status::NotFound));
        assert_eq!(get("/api/sign-in"), Err(Status::MethodNotAllowed));
        assert_eq!(get("/../etc/passwd"), Err(Status::NotFound));
    }

    #[test]
    fn names_that_another_site_could_own_are_not_served() {
        let host = |host: &str| ask(&format!("GET /metrics HTTP/1.1\r\nHost: {host}"), "");
        for good in
            ["localhost", "LOCALHOST:5580", "127.0.0.1:5580", "127.0.0.1", "gate.example:80", "[::ffff:127.0.0.1]:1"]
        {
            assert_eq!(host(good), Ok(Route::Metrics), "{good}");
        }
        for bad in
            ["evil.example", "127.0.0.1.evil.example", "192.0.2.1", "[::1]:5580", "localhost.evil.example:5580", ""]
        {
            assert_eq!(host(bad), Err(Status::Misdirected), "{bad}");
        }
    }

    #[test]
    fn only_this_page_or_a_program_with_a_token_changes_something() {
        let post = |fields: &str| {
            ask(&format!("POST /api/devices/7/commands HTTP/1.1\r\nHost: localhost{fields}"), r#"{"text":"reboot"}"#)
        };
        assert_eq!(post("\r\nOrigin: http://localhost"), Ok(Route::Command(7, "reboot".into())));
        assert_eq!(post("\r\nAuthorization: Bearer x"), Ok(Route::Command(7, "reboot".into())));
        assert_eq!(post(""), Err(Status::Forbidden));
        assert_eq!(post("\r\nOrigin: null"), Err(Status::Forbidden));
        assert_eq!(post("\r\nOrigin: http://evil.example"), Err(Status::Forbidden));
        assert_eq!(post("\r\nOrigin: http://evil.example\r\nAuthorization: Bearer x"), Err(Status::Forbidden));
        assert_eq!(
            ask("DELETE /api/devices/7 HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost", ""),
            Ok(Route::Remove(7))
        );
        assert_eq!(
            ask("POST /api/sign-in HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost", "{}"),
            Err(Status::BadRequest)
        );
    }
}
