//! The generated API: what a place with these traits answers to a request in a state of the world.
//!
//! Must not know: which client asks through which server, what is compared. An answer depends on the request, the state
//! and, where an identity belongs to a connection, the connection: both lanes of a scene get the same for the same.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::body::{self, Content};
use super::scene::{Place, Scheme, Who};
use super::traits::{Body, Cors, Framing, Head, Trait, Validator};
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::wire::Fields;

/// One state of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub number: usize,
    /// What every read is answered with; 0: as usual.
    pub status: u16,
}

/// One API with its history; each lane has one of its own.
pub struct Api {
    places: Vec<Place>,
    states: Mutex<Vec<State>>,
    /// The state that reads see, when it is not the newest.
    shown: Mutex<Option<usize>>,
    /// The user that authenticated a connection.
    connections: Mutex<HashMap<u64, Who>>,
    acts: AtomicUsize,
    /// Whether reads are acts at places that say so.
    may_act: bool,
}

impl Api {
    pub fn start(places: &[Place], may_act: bool) -> (Arc<Api>, Legacy) {
        let api = Arc::new(Api {
            places: places.to_vec(),
            states: Mutex::new(vec![State { number: 0, status: 0 }]),
            shown: Mutex::new(None),
            connections: Mutex::default(),
            acts: AtomicUsize::new(0),
            may_act,
        });
        let legacy = Legacy::start();
        let answering = api.clone();
        legacy.answer_with("*", move |seen| answering.answer(seen));
        (api, legacy)
    }

    /// The newest state.
    pub fn newest(&self) -> usize {
        self.states.lock().len() - 1
    }

    pub fn state(&self, number: usize) -> State {
        self.states.lock()[number]
    }

    /// Lets reads see this state, or the newest.
    pub fn show(&self, state: Option<usize>) {
        *self.shown.lock() = state;
    }

    /// A new state: the content changes, or what every read is answered with.
    pub fn go_on(&self, status: Option<u16>) {
        let mut states = self.states.lock();
        let last = *states.last().expect("there is a first state");
        states.push(State { number: last.number + 1, status: status.unwrap_or(last.status) });
    }

    fn current(&self) -> State {
        let states = self.states.lock();
        let at = self.shown.lock().unwrap_or(states.len() - 1);
        states[at]
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let Some(place) = self.places.iter().find(|place| place.path == seen.path()) else {
            return Reply::json(format!("{{\"missing\":{:?}}}", seen.target)).status(404);
        };
        let who = self.who(place, seen);
        if !matches!(seen.method.as_str(), "GET" | "HEAD") {
            return self.write(place, who, seen);
        }
        let state = self.current();
        if let Some(refusal) = refused(place, who, state) {
            return refusal;
        }
        let mut content = Content {
            target: body::told(&seen.target),
            state: state.number,
            who,
            form: form(place, seen),
            acts: None,
        };
        if self.may_act && place.traits.contains(&Trait::Acts) {
            content.acts = Some(self.acts.fetch_add(1, Ordering::Relaxed));
        }
        read(place, &content, seen)
    }

    fn who(&self, place: &Place, seen: &Seen) -> Option<Who> {
        let scheme = place.traits.iter().find_map(|t| match t {
            Trait::Knows(scheme, _) => Some(*scheme),
            _ => None,
        })?;
        let shows = |who: &Who| {
            let (field, value) = scheme.shown(*who).expect("users show something");
            let lines = seen.headers(field);
            let mut parts = lines.iter().flat_map(|line| line.split("; "));
            parts.any(|part| part.trim() == value) || lines.iter().any(|line| line.trim() == value)
        };
        let said = [Who::Ann, Who::Bob].into_iter().find(shows);
        if scheme != Scheme::Ntlm {
            return said;
        }
        let mut connections = self.connections.lock();
        if let Some(who) = said {
            connections.insert(seen.connection, who);
        }
        connections.get(&seen.connection).copied()
    }

    fn write(&self, place: &Place, who: Option<Who>, seen: &Seen) -> Reply {
        let status = place.traits.iter().find_map(|t| match t {
            Trait::Writes(status) => Some(*status),
            _ => None,
        });
        let status = status.unwrap_or(200);
        if status < 400 {
            self.go_on(None);
        }
        let told = format!(
            "{{\"done\":{:?},\"state\":{},\"bytes\":{},\"for\":{:?}}}",
            seen.method,
            self.newest(),
            seen.body.len(),
            who.and_then(Who::mark).unwrap_or("all"),
        );
        match status {
            201 => Reply::json(told).status(201).header("Location", place.path),
            204 => Reply::empty(204),
            302 | 303 => Reply::empty(status).header("Location", place.path),
            status => Reply::json(told).status(status),
        }
    }
}

/// The effect of the state, or of the user, on every read.
fn refused(place: &Place, who: Option<Who>, state: State) -> Option<Reply> {
    let told = format!("{{\"refused\":{}}}", state.status);
    match state.status {
        0 => {}
        301 | 302 | 307 => return Some(Reply::empty(state.status).header("Location", "/login?next=here")),
        401 => return Some(unauthorized(place, &told)),
        status => return Some(Reply::json(told).status(status)),
    }
    let has_to_be_known = place.traits.iter().any(|t| matches!(t, Trait::Knows(_, true)));
    (has_to_be_known && who.is_none()).then(|| unauthorized(place, "{\"who\":null}"))
}

fn unauthorized(place: &Place, told: &str) -> Reply {
    let scheme = place.traits.iter().find_map(|t| match t {
        Trait::Knows(Scheme::Basic, _) => Some("Basic realm=\"api\""),
        Trait::Knows(Scheme::Ntlm, _) => Some("NTLM"),
        Trait::Knows(Scheme::Bearer, _) => Some("Bearer"),
        _ => None,
    });
    let reply = Reply::json(told).status(401);
    match scheme {
        Some(scheme) => reply.header("WWW-Authenticate", scheme),
        None => reply,
    }
}

/// Which form of the content the request chooses.
fn form(place: &Place, seen: &Seen) -> String {
    let mut form = String::new();
    for chosen in &place.traits {
        let Trait::Chooses(field, _) = chosen else { continue };
        let value = seen.headers(field).join(", ");
        let is = |word: &str| value.to_ascii_lowercase().contains(word);
        let _ = match *field {
            "Accept" => write!(form, "{}", body::negotiated(&value)),
            "User-Agent" => write!(form, "{}", if is("mobile") { "mobile" } else { "desktop" }),
            "Accept-Language" => write!(form, "{}", if is("de") { "de" } else { "en" }),
            "X-Requested-With" => write!(form, "{}", if is("xmlhttprequest") { "fragment" } else { "page" }),
            "Prefer" => write!(form, "{}", if is("return=minimal") { "minimal" } else { "whole" }),
            "Cookie" => write!(form, "{}", if is("theme=light") { "light" } else { "dark" }),
            _ => write!(form, "{value}"),
        };
    }
    form
}

/// The answer to a read that is not refused.
fn read(place: &Place, content: &Content, seen: &Seen) -> Reply {
    let has = |wanted: Trait| place.traits.contains(&wanted);
    let (mut status, mut kind, mut fields) = (200, Body::Object, Fields::new());
    for one in &place.traits {
        match one {
            Trait::Status(s) => status = *s,
            Trait::Body(b) => kind = *b,
            _ => {}
        }
    }
    if place.traits.iter().any(|t| matches!(t, Trait::Chooses("Accept", _))) {
        kind = match content.form.as_str() {
            "html" => Body::Html,
            "xml" => Body::Xml,
            "csv" => Body::Csv,
            _ => Body::Object,
        };
    }
    let (mut content_type, mut body) = body::of(kind, content);
    if has(Trait::OnlyFieldsChange) {
        (content_type, body) = body::of(kind, &Content { state: 0, ..content.clone() });
    }
    for one in &place.traits {
        if let Trait::Type(t) = one {
            content_type = t;
        }
        add_fields(*one, content, seen, &body, &mut fields);
    }
    if (300..400).contains(&status) {
        fields.push(("Location".into(), format!("/api/elsewhere?from={}", content.state)));
    }
    if status == 202 || status == 429 {
        fields.push(("Retry-After".into(), "1".into()));
    }
    if has(Trait::Ranges) && status == 200 && seen.header("range") == Some("bytes=0-3") && body.len() > 4 {
        fields.push(("Content-Range".into(), format!("bytes 0-3/{}", body.len())));
        body.truncate(4);
        status = 206;
    }
    if matches!(status, 204 | 205) {
        body.clear();
        content_type = "";
    }
    let coded = place.traits.iter().find_map(|t| match t {
        Trait::Coding(coding) => body::coded(*coding, &body, seen.header("accept-encoding").unwrap_or("")),
        _ => None,
    });
    if let Some((token, bytes)) = coded {
        fields.push(("Content-Encoding".into(), token.into()));
        body = bytes;
    }
    if !content_type.is_empty() {
        fields.insert(0, ("Content-Type".into(), content_type.into()));
    }
    if let Some(sloppy) =
        place.traits.iter().find_map(|t| if let Trait::Head(h) = t { Some(*h) } else { None })
    {
        return raw(sloppy, status, &fields, &body, seen.method == "HEAD");
    }
    let mut reply = Reply::empty(status);
    reply = fields.iter().fold(reply, |reply, (name, value)| reply.header(name, value)).body(body);
    place.traits.iter().fold(reply, |reply, one| match one {
        Trait::Slow(ms) => reply.delay(Duration::from_millis(*ms)),
        Trait::Framing(Framing::Chunked) => reply.chunked(),
        Trait::Framing(Framing::UntilClose) => reply.until_close(),
        Trait::Framing(Framing::Drips) => reply.chunked().drip(24, Duration::from_millis(60)),
        Trait::Framing(Framing::Endless) => {
            reply.chunked().drip(24, Duration::from_millis(60)).hang_after(usize::MAX)
        }
        Trait::Framing(Framing::CutShort) => reply.cut_after(10),
        _ => reply,
    })
}

fn add_fields(one: Trait, content: &Content, seen: &Seen, body: &[u8], fields: &mut Fields) {
    let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
    match one {
        Trait::Field(name, value) => add(name, value.to_owned()),
        Trait::Counts | Trait::OnlyFieldsChange => add("X-Total-Count", format!("{}", 100 + content.state)),
        Trait::Ranges => add("Accept-Ranges", "bytes".into()),
        Trait::Chooses(name, true) => add("Vary", name.to_owned()),
        Trait::Validator(kind) => {
            let tag = &blake3::hash(body).to_hex()[..12];
            match kind {
                Validator::Strong => add("ETag", format!("\"{tag}\"")),
                Validator::Weak => add("ETag", format!("W/\"{tag}\"")),
                Validator::Bare => add("ETag", tag.to_owned()),
                // A date of long ago: it is a strong one.
                Validator::LastModified => {
                    add("Last-Modified", format!("Tue, 03 Mar 2020 10:00:{:02} GMT", content.state % 60));
                }
            }
        }
        Trait::Cors(Cors::Any) => {
            add("Access-Control-Allow-Origin", "*".into());
            add("Access-Control-Expose-Headers", "X-Total-Count, Link".into());
        }
        Trait::Cors(kind) => {
            if kind == Cors::Echo {
                add("Vary", "Origin".into());
            }
            if let Some(origin) = seen.header("origin") {
                add("Access-Control-Allow-Origin", origin.to_owned());
                add("Access-Control-Allow-Credentials", "true".into());
            }
        }
        Trait::SetsCookie if !seen.headers("cookie").iter().any(|line| line.contains("csrftoken=")) => {
            add("Set-Cookie", format!("csrftoken=t{}; Path=/", content.state));
            add("Vary", "Cookie".into());
        }
        _ => {}
    }
}

/// The answer with a head as old devices write it; the connection ends with it.
fn raw(sloppy: Head, status: u16, fields: &Fields, body: &[u8], is_head: bool) -> Reply {
    let end = if sloppy == Head::BareLf { "\n" } else { "\r\n" };
    let version = if sloppy == Head::Http10 { "1.0" } else { "1.1" };
    let mut head = format!("HTTP/{version} {status} Whatever{end}");
    for (name, value) in fields {
        let _ = write!(head, "{name}: {value}{end}");
    }
    head += &match sloppy {
        Head::Folded => format!("X-Folded: one{end}  two{end}"),
        Head::SpaceBeforeColon => format!("X-Spaced : one{end}"),
        Head::UnreadableLine => format!("this line has no colon{end}"),
        Head::BareLf | Head::Http10 => String::new(),
    };
    let _ = write!(head, "Content-Length: {}{end}Connection: close{end}{end}", body.len());
    let body = if is_head { &[][..] } else { body };
    Reply::raw([head.as_bytes(), body].concat())
}
