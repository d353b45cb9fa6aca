//! Compares two answers as a user would compare them.
//!
//! Must not know: what may differ. Everything that differs is found; `allowed` says what is documented.

use std::fmt::{Display, Formatter};
use std::time::Duration;

use super::exchange::{Answer, Outcome, Request};
use super::follower::state_in;
use super::scene::{Ask, Following, Place, Scene, Setting, Who};
use crate::support::legacy::Seen;

/// More than this between the two heads is noticed; asked for at the same moment, both bear the same load.
const HEAD_LATER_MAX: Duration = Duration::from_millis(450);

/// Fields of one connection, and what is compared otherwise.
const NOT_COMPARED: &[&str] = &[
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "upgrade",
    "content-length",
    "content-encoding",
    "date",
    "content-type",
];

/// One thing that a user would call different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Bytes that are this user's alone, given to somebody else.
    Leak(Who),
    /// Neither way, or only one, gave an answer.
    Failed,
    Status(u16, u16),
    Body,
    Type,
    Length,
    FieldLost(String),
    FieldAdded(String),
    FieldChanged(String),
    /// An older state than this client has seen, or before its own write; `passed` if it saw it in an answer that
    /// passed through.
    WentBack {
        floor: usize,
        got: usize,
        passed: bool,
    },
    /// The newest state did not come in time.
    NeverNew,
    /// What was written is not what was done.
    Writes([usize; 2]),
    /// The head came later than the API's by so many tenths of a second.
    Slow(u64),
    /// The API was asked so often, where a client asked once.
    Asked(usize),
    /// A request field that reached the API otherwise, or that it alone has seen.
    SawField(String),
    /// A plain request that was the API's was answered here.
    AnsweredHere,
    /// A stream or held poll that told what the API never said.
    Followed(&'static str),
}

impl Display for What {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Leak(_) => f.write_str("LEAK"),
            What::WentBack { .. } => f.write_str("went back"),
            What::Status(direct, through) if (400..500).contains(direct) => {
                write!(f, "status {direct}, through {through}")
            }
            What::Status(direct, through) => write!(f, "status {}xx, through {through}", direct / 100),
            What::Slow(_) => f.write_str("slow"),
            What::Writes(_) => f.write_str("writes"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// What a client kept of an answer.
#[derive(Debug, Clone)]
pub struct Remembered {
    pub tag: Option<String>,
    pub date: Option<String>,
    pub body: Vec<u8>,
    pub content_type: Option<String>,
}

/// One request, with the answers of both ways.
pub struct Exchange<'a> {
    pub scene: &'a Scene,
    pub step: usize,
    pub ask: &'a Ask,
    /// As it went through.
    pub request: Request,
    pub direct: Outcome,
    pub through: Outcome,
    /// What the client of each way had for this URL.
    pub remembered: [Option<Remembered>; 2],
    /// The state that the direct answer is of, and the newest one.
    pub state: usize,
    pub newest: usize,
}

/// One thing that differs, with what there is to know about it.
#[derive(Debug, Clone)]
pub struct Difference {
    pub what: What,
    pub step: usize,
    pub setting: Setting,
    /// Whether anybody follows anything in the scene.
    pub is_followed: bool,
    /// Whether pollcast gave the answer, by its own word.
    pub here: bool,
    pub place: Place,
    pub request: Option<Request>,
    pub direct: Outcome,
    pub through: Outcome,
}

impl Difference {
    pub fn of(exchange: &Exchange<'_>, what: What) -> Difference {
        Difference {
            what,
            step: exchange.step,
            setting: exchange.scene.setting,
            is_followed: exchange.scene.is_followed(),
            here: exchange.is_here(),
            place: exchange.scene.place(exchange.ask).clone(),
            request: Some(exchange.request.clone()),
            direct: exchange.direct.clone(),
            through: exchange.through.clone(),
        }
    }

    /// Of no exchange: of a stream that runs beside, or of time that went by.
    pub fn beside(scene: &Scene, what: What) -> Difference {
        Difference {
            what,
            step: scene.steps.len(),
            setting: scene.setting,
            is_followed: scene.is_followed(),
            here: true,
            place: scene.places[0].clone(),
            request: None,
            direct: Err("not asked".into()),
            through: Err("not asked".into()),
        }
    }

    /// Its kind, by which differences are counted.
    pub fn class(&self) -> String {
        let kind = if self.setting.passes() { "pass" } else { "share" };
        let here = if self.here { "here" } else { "through" };
        format!("{kind} {here} {}", self.what)
    }
}

impl Exchange<'_> {
    pub fn is_here(&self) -> bool {
        let status = self.through.as_ref().ok().and_then(|answer| answer.line("cache-status"));
        status.is_some_and(|status| status.contains("pollcast") && !status.contains("pollcast; fwd=bypass"))
    }

    /// Whether pollcast said that it could not ask the API after a write.
    pub fn is_unconfirmed(&self) -> bool {
        let status = self.through.as_ref().ok().and_then(|answer| answer.line("cache-status"));
        status.is_some_and(|status| status.contains("unconfirmed"))
    }

    pub fn differences(&self) -> Vec<Difference> {
        let mut found = self.leaks();
        match (&self.direct, &self.through) {
            (Ok(direct), Ok(through)) => found.extend(self.compared(direct, through)),
            // No client can read a broken answer, whatever becomes of it.
            (Err(_), Err(_)) => {}
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => found.push(What::Failed),
        }
        if self.scene.setting.passes() && self.request.is_read() && self.is_here() {
            found.push(What::AnsweredHere);
        }
        found.into_iter().map(|what| Difference::of(self, what)).collect()
    }

    fn leaks(&self) -> Vec<What> {
        let Ok(answer) = &self.through else { return Vec::new() };
        let others = [Who::Ann, Who::Bob].into_iter().filter(|who| *who != self.ask.who);
        others.filter(|who| who.mark().is_some_and(|mark| tells(answer, mark))).map(What::Leak).collect()
    }

    fn compared(&self, direct: &Answer, through: &Answer) -> Vec<What> {
        let mut found = Vec::new();
        let [a, b] = [(direct, &self.remembered[0]), (through, &self.remembered[1])].map(effective);
        let is_304 = direct.status == 304 || through.status == 304;
        let exact = self.scene.setting.passes();
        if a.0 != b.0 || (exact && direct.status != through.status) {
            found.push(What::Status(direct.status, through.status));
        } else if self.request.method != "HEAD" && a.1 != b.1 {
            found.push(What::Body);
        }
        if a.2 != b.2 && a.0 == b.0 {
            found.push(What::Type);
        }
        if self.request.method == "HEAD" && !is_304 && a.0 == b.0 {
            let same_coding = direct.line("content-encoding") == through.line("content-encoding");
            let lengths = [direct, through].map(|answer| answer.line("content-length"));
            if same_coding && lengths[0] != lengths[1] && lengths.iter().all(Option::is_some) {
                found.push(What::Length);
            }
        }
        if a.0 == b.0 {
            found.extend(fields(direct, through, is_304));
        }
        let later = through.head_after.saturating_sub(direct.head_after);
        if later > HEAD_LATER_MAX {
            found.push(What::Slow(u64::try_from(later.as_millis() / 100).unwrap_or(u64::MAX)));
        }
        found
    }
}

/// Whether an answer has this anywhere.
fn tells(answer: &Answer, mark: &str) -> bool {
    let has = |bytes: &[u8]| memchr::memmem::find(bytes, mark.as_bytes()).is_some();
    answer.fields.iter().any(|(_, value)| value.contains(mark))
        || has(&answer.raw)
        || answer.body.as_ref().is_ok_and(|body| has(body))
}

/// Status, body and type as the client has them: a 304 means what it kept. Of a body that cannot be decoded it has
/// the bytes.
fn effective((answer, kept): (&Answer, &Option<Remembered>)) -> (u16, Vec<u8>, Option<String>) {
    match kept {
        Some(kept) if answer.status == 304 => (200, kept.body.clone(), kept.content_type.clone()),
        _ => {
            let body = answer.body.clone().unwrap_or_else(|_| answer.raw.clone());
            (answer.status, body, answer.line("content-type"))
        }
    }
}

fn fields(direct: &Answer, through: &Answer, is_304: bool) -> Vec<What> {
    let mut found = Vec::new();
    let names = |answer: &Answer| {
        let mut names: Vec<String> = answer.fields.iter().map(|(n, _)| n.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        names.retain(|name| !NOT_COMPARED.contains(&name.as_str()));
        names.retain(|name| !is_304 || !(name.starts_with("content-") || name == "last-modified"));
        names
    };
    for name in names(direct) {
        match through.line(&name) {
            None => found.push(What::FieldLost(name)),
            Some(value) if direct.line(&name).as_ref() != Some(&value) => {
                found.push(What::FieldChanged(name))
            }
            Some(_) => {}
        }
    }
    let added = names(through).into_iter().filter(|name| direct.line(name).is_none());
    found.extend(added.map(What::FieldAdded));
    found
}

/// What the API saw of a request that was its own: the same request, once.
pub fn what_the_api_saw(exchange: &Exchange<'_>, direct: &[Seen], through: &[Seen]) -> Vec<Difference> {
    let mut found = Vec::new();
    if direct.len() != through.len() {
        found.push(What::Asked(through.len()));
    }
    if let (Some(a), Some(b)) = (direct.last(), through.last()) {
        if (&a.method, &a.target, &a.body) != (&b.method, &b.target, &b.body) {
            found.push(What::SawField("request line or body".into()));
        }
        let one_connections =
            ["connection", "te", "upgrade", "keep-alive", "transfer-encoding", "content-length"];
        let mut names: Vec<String> =
            a.headers.iter().chain(&b.headers).map(|(n, _)| n.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        // The tags of both lanes may differ; what matters is the answer.
        names.retain(|n| !one_connections.contains(&n.as_str()) && n != "if-none-match");
        let differs = |name: &String| a.headers(name) != b.headers(name);
        found.extend(names.into_iter().filter(differs).map(What::SawField));
    }
    found.into_iter().map(|what| Difference::of(exchange, what)).collect()
}

/// What is wrong with the answer to a stream or held poll. `plain` is what the API says to the same request without
/// the wish to follow.
pub fn following(exchange: &Exchange<'_>, how: Following, plain: &Outcome) -> Vec<Difference> {
    let mut found = exchange.leaks();
    if let (Ok(got), Ok(plain)) = (&exchange.through, plain) {
        let is_the_apis =
            exchange.direct.as_ref().is_ok_and(|d| d.status == got.status && d.body == got.body)
                || (plain.status == got.status && plain.body == got.body);
        if !is_the_apis && let Some(what) = not_followed(got, how, exchange) {
            found.push(What::Followed(what));
        }
    }
    found.into_iter().map(|what| Difference::of(exchange, what)).collect()
}

fn not_followed(got: &Answer, how: Following, exchange: &Exchange<'_>) -> Option<&'static str> {
    let body = got.body.as_deref().unwrap_or(&got.raw);
    let text = String::from_utf8_lossy(body);
    let is_problem = got.field("content-type").is_some_and(|t| t.starts_with("application/problem+json"));
    let is_stream = got.field("content-type").is_some_and(|t| t.starts_with("text/event-stream"));
    match got.status {
        200 if how == Following::Stream && is_stream => {
            let states: Vec<usize> =
                text.lines().filter(|l| l.starts_with("data:")).filter_map(state_in).collect();
            states.iter().any(|state| *state > exchange.newest).then_some("a state that never was")
        }
        200..=299 if how == Following::Held => {
            let state = state_in(&text);
            state.is_some_and(|state| state > exchange.newest).then_some("a state that never was")
        }
        304 if how == Following::Held => None,
        400..=599 if is_problem => None,
        // An earlier answer of the API's, which is remembered for a moment.
        status if got.line("cache-status").is_some_and(|said| said.contains("detail=relayed")) => {
            let is_the_apis = exchange.direct.as_ref().is_ok_and(|direct| direct.status == status);
            (!is_the_apis).then_some("a status that the API never said")
        }
        200..=299 => Some("neither a stream nor the API's answer"),
        _ => Some("a status that is neither the API's nor explained"),
    }
}

impl Difference {
    /// The exchange in which it was seen, for people.
    pub fn told(&self) -> String {
        let mut told = format!("  step {}: {}\n", self.step, self.class());
        if let Some(request) = &self.request {
            told += &format!("    {} {}\n", request.method, request.target);
            for (name, value) in &request.fields {
                told += &format!("    {name}: {value}\n");
            }
        }
        for (way, outcome) in [("direct", &self.direct), ("through", &self.through)] {
            match outcome {
                Err(error) => told += &format!("  {way}: {error}\n"),
                Ok(answer) => {
                    let body = answer.body.as_deref().unwrap_or(&answer.raw);
                    let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                    told += &format!("  {way}: {} after {:.0?}\n", answer.status, answer.head_after);
                    answer.fields.iter().for_each(|(name, value)| told += &format!("    {name}: {value}\n"));
                    told += &format!("    {text:?}\n");
                }
            }
        }
        told
    }
}
