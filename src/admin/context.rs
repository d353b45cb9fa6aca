//! What the answers to operators are made of, and which operators are let in.
//!
//! Must not know: requests.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::cluster::Others;
use crate::config::{Route, Secret};
use crate::hub::{Ended, Hub};
use crate::identity::{Principal, PrincipalPattern};
use crate::metrics::Metrics;
use crate::upstream::Standing;

/// Gives how many resources of this process a URL touched and whether other nodes were told, or what is wrong with the URL.
pub type PollNow = dyn Fn(String) -> PollingNow + Send + Sync;

/// What comes of [`PollNow`], once the other nodes know.
pub type PollingNow = Pin<Box<dyn Future<Output = Result<(usize, bool), &'static str>> + Send>>;

/// Ends the streams of a client. Returns how many ended, or the full names of the clients that the call could mean: then
/// no stream ended.
pub type EndSubject = dyn Fn(&PrincipalPattern) -> Result<usize, Vec<Arc<Principal>>> + Send + Sync;

/// Reads the configuration again, or, if the argument is true, only says what that would change.
pub type Reload = dyn Fn(bool) -> Reloading + Send + Sync;

/// What comes of [`Reload`]. `None` if the configuration comes from no file.
pub type Reloading = Pin<Box<dyn Future<Output = Option<Reloaded>> + Send>>;

/// What came of reading the configuration again.
pub struct Reloaded {
    /// Whether the file is what counts, or could be.
    pub is_good: bool,
    /// The answer for programs.
    pub json: Value,
    /// The answer in words, lines that end.
    pub text: String,
}

/// Has the routes with this path polled, or not polled until the next reload.
pub type SwitchRoute = dyn Fn(String, bool) -> Switching + Send + Sync;

/// What comes of [`SwitchRoute`].
pub type Switching = Pin<Box<dyn Future<Output = Result<Switched, NotSwitched>> + Send>>;

/// What came of switching a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    /// Routes that were switched: several may have one path, for different hosts; none if all were so already.
    pub routes: usize,
    /// What has ended by it.
    pub ended: Ended,
}

/// Why no route was switched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSwitched {
    /// No route has this path; the paths that there are, in any order.
    Unknown(Vec<String>),
    /// The file itself says `poll: off`.
    Configured,
    /// The process is about to end.
    Draining,
    /// What follows from the routes could not be made.
    Failed(String),
}

/// Says what becomes of a request, or why what is asked is none.
pub type Explain = dyn Fn(Question) -> Explaining + Send + Sync;

/// What comes of [`Explain`].
pub type Explaining = Pin<Box<dyn Future<Output = Result<Explained, String>> + Send>>;

/// A request that an operator asks about.
pub struct Question {
    /// A path with its query, or an absolute URL.
    pub url: String,
    /// The method.
    pub method: Method,
    /// The fields, whose values are never shown.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The address of the client.
    pub client: Option<IpAddr>,
}

/// What becomes of a request, in both forms.
pub struct Explained {
    /// As JSON.
    pub json: Value,
    /// In words.
    pub text: String,
}

/// One upstream as operators see it.
pub struct UpstreamView {
    /// Its name in the file.
    pub name: String,
    /// How it does now.
    pub standing: Standing,
}

/// What the answers to operators are made of, and which operators are let in.
pub struct Context {
    /// The topics that `/resources` lists.
    pub hub: Arc<Hub>,
    /// The metrics that `/metrics` shows.
    pub metrics: Metrics,
    /// The other nodes. `None` if the configuration has no `cluster`.
    pub cluster: Option<Arc<Others>>,
    /// The routes of the configuration that is in force.
    pub routes: Box<dyn Fn() -> Vec<Arc<Route>> + Send + Sync>,
    /// `None` lets in every program that reaches the listener.
    pub token: Option<Secret>,
    /// Names that it answers to without a token, besides addresses and `localhost`; lower case.
    pub hosts: Vec<String>,
    /// Whether browsers can connect: then a page of another site must not have them ask.
    pub is_tcp: bool,
    /// Whether the process is about to end.
    pub is_draining: Box<dyn Fn() -> bool + Send + Sync>,
    /// Begins a drain, as SIGTERM does. Returns false if the process does not listen for that.
    pub drain: Box<dyn Fn() -> bool + Send + Sync>,
    /// Shows the configured upstreams.
    pub upstreams: Box<dyn Fn() -> Vec<UpstreamView> + Send + Sync>,
    /// Polls what follows this path or absolute URL at once, as after a write.
    pub poll_now: Box<PollNow>,
    /// Ends all streams of a client.
    pub end_subject: Box<EndSubject>,
    /// Reads the configuration again, or only says what that would change.
    pub reload: Box<Reload>,
    /// Switches a route off or on.
    pub switch_route: Box<SwitchRoute>,
    /// Says what becomes of a request and why. It changes nothing.
    pub explain: Box<Explain>,
    /// What of the configuration counts, and how the last reload went.
    pub configuration: Box<dyn Fn() -> Value + Send + Sync>,
}
