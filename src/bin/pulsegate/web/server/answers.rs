//! From a route to its answer, at once or when the gateway has answered.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Web, info};
use crate::prometheus;
use crate::web::client::{Awaited, Reply, State};
use crate::web::gateway::Answered;
use crate::web::health::problems;
use crate::web::request::{COOKIE, Request};
use crate::web::response::{Response, Status, stream_head};
use crate::web::ring::missed;
use crate::web::router::{Route, route};
use crate::web::sign_in::{Refused, SESSION_TIME};

/// How long a request waits for the gateway.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the check of the gateway's health waits.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a request waits for the gateway.
pub(super) fn timeout(awaited: &Awaited) -> Duration {
    if *awaited == Awaited::Route(Route::Health) { HEALTH_TIMEOUT } else { ANSWER_TIMEOUT }
}

impl Web {
    /// Takes a request: answers it, or has it wait for the gateway.
    pub(super) fn request(&mut self, slot: usize, request: &Request, body: &[u8], now: Instant) {
        let reply = Reply::to(request);
        let answer = route(request, body, &self.hosts).and_then(|route| {
            self.check_sign_in(slot, &route, request, now)?;
            Ok(route)
        });
        match answer {
            Err(response) => self.answer(slot, &response, reply, now),
            Ok(Route::Events(filter, last)) => self.stream(slot, filter, last.as_deref(), now),
            Ok(Route::Command(conn, text)) => {
                self.ask(slot, json!({ "op": "send", "device": format!("#{conn}"), "text": text }), reply, now)
            }
            Ok(Route::Remove(conn)) => {
                self.ask(slot, json!({ "op": "remove", "device": format!("#{conn}") }), reply, now)
            }
            Ok(route) => match self.respond(slot, &route, request, now) {
                Some(response) => self.answer(slot, &response, reply, now),
                None if self.gateway.ask.is_up() => self.wait(slot, Awaited::Route(route), reply, now),
                None => self.answer(slot, &away(), reply, now),
            },
        }
    }

    fn answer(&mut self, slot: usize, response: &Response, reply: Reply, now: Instant) {
        if let Some(client) = self.clients.get_mut(slot) {
            client.answer(response, reply, now);
        }
    }

    fn wait(&mut self, slot: usize, awaited: Awaited, reply: Reply, now: Instant) {
        if let Some(client) = self.clients.get_mut(slot) {
            client.state = State::Waiting { awaited: Box::new(awaited), reply, since: now };
        }
        self.offer_link();
    }

    /// Asks the gateway for a change.
    fn ask(&mut self, slot: usize, request: Value, reply: Reply, now: Instant) {
        if !self.gateway.ask.is_up() {
            return self.answer(slot, &away(), reply, now);
        }
        let number = self.gateway.command(request);
        self.wait(slot, Awaited::Command(number), reply, now);
    }

    /// The answer that can be given now.
    fn respond(&mut self, slot: usize, route: &Route, request: &Request, now: Instant) -> Option<Response> {
        match route {
            Route::File(response) => Some(response.clone()),
            Route::Status => Some(Response::json(self.status(request, now).to_string())),
            Route::History => Some(Response::json(self.gateway.history.json(&self.time()).to_string())),
            Route::Stats => self.gateway.fresh_stats(now).map(Response::json),
            Route::Metrics => self.gateway.fresh_stats(now).map(metrics),
            Route::Health => self.gateway.fresh_stats(now).map(|_| Response::new(Status::Ok, "text/plain", "ok\n")),
            Route::Devices(view) => {
                self.gateway.fresh_table(now).map(|table| Response::json(table.page(view).to_string()))
            }
            Route::Device(conn) => self.gateway.fresh_table(now).map(|table| device(table.device(*conn))),
            Route::SignIn(token) => Some(self.sign_in(slot, token, now)),
            Route::SignOut => Some(self.sign_out(request)),
            Route::Events(..) | Route::Command(..) | Route::Remove(_) => None,
        }
    }

    /// Takes an answer of the gateway to the clients that wait for it.
    pub(super) fn answered(&mut self, line: &str, now: Instant) {
        let Some(answered) = self.gateway.answer(line, now) else { return };
        for slot in self.slots() {
            let Some(State::Waiting { awaited, reply, .. }) = self.clients.get(slot).map(|client| &client.state) else {
                continue;
            };
            let reply = *reply;
            let response = match (&answered, awaited.as_ref()) {
                (Answered::Stats, Awaited::Route(Route::Stats)) => self.gateway.last_stats().map(Response::json),
                (Answered::Stats, Awaited::Route(Route::Metrics)) => self.gateway.last_stats().map(metrics),
                (Answered::Stats, Awaited::Route(Route::Health)) => {
                    Some(Response::new(Status::Ok, "text/plain", "ok\n"))
                }
                (Answered::Devices, Awaited::Route(Route::Devices(view))) => {
                    self.gateway.last_table().map(|table| Response::json(table.page(view).to_string()))
                }
                (Answered::Devices, Awaited::Route(Route::Device(conn))) => {
                    self.gateway.last_table().map(|table| device(table.device(*conn)))
                }
                (Answered::Command(number, line), Awaited::Command(waiting)) if number == waiting => {
                    Some(command(line))
                }
                _ => None,
            };
            if let Some(response) = response {
                self.answer(slot, &response, reply, now);
                self.offer(slot);
            }
        }
    }

    /// The gateway has not answered in time.
    pub(super) fn late_answer(&mut self, slot: usize, now: Instant) {
        let response = Response::error(Status::GatewayTimeout, "timeout", "the gateway has not answered in time");
        self.answer_waiting(slot, &response, now);
    }

    /// The gateway is gone: waiting requests are answered at once.
    pub(super) fn gateway_is_away(&mut self, now: Instant) {
        self.slots().into_iter().for_each(|slot| self.answer_waiting(slot, &away(), now));
    }

    fn answer_waiting(&mut self, slot: usize, response: &Response, now: Instant) {
        let Some(State::Waiting { reply, .. }) = self.clients.get(slot).map(|client| &client.state) else { return };
        let reply = *reply;
        self.answer(slot, response, reply, now);
        self.offer(slot);
    }

    /// Begins a stream of events behind `last`, the id of the last event that the page received.
    fn stream(&mut self, slot: usize, filter: crate::web::ring::Filter, last: Option<&str>, now: Instant) {
        let (position, gone) =
            last.map_or((self.gateway.ring.end(), 0), |last| self.gateway.ring.position_behind(last));
        if let Some(client) = self.clients.get_mut(slot) {
            let mut out = stream_head();
            // The browser waits that long before it connects again.
            out.extend_from_slice(b"retry: 2000\n\n");
            if gone > 0 {
                missed(gone, &mut out);
            }
            client.queue.push(&out);
            client.state = State::Streaming { position, filter };
        }
        self.gateway.set_followed(true, now);
    }

    fn is_signed_in(&self, request: &Request, now: Instant) -> bool {
        let Some(sign_in) = &self.sign_in else { return false };
        request.session.as_deref().is_some_and(|word| sign_in.is_open(word, now))
    }

    /// # Errors
    /// The answer to a change without a session or token.
    fn check_sign_in(&mut self, slot: usize, route: &Route, request: &Request, now: Instant) -> Result<(), Response> {
        if !route.is_change() || self.is_signed_in(request, now) {
            return Ok(());
        }
        let from = self.clients.get(slot).map(|client| client.from);
        match (&mut self.sign_in, &request.bearer, from) {
            (None, ..) => Err(Response::error(
                Status::Forbidden,
                "read_only",
                "commands are off: set web.commands and web.token_file",
            )),
            (Some(sign_in), Some(token), Some(from)) => sign_in.check(token.as_bytes(), from, now).map_err(refused),
            _ => Err(Response::error(Status::Unauthorized, "not_signed_in", "sign in first")),
        }
    }

    fn sign_in(&mut self, slot: usize, token: &str, now: Instant) -> Response {
        let Some(from) = self.clients.get(slot).map(|client| client.from) else { return away() };
        let Some(sign_in) = &mut self.sign_in else {
            return Response::error(
                Status::Forbidden,
                "read_only",
                "commands are off: set web.commands and web.token_file",
            );
        };
        if let Err(why) = sign_in.check(token.as_bytes(), from, now) {
            info!("a sign-in from {from} was refused");
            return refused(why);
        }
        match sign_in.open(now) {
            Ok(word) => {
                let seconds = SESSION_TIME.as_secs();
                let field =
                    format!("Set-Cookie: {COOKIE}={word}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}");
                Response::json(r#"{"ok":true}"#).with_field(field)
            }
            Err(error) => Response::error(Status::Unavailable, "failed", &format!("no session can be opened: {error}")),
        }
    }

    fn sign_out(&mut self, request: &Request) -> Response {
        if let (Some(sign_in), Some(word)) = (&mut self.sign_in, &request.session) {
            sign_in.close(word);
        }
        let field = format!("Set-Cookie: {COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
        Response::json(r#"{"ok":true}"#).with_field(field)
    }

    /// The state of the gateway and of the session, for the frame of the page.
    fn status(&mut self, request: &Request, now: Instant) -> Value {
        let stats: Value =
            self.gateway.last_stats().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
        let mut gateway = self.gateway.status();
        gateway["name"] = json!(self.name);
        gateway["version"] = stats["version"].clone();
        json!({
            "gateway": gateway,
            "web": {
                "version": env!("CARGO_PKG_VERSION"),
                "commands": self.sign_in.is_some(),
                "signed_in": self.is_signed_in(request, now),
            },
            "problems": problems(&stats, &self.gateway.history),
        })
    }

    fn time(&self) -> String {
        humantime::format_rfc3339_millis((self.wall_clock)()).to_string()
    }
}

fn away() -> Response {
    Response::error(Status::Unavailable, "no_gateway", "the gateway does not answer")
}

fn metrics(stats: &str) -> Response {
    let stats: Value = serde_json::from_str(stats).unwrap_or_default();
    Response::new(Status::Ok, "text/plain; version=0.0.4; charset=utf-8", prometheus::text(&stats))
}

fn device(device: Option<Value>) -> Response {
    match device {
        Some(device) => Response::json(json!({ "device": device }).to_string()),
        None => Response::error(Status::NotFound, "no_such_device", "no device with this number is connected"),
    }
}

/// The gateway's answer to a change, with the status that fits it.
fn command(line: &str) -> Response {
    let mut answer: Value = serde_json::from_str(line).unwrap_or_default();
    // The number of the request means nothing outside.
    answer.as_object_mut().into_iter().for_each(|members| drop(members.remove("id")));
    let status = match answer["error"].as_str() {
        None => Status::Ok,
        Some("no_such_device") => Status::NotFound,
        Some("bad_request" | "contains_beat" | "contains_terminator") => Status::BadRequest,
        Some(_) => Status::Conflict,
    };
    Response::new(status, crate::web::response::JSON, answer.to_string())
}

fn refused(why: Refused) -> Response {
    match why {
        Refused::WrongToken => Response::error(Status::Unauthorized, "wrong_token", "this is not the token"),
        Refused::TooSoon(seconds) => {
            let detail = format!("too soon after a wrong token: try again in {seconds} s");
            Response::error(Status::TooManyRequests, "too_soon", &detail).with_field(format!("Retry-After: {seconds}"))
        }
    }
}
