//! The head of an HTTP/1.1 request (RFC 9112), and the rules by which one is refused.

use std::borrow::Cow;

use httparse::{EMPTY_HEADER, Error as Syntax, Header};

use super::response::Status;

/// Bytes of a request's head, with its empty line.
pub(super) const HEAD_BYTES_MAX: usize = 8 << 10;
/// Bytes of a request's body.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;

/// The methods that this server knows. A head request gets a head as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Delete,
}

/// The parts of a request's head that the server uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Percent-decoded, from the first `/` on.
    pub(super) path: String,
    /// Names and values, percent-decoded, in order.
    pub(super) query: Vec<(String, String)>,
    /// The authority that the client asked for. Only HTTP/1.0 may leave it out.
    pub(super) host: Option<String>,
    pub(super) origin: Option<String>,
    /// The session of the cookie.
    pub(super) session: Option<String>,
    /// The token of `Authorization: Bearer`.
    pub(super) bearer: Option<String>,
    pub(super) last_event_id: Option<String>,
    /// Bytes of the body that follows.
    pub(super) content_length: usize,
    /// Whether the client may send another request on this connection.
    pub(super) keep_alive: bool,
}

impl Request {
    /// The last value of that name in the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// The name of the cookie that holds a session.
pub(super) const COOKIE: &str = "pulsegate_session";

/// Reads the head at the front of `bytes`. The answer has its length, or `None` while it is unfinished.
///
/// # Errors
/// The status that the client gets before its connection ends. The server reads
/// nothing behind a bad head, because it may be smuggled.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Status> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(&bytes[..bytes.len().min(HEAD_BYTES_MAX)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => return Err(Status::HeadTooLarge),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(Syntax::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(Syntax::Version) => return Err(Status::VersionNotSupported),
        Err(_) => return Err(Status::BadRequest),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Status::BadRequest);
    };
    let is_current = version == 1;
    let fields = Fields(head.headers);
    let method = method_of(method)?;
    if fields.has("transfer-encoding") {
        return Err(Status::NotImplemented);
    }
    if fields.has("expect") {
        return Err(Status::ExpectationFailed);
    }
    let content_length = content_length(&fields)?;
    let (authority, path, query) = split(target)?;
    let host = fields.one("host")?;
    if is_current && host.is_none() {
        return Err(Status::BadRequest);
    }
    let connection = fields.all("connection").map(str::to_ascii_lowercase).collect::<Vec<_>>().join(",");
    let asks = |word: &str| connection.split(',').any(|option| option.trim() == word);
    Ok(Some((
        Request {
            method,
            path: decode(path, false).ok_or(Status::BadRequest)?.into_owned(),
            query: pairs(query)?,
            // RFC 9112 section 3.2.2: the authority of an absolute target comes before the field.
            host: authority.or(host).map(str::to_owned),
            origin: fields.one("origin")?.map(str::to_owned),
            session: fields.all("cookie").find_map(session),
            bearer: fields.one("authorization")?.and_then(bearer),
            last_event_id: fields.one("last-event-id")?.map(str::to_owned),
            content_length,
            keep_alive: if is_current { !asks("close") } else { asks("keep-alive") },
        },
        length,
    )))
}

struct Fields<'a>(&'a [Header<'a>]);

impl<'a> Fields<'a> {
    /// The values of that field which are visible ASCII. Others mean nothing here.
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let fields = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.filter_map(|field| std::str::from_utf8(field.value).ok()).map(str::trim)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// The value of a field that may stand once.
    fn one(&self, name: &str) -> Result<Option<&'a str>, Status> {
        let mut fields = self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        match (fields.next(), fields.next()) {
            (None, _) => Ok(None),
            (Some(field), None) => match std::str::from_utf8(field.value) {
                Ok(value) => Ok(Some(value.trim())),
                Err(_) => Err(Status::BadRequest),
            },
            (Some(_), Some(_)) => Err(Status::BadRequest),
        }
    }
}

fn method_of(name: &str) -> Result<Method, Status> {
    match name {
        "GET" => Ok(Method::Get),
        "HEAD" => Ok(Method::Head),
        "POST" => Ok(Method::Post),
        "DELETE" => Ok(Method::Delete),
        "PUT" | "PATCH" | "OPTIONS" | "TRACE" | "CONNECT" => Err(Status::MethodNotAllowed),
        _ => Err(Status::NotImplemented),
    }
}

/// The length of the body. Only digits count: a sign or a list is how requests are smuggled (RFC 9112 section 6.3).
fn content_length(fields: &Fields<'_>) -> Result<usize, Status> {
    let Some(text) = fields.one("content-length")? else { return Ok(0) };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Status::BadRequest);
    }
    match text.parse() {
        Ok(length) if length <= BODY_BYTES_MAX => Ok(length),
        _ => Err(Status::ContentTooLarge),
    }
}

/// The authority, path and query of a request's target, in origin form or in absolute form.
fn split(target: &str) -> Result<(Option<&str>, &str, &str), Status> {
    let (authority, target) = match target.strip_prefix("http://") {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]), if rest[end..].is_empty() { "/" } else { &rest[end..] })
        }
        None => (None, target),
    };
    if !target.starts_with('/') {
        return Err(Status::BadRequest);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok((authority, path, query))
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Status> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let text = |text| decode(text, true).map(Cow::into_owned).ok_or(Status::BadRequest);
            Ok((text(name)?, text(value)?))
        })
        .collect()
}

/// Undoes percent-encoding (RFC 3986 section 2.1), and in a form's query `+` for a space. `None` if it is no UTF-8.
fn decode(text: &str, is_form: bool) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            b'+' if is_form => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn session(cookies: &str) -> Option<String> {
    let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

fn bearer(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(head: &str) -> Result<Option<Request>, Status> {
        parse(head.as_bytes()).map(|found| found.map(|(request, _)| request))
    }

    #[test]
    fn a_request_of_a_browser_is_understood() {
        let head = "GET /api/devices?query=a%20b%2B&sort=-bytes HTTP/1.1\r\nHost: localhost:5580\r\nCookie: a=1; \
                    pulsegate_session=abc\r\nLast-Event-ID: x.7\r\n\r\n";
        let request = get(head).unwrap().unwrap();
        assert_eq!((request.method, request.path.as_str()), (Method::Get, "/api/devices"));
        assert_eq!((request.query("query"), request.query("sort")), (Some("a b+"), Some("-bytes")));
        assert_eq!(request.host.as_deref(), Some("localhost:5580"));
        assert_eq!((request.session.as_deref(), request.last_event_id.as_deref()), (Some("abc"), Some("x.7")));
        assert!(request.keep_alive);
    }

    #[test]
    fn an_unfinished_head_waits_and_a_huge_one_is_refused() {
        let head = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(get(&head[..end]), Ok(None), "{end}");
        }
        let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(get(&huge), Err(Status::HeadTooLarge));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX));
        assert_eq!(get(&many), Err(Status::HeadTooLarge));
    }

    #[test]
    fn ambiguous_lengths_are_refused() {
        let with = |fields: &str| get(&format!("POST /x HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")).unwrap_err();
        assert_eq!(with("Transfer-Encoding: chunked"), Status::NotImplemented);
        assert_eq!(with("Content-Length: 1\r\nContent-Length: 1"), Status::BadRequest);
        assert_eq!(with("Content-Length: 1,1"), Status::BadRequest);
        assert_eq!(with("Content-Length: +1"), Status::BadRequest);
        assert_eq!(with("Content-Length: 65537"), Status::ContentTooLarge);
        assert_eq!(with("Content-Length : 1"), Status::BadRequest);
        assert_eq!(with("A: b\r\n c"), Status::BadRequest);
        assert_eq!(with("Host: y"), Status::BadRequest);
        assert_eq!(with("Expect: 100-continue"), Status::ExpectationFailed);
    }

    #[test]
    fn lines_that_are_no_request_get_the_right_status() {
        for (line, status) in [
            ("GET / HTTP/2.0", Status::VersionNotSupported),
            ("BREW / HTTP/1.1", Status::NotImplemented),
            ("PUT / HTTP/1.1", Status::MethodNotAllowed),
            ("GET x HTTP/1.1", Status::BadRequest),
            ("GET /%ff HTTP/1.1", Status::BadRequest),
            ("GET /%4 HTTP/1.1", Status::BadRequest),
            ("\u{16}\u{3}\u{1}", Status::BadRequest),
        ] {
            assert_eq!(get(&format!("{line}\r\nHost: x\r\n\r\n")), Err(status), "{line}");
        }
        assert_eq!(get("GET / HTTP/1.1\r\n\r\n"), Err(Status::BadRequest));
    }

    #[test]
    fn the_version_and_the_connection_field_decide_on_another_request() {
        let keeps = |head: &str| get(head).unwrap().unwrap().keep_alive;
        assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n\r\n"));
        assert!(keeps("GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(get("GET http://y?a HTTP/1.1\r\nHost: x\r\n\r\n"), Err(Status::BadRequest));
    }
}
