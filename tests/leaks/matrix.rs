//! The configurations: which clients may share, where credentials stand, and every option of a route that could move
//! bytes from one user to another.
//!
//! Must not know: what anybody does with them.

use super::people::{Person, Place};
use super::upstream::Style;
use super::world::{Papers, World};

/// Which clients may share a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    Unset,
    Public,
    /// By where the credentials stand.
    By,
    /// The same, with other cookies beside.
    ByBesideOthers,
    /// By a header that has nothing to do with the user.
    ByAnother,
    ByIdentity,
    /// The poller is Alice: no other person may have what it gets.
    Authorize,
}

pub const SHARINGS: [Sharing; 7] = [
    Sharing::Unset,
    Sharing::Public,
    Sharing::By,
    Sharing::ByBesideOthers,
    Sharing::ByAnother,
    Sharing::ByIdentity,
    Sharing::Authorize,
];

/// More keys of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Setting {
    pub name: &'static str,
    /// Of the route; begins with a comma.
    route: &'static str,
    /// Of its `poll`; begins with a comma.
    poll: &'static str,
}

const fn route(name: &'static str, route: &'static str) -> Setting {
    Setting { name, route, poll: "" }
}

const fn poll(name: &'static str, poll: &'static str) -> Setting {
    Setting { name, route: "", poll }
}

pub const SETTINGS: [Setting; 28] = [
    route("nothing", ""),
    route("compressed", ", compress: on, compress_min: 1B"),
    route("never compressed", ", compress: off"),
    route("large patches", ", delta: {patch_max_ratio: 1}"),
    route("feed", ", feed: {items: /rows, id: /id, replay: 5}"),
    route("feed with updates", ", feed: {items: /rows, id: /id, on_update: event, history: 5}"),
    route("feed with a cursor", ", feed: {items: /rows, id: /id, cursor: {query: since, from: /last}}"),
    poll("batch", ", batch: {param: ids, items: /rows, key: /name, window: 5ms}"),
    route("selection", ", change: {select: /rows}"),
    route("rules", ", change: {ignore: [/n, /last], array_key: {/rows: /id}}"),
    route("slow 304", ", hold_not_modified: 150ms"),
    poll("no jar", ", cookie_jar: false"),
    poll("redirects", ", follow_redirects: 3"),
    route("refreshes", ", refreshes: ['/r/{any}', /fixed], write_wait: 200ms"),
    poll("close-delimited", ", allow_close_delimited: true, ignore_cache_control: true"),
    route("named query", ", query: [a], unknown_query: drop, query_order: any"),
    route("ignored query", ", ignore_query: [x, 'b*']"),
    poll("adaptive", ", interval: {min: 100ms, max: 1s}"),
    route("stale if error", ", stale_if_error: 1m, stale_after: 0s, first_answer: 200ms"),
    route("base64", ", encoding: base64"),
    route("downstream cache", ", downstream_cache: 'public, max-age=60'"),
    route("send", ", websocket: {send: {method: POST, errors: true}}"),
    route("streams only", ", transports: [sse]"),
    route("polls only", ", transports: [long_poll, poll]"),
    route("sockets only", ", transports: [websocket]"),
    route("short history", ", history: {versions: 1}, event_name: rows"),
    poll("short sessions", ", max_session_polls: 1s"),
    route("cors", ", cors: {origins: ['*']}, soft_refusal: always, link: false"),
];

/// One configuration in front of one kind of upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Case {
    pub sharing: Sharing,
    pub place: Place,
    pub setting: Setting,
    pub style: Style,
    pub http2: bool,
    pub tls: bool,
}

impl Case {
    /// A case that means the same and can be.
    pub fn sound(mut self) -> Case {
        if self.sharing == Sharing::ByIdentity && !self.place.proves() {
            self.place = Place::Jwt;
        }
        self.tls |= self.place == Place::Certificate;
        if self.style == Style::KnowsConnections {
            // Only such credentials make a connection somebody's.
            (self.place, self.tls) = (Place::Negotiate, false);
            if self.sharing == Sharing::ByIdentity {
                self.sharing = Sharing::By;
            }
        }
        self
    }

    pub fn yaml(&self, world: &World) -> String {
        let Case { place, setting, .. } = self;
        let (mut poll, mut interval) = (String::new(), ", interval: 100ms");
        if setting.poll.contains("interval") {
            interval = "";
        }
        let share = match self.sharing {
            Sharing::Unset => String::new(),
            Sharing::Public => ", share: public".to_owned(),
            Sharing::By | Sharing::ByBesideOthers => format!(", share: {{by: [{}]}}", place.class()),
            Sharing::ByAnother => ", share: {by: [x-nothing, 'cookie:theme']}".to_owned(),
            Sharing::ByIdentity => ", share: {by: ['identity:subject']}".to_owned(),
            Sharing::Authorize => {
                poll = self.poller_is_alice();
                ", share: authorize, authorize: {recheck: 1s}".to_owned()
            }
        };
        let always = match self.sharing {
            Sharing::Unset | Sharing::Public => ", always: true",
            _ => "",
        };
        let own = format!("{share}{}", place.route(world.oracle.address()));
        let mut tls = world.papers.as_ref().map(Papers::listener).unwrap_or_default();
        if matches!(place, Place::ForwardedUser | Place::OidcIdentity | Place::CfAccess) {
            // A trusted proxy names its users.
            tls += ", trusted_proxies: [127.0.0.0/8]";
        }
        let common = format!("backoff: {{min: 100ms, max: 200ms}}{poll}");
        format!(
            "listeners: [{{address: '127.0.0.1:0', http2: {}{tls}, hosts: [pollcast.test, localhost]}}]\n\
             admin: {{address: '127.0.0.1:0'}}\n\
             upstreams: {{legacy: {{servers: ['{}']}}}}\n\
             passthrough: legacy\n\
             threads: {{front: 1, shards: 1}}\n\
             log: {{access: false}}\n\
             drain: {{delay: 0s, window: 100ms}}\n\
             routes:\n\
             - {{path: '/r/{{name}}', upstream: legacy, poll: {{{common}{interval}{}}}{own}{}}}\n\
             - {{path: /fixed, upstream: legacy, poll: {{{common}, interval: 100ms{always}}}{own}}}\n",
            self.http2,
            world.legacy.address(),
            setting.poll,
            setting.route
        )
    }

    /// Polls that carry Alice's credentials, for any client.
    pub fn poller_is_alice(&self) -> String {
        let place = match self.place {
            Place::JwtQuery => Place::Jwt,
            // It has no certificate of hers.
            Place::Certificate => Place::Bearer,
            place => place,
        };
        let (name, value) = place.field(Person::Alice).unwrap_or_default();
        format!(", headers: {{{name}: '{value}'}}")
    }

    /// Whether everybody can get their own rows by one act or another.
    pub fn could_be_had(&self) -> bool {
        // A proxy's credentials end at the proxy, unless the class names them.
        let ends_here = self.place == Place::ProxyAuthorization
            && matches!(self.sharing, Sharing::Unset | Sharing::Authorize);
        // Its rows are in fields that never are in a snapshot.
        let is_dropped = self.style == Style::Tokens && self.sharing == Sharing::Authorize;
        !ends_here && !is_dropped
    }

    /// How it is called in messages, and chosen again.
    pub fn title(&self) -> String {
        format!(
            "{:?} × {:?} × {} × {:?}{}{}",
            self.sharing,
            self.place,
            self.setting.name,
            self.style,
            if self.tls { " × TLS" } else { "" },
            if self.http2 { " × HTTP/2" } else { "" }
        )
    }
}
