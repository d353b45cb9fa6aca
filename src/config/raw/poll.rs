//! `poll`: how the upstream is asked.
//!
//! Must not know: defaults, bounds, what goes together.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, FileText, Flag, List, Size, Text, Time};

/// `off`, or how the upstream is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PollSetting {
    /// `off`.
    Word(Text),
    /// The settings of the polls.
    On(Box<Poll>),
}

/// How the upstream is asked.
#[derive(Deserialize, JsonSchema)]
pub struct Poll {
    /// The time from one poll to the next.
    pub interval: Option<Interval>,
    /// Keep polling this long after the last client left.
    pub linger: Option<Time>,
    /// Keep polling without clients; for a path without parameters.
    pub always: Option<Flag>,
    /// Headers of every poll.
    pub headers: Option<BTreeMap<String, FileText>>,
    /// Accept header of every poll.
    pub accept: Option<Text>,
    /// Whether polls ask for compressed answers.
    #[schemars(extend("enum" = ["on", "off"]))]
    pub accept_encoding: Option<Text>,
    /// Longest a whole poll may take; left out: the upstream's `total_timeout`.
    pub timeout: Option<Time>,
    /// Longest body that is pushed; longer ones stream through.
    pub max_body: Option<Size>,
    /// What counts as data.
    pub expect: Option<Expect>,
    /// Believe a body that ends with the connection, whatever its type.
    pub allow_close_delimited: Option<Flag>,
    /// Poll more often than the upstream's `Cache-Control: max-age` allows.
    pub ignore_cache_control: Option<Flag>,
    /// The waits after failures.
    pub backoff: Option<Backoff>,
    /// Keep the cookies that the upstream sets, where polls carry no client's.
    pub cookie_jar: Option<Flag>,
    /// Polls in a user's session end without an ordinary request of that user for this long, or `off`.
    pub max_session_polls: Option<Time>,
    /// Redirects to the same upstream that one poll may follow.
    pub follow_redirects: Option<Count>,
    /// The credentials of polls, or `off`.
    pub auth: Option<AuthSetting>,
    /// Ask for many resources in one request, or `off`.
    pub batch: Option<BatchSetting>,
}

/// A fixed time, or bounds for an adaptive one.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Interval {
    /// The time from one poll to the next.
    Fixed(Time),
    /// The bounds between which it moves.
    Adaptive(AdaptiveInterval),
}

/// Bounds of an adaptive interval: short after changes, long while nothing happens.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["min", "max"]))]
pub struct AdaptiveInterval {
    /// Shortest.
    pub min: Option<Time>,
    /// Longest.
    pub max: Option<Time>,
}

/// What counts as data.
#[derive(Deserialize, JsonSchema)]
pub struct Expect {
    /// Media types; an empty list: the first one seen.
    pub content_type: Option<List<Text>>,
}

/// The waits after failures.
#[derive(Deserialize, JsonSchema)]
pub struct Backoff {
    /// First wait.
    pub min: Option<Time>,
    /// Longest wait.
    pub max: Option<Time>,
    /// Longest `Retry-After` that is obeyed.
    pub retry_after_max: Option<Time>,
}

/// `off`, or the credentials of polls.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AuthSetting {
    /// `off`.
    Word(Text),
    /// One kind of credentials.
    On(Box<Auth>),
}

/// The credentials of polls: one of these.
#[derive(Deserialize, JsonSchema)]
pub struct Auth {
    /// HTTP basic authentication.
    pub basic: Option<Basic>,
    /// A token that stays the same, or stands in a file.
    pub bearer: Option<FileText>,
    /// File with the whole value of the Authorization header, read again when it changes.
    pub header_file: Option<Text>,
    /// OAuth 2.0 client credentials: tokens are fetched, and renewed before they expire.
    pub oauth2: Option<OAuth>,
    /// HTTP digest authentication: cameras, routers, controllers.
    pub digest: Option<Digest>,
}

/// HTTP digest authentication (RFC 7616).
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["username"]))]
pub struct Digest {
    /// Name.
    pub username: Option<Text>,
    /// Password.
    pub password: Option<FileText>,
    /// File with the password, read again when it changes.
    pub password_file: Option<Text>,
}

/// HTTP basic authentication.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["user"]))]
pub struct Basic {
    /// Name.
    pub user: Option<Text>,
    /// Password.
    pub password: Option<FileText>,
    /// File with the password, read again when it changes.
    pub password_file: Option<Text>,
}

/// OAuth 2.0 client credentials (RFC 6749).
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["token_url", "client_id", "client_secret"]))]
pub struct OAuth {
    /// Where tokens come from: `https://auth.example.com/token`.
    pub token_url: Option<Text>,
    /// Name of this client.
    pub client_id: Option<Text>,
    /// Its secret.
    pub client_secret: Option<FileText>,
    /// The scope that is asked for.
    pub scope: Option<Text>,
    /// The audience of the token, where the server wants to know it.
    pub audience: Option<Text>,
    /// Name the client in the body instead of with HTTP basic authentication.
    pub in_body: Option<Flag>,
    /// PEM file of the server's authorities; relative to this file; left out: the system's.
    pub ca: Option<Text>,
    /// One of `upstreams`, whose servers, `tls` and `proxy` lead to the server; left out: the URL and the `proxy` of
    /// the route's upstream.
    pub upstream: Option<Text>,
    /// A token is replaced this long before it expires.
    pub refresh_before: Option<Time>,
}

/// `off`, or how many resources go into one request.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BatchSetting {
    /// `off`.
    Word(Text),
    /// How names are put into one request.
    On(Box<Batch>),
}

/// Many resources of this route in one request.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["param", "items", "key"]))]
pub struct Batch {
    /// Query parameter with the list of names.
    pub param: Option<Text>,
    /// What stands between two names.
    pub separator: Option<Text>,
    /// Most names in one request.
    pub max: Option<Count>,
    /// JSON Pointer to the array of items in the answer.
    pub items: Option<Text>,
    /// JSON Pointer from an item to its name.
    pub key: Option<Text>,
    /// Path of the request; left out: the route's without its last segment.
    pub path: Option<Text>,
    /// The parameter of the route's path that names an item; left out: the one in its last segment.
    pub parameter: Option<Text>,
    /// How long a poll waits for others to go with.
    pub window: Option<Time>,
}
