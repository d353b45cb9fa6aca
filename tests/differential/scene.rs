//! A scene: how pollcast is configured, what the API is like, and what happens, as plain data that can be printed.
//!
//! Must not know: how any of it is performed.

use std::fmt::{Display, Formatter, Result};

use super::traits::Trait;

/// The ways in which pollcast is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The ten lines: one wide route, plain requests are the API's.
    WidePass,
    /// The same with classes of users that show the same credentials.
    WidePassBy,
    /// One wide route with `plain: share`.
    WideShare,
    /// Routes whose paths name their resources, `share` unset.
    Narrow,
    /// The same with `share: public`.
    NarrowPublic,
    /// The same with classes of users that show the same credentials.
    NarrowBy,
}

pub const SETTINGS: &[Setting] = &[
    Setting::WidePass,
    Setting::WidePassBy,
    Setting::WideShare,
    Setting::Narrow,
    Setting::NarrowPublic,
    Setting::NarrowBy,
];

/// The interval of every route here, milliseconds.
pub const INTERVAL_MS: u64 = 300;

/// `first_answer` of every route here, milliseconds.
pub const FIRST_ANSWER_MS: u64 = 500;

/// `first_byte_timeout` of the upstream, milliseconds.
pub const FIRST_BYTE_TIMEOUT_MS: u64 = 800;

impl Setting {
    /// Whether plain requests are the API's.
    pub fn passes(self) -> bool {
        matches!(self, Setting::WidePass | Setting::WidePassBy)
    }

    /// Whether clients' credentials mean nothing here, by the operator's word.
    pub fn is_public(self) -> bool {
        self == Setting::NarrowPublic
    }

    /// The configuration in front of an API at this address.
    pub fn yaml(self, api: &str) -> String {
        let (paths, keys): (&[&str], &str) = match self {
            Setting::WidePass => (WIDE, ""),
            Setting::WidePassBy => (WIDE, ", share: {by: [authorization, 'cookie:session']}"),
            Setting::WideShare => (WIDE, ", plain: share"),
            Setting::Narrow => (NARROW, ""),
            Setting::NarrowPublic => (NARROW, ", share: public"),
            Setting::NarrowBy => (NARROW, ", share: {by: [authorization, 'cookie:session']}"),
        };
        let routes = paths.iter().map(|path| format!("  - {{path: '{path}', upstream: api{keys}}}\n"));
        format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\n\
             upstreams: {{api: {{servers: ['{api}'], first_byte_timeout: {FIRST_BYTE_TIMEOUT_MS}ms}}}}\n\
             passthrough: api\n\
             log: {{access: false}}\n\
             threads: {{front: 1, shards: 1}}\n\
             drain: {{delay: 0s, window: 0s}}\n\
             defaults:\n  \
               poll: {{interval: {INTERVAL_MS}ms, backoff: {{min: 100ms, max: 300ms}}}}\n  \
               first_answer: {FIRST_ANSWER_MS}ms\n\
             routes:\n{}",
            routes.collect::<String>()
        )
    }
}

const WIDE: &[&str] = &["/{*rest}"];
const NARROW: &[&str] = &["/", "/feed.xml", "/api/{a}", "/api/{a}/", "/api/{a}/{b}", "/api/{a}/{b}/{c}"];

/// The user that asks. Each has a connection of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    Ann,
    Bob,
    Nobody,
    /// Another one that shows nothing.
    Passer,
}

impl Who {
    /// What the API says of its users alone: no other user may ever get it.
    pub fn mark(self) -> Option<&'static str> {
        match self {
            Who::Ann => Some("ANN-5b1e77"),
            Who::Bob => Some("BOB-c04d19"),
            Who::Nobody | Who::Passer => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Who::Ann => "ann",
            Who::Bob => "bob",
            Who::Nobody => "nobody",
            Who::Passer => "passer",
        }
    }
}

/// How a user is identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Bearer,
    Basic,
    /// The cookie `session`.
    Session,
    /// A request field of the API's own.
    Field(&'static str),
    /// The connection is the user's once it has authenticated.
    Ntlm,
}

impl Scheme {
    /// The field that says it.
    pub fn shown(self, who: Who) -> Option<(&'static str, String)> {
        who.mark()?;
        let name = who.name();
        Some(match self {
            Scheme::Bearer => ("Authorization", format!("Bearer {name}")),
            Scheme::Basic => ("Authorization", format!("Basic {name}")),
            Scheme::Session => ("Cookie", format!("session={name}")),
            Scheme::Field(field) => (field, name.to_owned()),
            Scheme::Ntlm => ("Authorization", format!("NTLM {name}")),
        })
    }
}

/// What a user shows of themselves with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Nothing,
    /// What the place knows users by.
    AsKnown,
    Other(Scheme),
}

/// A kind of client, by what it says with each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent {
    pub name: &'static str,
    pub fields: &'static [(&'static str, &'static str)],
}

/// What a request makes conditional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    None,
    /// If-None-Match with the tag that this client was given for this URL.
    Tag,
    /// If-Modified-Since with the date that it was given.
    Date,
    /// If-None-Match with a tag that no server gave.
    UnknownTag,
}

#[derive(Debug, Clone)]
pub struct Ask {
    pub who: Who,
    pub method: &'static str,
    /// Which of the scene's places, counted round.
    pub place: usize,
    pub query: &'static str,
    pub agent: Agent,
    pub more: Vec<(&'static str, &'static str)>,
    pub shows: Shows,
    pub condition: Condition,
    /// Repeats the request until the answer is of the newest state.
    pub until_new: bool,
}

/// A way to follow that the API alone does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// An event stream up to its first event.
    Stream,
    /// A held poll of at most a second.
    Held,
}

#[derive(Debug, Clone)]
pub enum Step {
    Ask(Ask),
    Follow(Ask, Following),
    /// The content of the whole API changes.
    Move,
    /// From now on all reads get this status; 0: they are answered as usual again.
    Become(u16),
    /// More than an interval passes.
    Pause,
}

/// One path of the API, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Place {
    pub path: &'static str,
    pub traits: Vec<Trait>,
}

#[derive(Debug, Clone)]
pub struct Scene {
    pub setting: Setting,
    /// Whether somebody without credentials follows the first place from the beginning.
    pub followed: bool,
    pub places: Vec<Place>,
    pub steps: Vec<Step>,
}

impl Scene {
    /// Whether anybody follows anything.
    pub fn is_followed(&self) -> bool {
        self.followed || self.steps.iter().any(|step| matches!(step, Step::Follow(..)))
    }

    pub fn place(&self, ask: &Ask) -> &Place {
        &self.places[ask.place % self.places.len()]
    }

    /// What the user of a request shows.
    pub fn shown(&self, ask: &Ask) -> Option<(&'static str, String)> {
        let known = || {
            self.place(ask).traits.iter().find_map(|t| match t {
                Trait::Knows(scheme, _) => Some(*scheme),
                _ => None,
            })
        };
        let scheme = match ask.shows {
            Shows::Nothing => None,
            Shows::AsKnown => known(),
            Shows::Other(scheme) => Some(scheme),
        };
        scheme?.shown(ask.who)
    }

    pub fn target(&self, ask: &Ask) -> String {
        let path = self.place(ask).path;
        match ask.query {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

impl Display for Scene {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let stream = if self.followed { ", one stream open on the first place" } else { "" };
        writeln!(f, "  configuration {:?}{stream}", self.setting)?;
        for place in &self.places {
            writeln!(f, "  API {} {:?}", place.path, place.traits)?;
        }
        for (n, step) in self.steps.iter().enumerate() {
            match step {
                Step::Ask(ask) => writeln!(f, "  {n}. {}", told(self, ask))?,
                Step::Follow(ask, how) => writeln!(f, "  {n}. {how:?}: {}", told(self, ask))?,
                Step::Move => writeln!(f, "  {n}. the API's content changes")?,
                Step::Become(0) => writeln!(f, "  {n}. the API answers as usual again")?,
                Step::Become(status) => writeln!(f, "  {n}. the API says {status} to every read")?,
                Step::Pause => writeln!(f, "  {n}. more than an interval passes")?,
            }
        }
        Ok(())
    }
}

fn told(scene: &Scene, ask: &Ask) -> String {
    let mut line = format!("{:?} as {}: {} {}", ask.who, ask.agent.name, ask.method, scene.target(ask));
    if let Some((field, value)) = scene.shown(ask) {
        line += &format!(", {field}: {value}");
    }
    if ask.condition != Condition::None {
        line += &format!(", condition {:?}", ask.condition);
    }
    for (name, value) in &ask.more {
        line += &format!(", {name}: {value}");
    }
    if ask.until_new { line + ", until it is new" } else { line }
}
