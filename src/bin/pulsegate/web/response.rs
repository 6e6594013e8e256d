//! Answers to HTTP requests, with the fields that keep a browser safe.

use std::fmt::Write;

/// The status codes that this server answers with (RFC 9110 section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    ContentTooLarge,
    ExpectationFailed,
    Misdirected,
    TooManyRequests,
    HeadTooLarge,
    NotImplemented,
    Unavailable,
    GatewayTimeout,
    VersionNotSupported,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::Conflict => "409 Conflict",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::Misdirected => "421 Misdirected Request",
            Self::TooManyRequests => "429 Too Many Requests",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::Unavailable => "503 Service Unavailable",
            Self::GatewayTimeout => "504 Gateway Timeout",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// A field of this answer alone, as a whole line.
    pub(super) field: Option<String>,
}

impl Response {
    pub(super) fn new(status: Status, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, body: body.into(), field: None }
    }

    pub(super) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::new(Status::Ok, JSON, body)
    }

    /// An error with a word for programs and a sentence for people, as on the control socket.
    pub(super) fn error(status: Status, word: &str, detail: &str) -> Self {
        let body = serde_json::json!({ "ok": false, "error": word, "detail": detail });
        Self::new(status, JSON, body.to_string())
    }

    pub(super) fn with_field(mut self, field: String) -> Self {
        self.field = Some(field);
        self
    }

    /// The answer as bytes. A head request gets no body, but its length.
    pub(super) fn bytes(&self, is_head: bool, keep_alive: bool) -> Vec<u8> {
        let mut head = head(self.status, self.content_type);
        // Writing to memory does not fail.
        let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        if let Some(field) = &self.field {
            let _ = write!(head, "{field}\r\n");
        }
        if self.status == Status::MethodNotAllowed {
            head.push_str("Allow: GET, HEAD\r\n");
        }
        if !keep_alive {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

pub(super) const JSON: &str = "application/json";

/// The head of a stream of events, whose end is that of the connection.
pub(super) fn stream_head() -> Vec<u8> {
    let mut head = head(Status::Ok, "text/event-stream");
    head.push_str("Connection: close\r\n\r\n");
    head.into_bytes()
}

/// The status line and the fields of every answer. The page loads nothing from elsewhere and is shown in no frame.
fn head(status: Status, content_type: &str) -> String {
    format!(
        "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n",
        status.line()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_length_and_a_head_request_no_body() {
        let response = Response::json("{}");
        let text = String::from_utf8(response.bytes(false, true)).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("Content-Length: 2\r\n\r\n{}"), "{text}");
        let head = String::from_utf8(response.bytes(true, false)).unwrap();
        assert!(head.ends_with("Content-Length: 2\r\nConnection: close\r\n\r\n"), "{head}");
    }
}
