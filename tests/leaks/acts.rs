//! The acts of Alice, Robert and an anonymous client, all at once: every way to read a resource, with their own
//! credentials and whatever they have heard of another's answers.
//!
//! Must not know: the route's options, what the answers should be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::people::{Person, Place};
use super::recorder::{Recording, Step, find, responses, talk, talk_over};
use super::world::World;
use crate::support::frames::{Frame, TEXT};

/// How long streams are listened to.
const LISTEN: Duration = Duration::from_millis(600);

/// The place and the person of an act.
#[derive(Clone)]
pub struct Scene {
    pub address: SocketAddr,
    pub place: Place,
    pub world: Arc<World>,
    /// Other cookies stand beside.
    pub beside: bool,
    /// Tags of everybody's answers and streams, bare.
    pub heard: Vec<String>,
    /// Of all acts every second one is done, chosen by this; `None` if all are done.
    pub chosen_by: Option<u64>,
}

/// A request in the making.
pub struct Request {
    method: &'static str,
    target: String,
    fields: Vec<(String, String)>,
    body: &'static str,
}

impl Request {
    fn with(mut self, name: &str, value: &str) -> Request {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn method(mut self, method: &'static str) -> Request {
        self.method = method;
        self
    }

    fn posting(mut self, body: &'static str) -> Request {
        (self.method, self.body) = ("POST", body);
        self
    }

    fn socket(self) -> Request {
        let fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        fields.into_iter().fold(self, |request, (name, value)| request.with(name, value))
    }

    fn speaking(self, version: &str) -> Vec<u8> {
        let mut head = format!("{} {} {version}\r\nHost: pollcast.test\r\n", self.method, self.target);
        if !self.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        self.fields.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        (head + "\r\n" + self.body).into_bytes()
    }

    pub fn bytes(self) -> Vec<u8> {
        self.speaking("HTTP/1.1")
    }
}

impl Scene {
    /// A GET by this one.
    pub fn get(&self, who: Person, target: &str) -> Request {
        let mut request =
            Request { method: "GET", target: self.target(who, target), fields: Vec::new(), body: "" };
        request.fields.extend(self.fields(who));
        request
    }

    pub fn target(&self, who: Person, target: &str) -> String {
        let shows = self.place == Place::JwtQuery && who != Person::Nobody;
        match (shows, target.contains('?')) {
            (false, _) => target.to_owned(),
            (true, true) => format!("{target}&token={}", who.token()),
            (true, false) => format!("{target}?token={}", who.token()),
        }
    }

    /// The credentials of the person, with other cookies beside them.
    pub fn fields(&self, who: Person) -> Vec<(String, String)> {
        let own = if who == Person::Nobody { None } else { self.place.field(who) };
        let mut fields: Vec<(String, String)> =
            own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if self.beside {
            match fields.iter_mut().find(|(name, _)| name == "cookie") {
                Some((_, value)) => *value = format!("theme=dark; {value}; _ga=1"),
                None => fields.push(("cookie".to_owned(), "theme=dark; _ga=1".to_owned())),
            }
        }
        fields
    }

    /// Does this on one connection of this one's; what came after each step began.
    pub async fn talk(&self, who: Person, steps: &[Step]) -> Vec<Vec<u8>> {
        match &self.world.papers {
            None => talk(self.address, steps).await,
            Some(papers) => talk_over(papers.connect(self.address, who, &[]).await, steps).await,
        }
    }

    async fn does(&self, who: Person, act: &'static str, steps: Vec<Step>) -> Recording {
        let bytes = self.talk(who, &steps).await.concat();
        Recording { who, act, bytes }
    }

    /// What everybody has to do before there is anything to know of another.
    pub async fn look_around(&self, who: Person) -> Vec<Recording> {
        let get = vec![Step::Send(self.get(who, "/r/x?a=1").bytes()), Step::Answer];
        let sse = self.get(who, "/r/x?a=1").with("Accept", "text/event-stream").bytes();
        let sse = vec![Step::Send(sse), Step::Listen(LISTEN / 2)];
        let (get, sse) = tokio::join!(self.does(who, "first get", get), self.does(who, "first stream", sse));
        vec![get, sse]
    }

    /// Everything at once.
    pub async fn everything(&self, who: Person) -> Vec<Recording> {
        let mut tasks = tokio::task::JoinSet::new();
        let mut rng = self.chosen_by.map(|seed| fastrand::Rng::with_seed(seed ^ who as u64));
        for (act, steps) in self.polls(who).into_iter().chain(self.streams(who)).chain(self.oddities(who)) {
            if rng.as_mut().is_some_and(|rng| rng.bool()) {
                continue;
            }
            let scene = self.clone();
            tasks.spawn(async move { scene.does(who, act, steps).await });
        }
        tasks.join_all().await
    }

    /// Tags as a condition.
    fn condition(&self) -> String {
        let quoted: Vec<String> = self.heard.iter().take(8).map(|tag| format!("\"{tag}\"")).collect();
        if quoted.is_empty() { "\"unknown\"".to_owned() } else { quoted.join(", ") }
    }

    fn some_tag(&self) -> String {
        fastrand::choice(&self.heard).cloned().unwrap_or_else(|| "unknown".to_owned())
    }

    fn polls(&self, who: Person) -> Vec<(&'static str, Vec<Step>)> {
        let get = || self.get(who, "/r/x?a=1");
        let asked = |request: Request| vec![Step::Send(request.bytes()), Step::Answer];
        let repeated = || vec![Step::Send(get().bytes()), Step::Answer];
        let (condition, tag) = (self.condition(), self.some_tag());
        let quoted = format!("\"{tag}\"");
        let delta = || get().with("A-IM", "json-patch, merge-patch").with("If-None-Match", &quoted);
        let held = |request: Request| request.with("If-None-Match", &quoted);
        vec![
            ("get", repeated().into_iter().cycle().take(8).collect()),
            ("pipelined", vec![Step::Send(get().bytes().repeat(4)), Step::Listen(LISTEN)]),
            (
                "head",
                vec![
                    Step::Send(get().method("HEAD").with("Connection", "close").bytes()),
                    Step::Listen(LISTEN),
                ],
            ),
            ("conditional get", asked(get().with("If-None-Match", &condition))),
            ("conditional star", asked(get().with("If-None-Match", "*"))),
            ("compressed get", asked(get().with("Accept-Encoding", "gzip"))),
            ("long poll", asked(held(get().with("Prefer", "wait=1")))),
            ("long poll without tag", asked(get().with("Prefer", "wait=1"))),
            ("long poll by query", asked(held(self.get(who, "/r/x?a=1&_wait=1s")))),
            ("patch", asked(delta())),
            ("held patch", asked(delta().with("Prefer", "wait=1"))),
            ("HTTP/1.0", vec![Step::Send(get().speaking("HTTP/1.0")), Step::Listen(LISTEN)]),
            ("only if cached", asked(get().with("Cache-Control", "only-if-cached"))),
            ("other query", asked(self.get(who, "/r/x?x=2&a=1&_=3&b"))),
            ("always polled", asked(self.get(who, "/fixed"))),
            ("post, then get", [asked(get().posting("{}")), repeated(), repeated()].concat()),
        ]
    }

    fn streams(&self, who: Person) -> Vec<(&'static str, Vec<Step>)> {
        let (tag, accept) = (self.some_tag(), ("Accept", "text/event-stream"));
        let sse = |target: &str| self.get(who, target).with(accept.0, accept.1);
        let here = || sse("/r/x?a=1");
        let heard = |request: Request| vec![Step::Send(request.bytes()), Step::Listen(LISTEN)];
        let socket = || self.get(who, "/r/x?a=1").socket();
        let envelope =
            |target: &str| self.get(who, target).socket().with("Sec-WebSocket-Protocol", "pollcast.v1");
        let spoken = |request: Request, texts: Vec<String>| {
            let frames = texts.iter().flat_map(|text| Frame::new(TEXT, text.as_bytes()).encode(Some([7; 4])));
            let frames: Vec<u8> = frames.collect();
            vec![Step::Send(request.bytes()), Step::Head, Step::Send(frames), Step::Listen(LISTEN)]
        };
        let subscribed = |since: &str| {
            let resource = self.target(Person::Nobody, "/r/x?a=1");
            vec![
                format!(r#"{{"op":"subscribe","resource":"{resource}","since":"{since}"}}"#),
                format!(
                    r#"{{"op":"subscribe","resource":"/r/y","since":"{since}","delta":"json-patch","id":1}}"#
                ),
                r#"{"op":"subscribe","resource":"/fixed","id":2}"#.to_owned(),
                format!(r#"{{"op":"refresh","resource":"{resource}","id":3}}"#),
                format!(r#"{{"op":"send","resource":"{resource}","data":{{}},"id":4}}"#),
            ]
        };
        let many = "/-/pollcast/events?resource=%2Fr%2Fx%3Fa%3D1&resource=%2Fr%2Fy&resource=%2Ffixed";
        vec![
            ("stream", heard(here())),
            ("compressed stream", heard(here().with("Accept-Encoding", "gzip"))),
            ("resumed stream", heard(here().with("Last-Event-ID", &tag))),
            ("stream resumed by query", heard(sse(&format!("/r/x?a=1&last_event_id={tag}")))),
            ("patch stream", heard(sse("/r/x?a=1&_delta=json-patch").with("Last-Event-ID", &tag))),
            ("stream by query", heard(self.get(who, "/r/x?a=1&_push=sse"))),
            ("socket", spoken(socket(), vec!["a message".to_owned()])),
            (
                "compressed socket",
                heard(
                    socket().with("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
                ),
            ),
            ("envelope", spoken(envelope("/-/pollcast/ws"), subscribed(&tag))),
            ("envelope on a resource", spoken(envelope("/r/x?a=1"), subscribed(&tag))),
            ("many resources", heard(sse(many))),
            ("many resources again", heard(sse(many).with("Last-Event-ID", &tag))),
        ]
    }

    /// What an honest client would not say.
    fn oddities(&self, who: Person) -> Vec<(&'static str, Vec<Step>)> {
        let other = who.other().name();
        let get = || self.get(who, "/r/x?a=1");
        let asked = |request: Request| vec![Step::Send(request.bytes()), Step::Answer];
        let forged = |request: Request| {
            request.with("X-Pollcast-Subject", other).with("X-Pollcast-Org", other).with("X-Color", other)
        };
        let sse = forged(get().with("Accept", "text/event-stream")).bytes();
        let mut acts = vec![
            ("forged subject", [asked(forged(get())), asked(forged(get()))].concat()),
            ("forged subject, spelled", asked(get().with("X_Pollcast_Subject", other))),
            ("forged subject, streamed", vec![Step::Send(sse), Step::Listen(LISTEN)]),
            ("overridden method", asked(get().with("X-HTTP-Method-Override", "POST"))),
            ("overridden post", asked(get().posting("{}").with("X-HTTP-Method-Override", "GET"))),
            ("forged address", asked(get().with("X-Forwarded-For", "10.0.0.1").with("Forwarded", "for=_a"))),
        ];
        let Some((name, value)) = self.place.field(who).filter(|_| who != Person::Nobody) else {
            return acts;
        };
        let bare = || {
            let target = self.target(who, "/r/x?a=1");
            Request { method: "GET", target, fields: Vec::new(), body: "" }
        };
        let spelled = [
            ("said twice", vec![value.clone(), value.clone()]),
            ("said beside another", vec![value.clone(), "session=x".to_owned()]),
            ("said empty", vec![String::new()]),
            ("said with a comma", vec![format!("{value}, x")]),
            ("said in quotes", vec![value.replace("session=", "session=\"") + "\""]),
            ("said with a double cookie", vec![format!("{value}; session=x")]),
            ("said with a tab", vec![format!("\t {value} \t")]),
            ("said in part", vec![value[..value.len() - 3].to_owned()]),
        ];
        for (act, values) in spelled {
            let request = || values.iter().fold(bare(), |request, value| request.with(name, value));
            let streamed = request().with("Accept", "text/event-stream").bytes();
            acts.push((act, asked(request())));
            acts.push((act, vec![Step::Send(streamed), Step::Listen(LISTEN / 2)]));
        }
        acts
    }

    /// One connection for everybody, as behind a proxy: one after the other, then all in one breath.
    pub async fn share_a_connection(&self) -> Vec<Recording> {
        use Person::{Alice, Nobody, Robert};
        if matches!(self.place, Place::Certificate | Place::Negotiate) {
            // The connection carries the credentials.
            return Vec::new();
        }
        let turns = [Alice, Alice, Alice, Robert, Robert, Nobody, Nobody, Nobody, Robert, Alice, Nobody];
        let ask = |who: &Person| self.get(*who, "/r/x?a=1").bytes();
        let steps: Vec<Step> = turns.iter().flat_map(|who| [Step::Send(ask(who)), Step::Answer]).collect();
        let breath: Vec<u8> = turns.iter().flat_map(ask).collect();
        let breath = [Step::Send(breath), Step::Listen(LISTEN)];
        let (one_by_one, at_once) = tokio::join!(self.talk(Nobody, &steps), self.talk(Nobody, &breath));
        let after_each = one_by_one.into_iter().skip(1);
        let piped = responses(&at_once.concat());
        let one_by_one = turns.into_iter().zip(after_each);
        let one_by_one = one_by_one.map(|(who, bytes)| Recording { who, act: "shared connection", bytes });
        let piped = turns.into_iter().zip(piped);
        let piped = piped.map(|(who, bytes)| Recording { who, act: "shared and pipelined", bytes });
        one_by_one.chain(piped).collect()
    }
}

/// The tags and ids in what somebody got.
pub fn tags(plain: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(plain);
    let found = text.lines().filter_map(|line| {
        let value = line
            .strip_prefix("id: ")
            .or_else(|| line.strip_prefix("id:"))
            .or_else(|| line.strip_prefix("etag: "))
            .or_else(|| line.strip_prefix("ETag: "))?;
        Some(value.trim().trim_start_matches("W/").trim_matches('"').to_owned())
    });
    found.filter(|tag| !tag.is_empty() && find(tag.as_bytes(), b"\"").is_none()).collect()
}
