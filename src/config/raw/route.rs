//! The keys of a route, most of which `defaults` takes too.
//!
//! Must not know: defaults, bounds, what goes together.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    AuthenticateSetting, Authorize, ChangeSetting, Count, DeltaSetting, FeedSetting, Flag, List, PollSetting,
    PresenceSetting, Rate, Size, Text, Time,
};

/// A path that is polled and pushed.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["path", "upstream"]))]
pub struct Route {
    /// Pattern: `/prices/{symbol}`, `/files/{*rest}`.
    pub path: Option<Text>,
    /// Name of the upstream that is polled.
    pub upstream: Option<Text>,
    /// Path, and query, that its requests have on the upstream, with the parameters of `path`; left out: those of the
    /// client.
    pub upstream_path: Option<Text>,
    /// The route counts for these hosts only; left out: for all.
    pub hosts: Option<List<Text>>,
    /// The keys that `defaults` may say, too.
    #[serde(flatten)]
    pub settings: RouteSettings,
}

/// What a route says, or leaves to `defaults`.
#[derive(Deserialize, JsonSchema, Default)]
pub struct RouteSettings {
    /// How the upstream is asked, or `off`: nothing of the route is polled or pushed, its requests pass through.
    pub poll: Option<PollSetting>,
    /// How plain requests are answered: from the snapshot (`share`), or by the API (`pass`).
    #[schemars(extend("enum" = ["share", "pass"]))]
    pub plain: Option<Text>,
    /// Which clients may share one poll; matters for requests with credentials.
    pub share: Option<Share>,
    /// Which clients are let in, or `off`: all.
    pub authenticate: Option<AuthenticateSetting>,
    /// How subscribers are checked where `share` is `authorize`.
    pub authorize: Option<Authorize>,
    /// The ways in which the route may be read.
    #[schemars(extend("items" = { "enum": ["sse", "websocket", "long_poll", "poll"], "type": "string" }))]
    pub transports: Option<List<Text>>,
    /// The query parameters that name the resource, or `all`: every one but `ignore_query`.
    pub query: Option<Query>,
    /// What happens to parameters that `query` does not name.
    #[schemars(extend("enum" = ["drop", "reject"]))]
    pub unknown_query: Option<Text>,
    /// `any`: the order of the parameters does not matter.
    #[schemars(extend("enum" = ["as_sent", "any"]))]
    pub query_order: Option<Text>,
    /// Parameters that leave key and poll; a trailing `*` matches any ending, a trailing `=#` only values that are a
    /// number of ten digits or more, or a fraction.
    pub ignore_query: Option<List<Text>>,
    /// Cookies that say nothing about identity; a trailing `*` matches any ending.
    pub ignore_cookies: Option<List<Text>>,
    /// Request headers that are credentials, besides Cookie, the usual ones and those whose name says so.
    pub credentials: Option<List<Text>>,
    /// Fields of answers that are content although their names say credential.
    pub keep_fields: Option<List<Text>>,
    /// Request headers that choose the content: in the key and on its polls.
    pub vary: Option<List<Text>>,
    /// Names in the upstream's Vary that mean nothing.
    pub ignore_vary: Option<List<Text>>,
    /// Request headers that mean nothing, besides those that are known to.
    pub ignore_headers: Option<List<Text>>,
    /// Names of the query switches.
    pub switches: Option<Switches>,
    /// `exact`: the API reads letter case, a last `/`, escapes, `;` and `//` in a path as RFC 3986 does; `any`:
    /// it may read them otherwise, so that all readings of a path decide.
    #[schemars(extend("enum" = ["any", "exact"]))]
    pub spelling: Option<Text>,
    /// SSE `event:` of snapshots, or `off`: unnamed, so that `onmessage` works.
    pub event_name: Option<Text>,
    /// `base64`: bodies that are not text are sent so; `text`: they are refused with 406.
    #[schemars(extend("enum" = ["text", "base64"]))]
    pub encoding: Option<Text>,
    /// How often a silent stream shows that it is alive.
    pub heartbeat: Option<Time>,
    /// How long a cold request waits for its first answer.
    pub first_answer: Option<Time>,
    /// Longest a long-poll is held.
    pub max_wait: Option<Time>,
    /// SSE clients come back after a random time between these two.
    pub retry: Option<List<Time>>,
    /// Data older than this plus the interval is called stale.
    pub stale_after: Option<Time>,
    /// How long the last good answer is served while the upstream fails.
    pub stale_if_error: Option<Time>,
    /// What a resource remembers.
    pub history: Option<History>,
    /// Which clients are refused with a stream that says when to come back, instead of an error status.
    #[schemars(extend("enum" = ["browsers", "always", "never"]))]
    pub soft_refusal: Option<Text>,
    /// Cache-Control of ordinary polls, or `off`: pollcast's own.
    pub downstream_cache: Option<Text>,
    /// Tell ordinary polls, in a Link header, that there is a stream.
    pub link: Option<Flag>,
    /// Answer CORS here, or `off`.
    pub cors: Option<CorsSetting>,
    /// WebSocket on this route.
    pub websocket: Option<Websocket>,
    /// Streams of a vanished resource (404, 410) end after this, or `off`: never.
    pub gone_after: Option<Time>,
    /// Whether answers and streams are compressed for clients that accept it.
    #[schemars(extend("enum" = ["auto", "on", "off"]))]
    pub compress: Option<Text>,
    /// Bodies and messages smaller than this are not compressed.
    pub compress_min: Option<Size>,
    /// Streams end after this long, a fifth less or more, so that clients spread anew; or `off`.
    pub max_age: Option<Time>,
    /// Most clients that follow this route, or `off`.
    pub max_clients: Option<Count>,
    /// Most clients that follow one resource of this route, or `off`.
    pub max_clients_per_resource: Option<Count>,
    /// Most resources of this route, or `off`.
    pub max_resources: Option<Count>,
    /// What counts as a change, or `off`: any other byte.
    pub change: Option<ChangeSetting>,
    /// Patches for clients that ask for them.
    pub delta: Option<DeltaSetting>,
    /// The resource is a list of items, or `off`.
    pub feed: Option<FeedSetting>,
    /// Paths that a write on this route makes poll again, too.
    pub refreshes: Option<List<Text>>,
    /// Whether a write on this route makes the collection poll again that the written path is in.
    pub refreshes_parent: Option<Flag>,
    /// Longest wait for the poll after a write.
    pub write_wait: Option<Time>,
    /// Hold conditional polls that would be answered 304, or `off`.
    pub hold_not_modified: Option<Time>,
    /// Tell clients and the upstream who follows a resource, or `off`.
    pub presence: Option<PresenceSetting>,
    /// Whether its polls are shared with the other nodes (`auto`, with `cluster`) or each node polls for itself (`off`).
    #[schemars(extend("enum" = ["auto", "off"]))]
    pub cluster: Option<Text>,
}

/// `unset`, `public`, `authorize`, or `{ by: [...] }`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Share {
    /// `public`: clients' credentials mean nothing here; `authorize`: each client is checked with its own;
    /// `unset`: only requests without credentials share.
    Word(Text),
    /// The headers, cookies and claims that have to be equal.
    By(ShareBy),
}

/// Requests with equal values share.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["by"]))]
pub struct ShareBy {
    /// Header names, `cookie:<name>`, `identity:subject` and `identity:<claim>`.
    pub by: Option<List<Text>>,
}

/// Names of parameters, or `all`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Query {
    /// `all`.
    Word(Text),
    /// The parameters that name the resource.
    Names(List<Text>),
}

/// Names of the query switches, each or `off`.
#[derive(Deserialize, JsonSchema)]
pub struct Switches {
    /// Chooses the transport: `?_push=sse`.
    pub push: Option<Text>,
    /// Holds a long-poll: `?_wait=30s`.
    pub wait: Option<Text>,
    /// Asks for patches: `?_delta=json-patch`.
    pub delta: Option<Text>,
    /// Asks for `presence` events: `?_presence=on`; counts where the route has `presence`.
    pub presence: Option<Text>,
    /// Where a stream resumes: `?last_event_id=…`; or `off`: the parameter is the API's everywhere.
    pub resume: Option<Text>,
    /// Take the `Wait: N` request header for `Prefer: wait=N`; or `off`.
    pub wait_header: Option<Text>,
}

/// What a resource remembers.
#[derive(Deserialize, JsonSchema)]
pub struct History {
    /// How many versions.
    pub versions: Option<Count>,
}

/// `off`, or the origins that may read.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CorsSetting {
    /// `off`.
    Word(Text),
    /// Which origins, and how.
    On(Cors),
}

/// The origins that may read.
#[derive(Deserialize, JsonSchema)]
pub struct Cors {
    /// Origins as `https://shop.example.com`, or one `*`.
    pub origins: Option<List<Text>>,
    /// Let browsers send their cookies.
    pub credentials: Option<Flag>,
    /// How long browsers remember the answer.
    pub max_age: Option<Time>,
}

/// WebSocket on a route.
#[derive(Deserialize, JsonSchema)]
pub struct Websocket {
    /// Origins let in, or `same`: none, or the one of the request's host.
    pub origins: Option<WebsocketOrigins>,
    /// How often a silent connection is pinged.
    pub ping: Option<Time>,
    /// How long the pong may take.
    pub pong: Option<Time>,
    /// Longest message of a client.
    pub max_message: Option<Size>,
    /// Most frames of one connection in a second: messages, their pieces, pings, pongs.
    pub frame_rate: Option<Rate>,
    /// Most pieces of one message.
    pub max_fragments: Option<Count>,
    /// Where clients' messages go, or `off`: nowhere.
    pub send: Option<SendSetting>,
}

/// Origins, or `same`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WebsocketOrigins {
    /// `same`.
    Word(Text),
    /// The origins.
    List(List<Text>),
}

/// `off`, or the request a message becomes.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SendSetting {
    /// `off`.
    Word(Text),
    /// What the request is.
    On(Send),
}

/// The request that a client's message becomes.
#[derive(Deserialize, JsonSchema)]
pub struct Send {
    /// Method of the request.
    #[schemars(extend("enum" = ["POST", "PUT", "PATCH", "DELETE"]))]
    pub method: Option<Text>,
    /// Path with the route's `{parameters}`; left out: the request's own path.
    pub path: Option<Text>,
    /// Content-Type of the message.
    pub content_type: Option<Text>,
    /// Headers of the request.
    pub headers: Option<BTreeMap<String, Text>>,
    /// Most messages of one connection: `10/s`.
    pub rate: Option<Rate>,
    /// Tell the client of failures, in a text message.
    pub errors: Option<Flag>,
}
