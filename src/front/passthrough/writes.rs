//! Which resources a write touches, and how (contract §9): those that it names, the collections that they are in, what
//! stands below them, and the route's `refreshes`; of every query and scheme, on the same host.
//!
//! `write_reach` has the paths, `written_topics` the topics there, `node_writes` what other nodes are told, `hub` what a
//! touch asks for. Must not know: how a resource is polled again.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use http::{HeaderMap, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::write_reach::{self, Bound, bind, collections, folder, path_of, resolve, split_url};
use super::written_topics::{Effect, Telling, Touched};
use crate::config::{Route, Upstream};
use crate::front::access::share::{self, ClassValues};
use crate::front::application::Front;
use crate::front::context::Context;
use crate::front::request::route::Match;
use crate::front::request::{hosts, target};
use crate::front::services::Shared;
use crate::identity::Identity;
use crate::metrics::TouchCause;
use crate::poll::backplane::{Nearness, Place, Reached, WriteNotice};
use crate::resource::{
    Answered, CanonicalPath, Readings, ResourceKey, as_clients_see, canonical_path, client_target, replace,
    tidied,
};

/// The author of a write, as far as it decides which resources are touched.
enum Writer<'a> {
    /// The operator: resources of all clients.
    Operator,
    /// A request, with what makes its class on a route.
    Request { headers: &'a HeaderMap, identity: Option<&'a Identity> },
    /// A follower of this class.
    Follower(&'a ClassValues),
}

/// What was written, and how pollcast learnt of it.
struct Write<'s, 'a> {
    shared: &'s Shared,
    /// The label in metrics.
    cause: TouchCause,
    /// The authority in lower case. `None` stands for any host.
    host: Option<String>,
    writer: Writer<'a>,
    /// The writer's.
    address: Option<IpAddr>,
    /// The answer was a redirect: it may have refused the write, and bears on no other client.
    redirects: bool,
    /// Polls without an effect are repeated.
    repeats: bool,
    /// The places that it touches.
    reached: Vec<Reached<String>>,
}

/// What has become of a write.
enum Finished<'a> {
    /// It has touched so many resources.
    Touched(usize),
    /// The other nodes are to be told first.
    Untold(Telling<'a>),
}

/// A request has passed through and was answered like this. Returns what the other nodes are to be told before the answer
/// goes on, if there are any.
pub(in crate::front) fn passed<'a>(
    front: &'a Front,
    request: &RequestHeader,
    response: &ResponseHeader,
    ctx: &Context,
) -> Option<Telling<'a>> {
    let shared = &front.shared;
    if !write_reach::is_write(&request.method)
        || !write_reach::is_done(response.status)
        || (shared.hub.is_empty() && shared.nodes.is_none())
    {
        return None;
    }
    let raw = &*target::path(request);
    let host = hosts::routed(&front.listener, hosts::host(request)).unwrap_or_default();
    let writer = Writer::Request { headers: &request.headers, identity: ctx.identity.as_ref() };
    let mut write =
        Write::new(shared, TouchCause::Write, Some(host.to_ascii_lowercase()), writer, ctx.client);
    let upstream = ctx.upstream.as_ref().map(|upstream| upstream.config());
    let route = ctx.route.as_deref();
    write.reach_around(route, raw, &request.method);
    write.reach_answered(raw, response.status, &response.headers, upstream);
    if write_reach::has_destination(&request.method) {
        write.reach_destination(route, raw, request, upstream);
    }
    if let Some(route) = route {
        write.refresh(route, &tidied(raw));
    }
    write.finish().untold()
}

/// A follower of `resource` has sent a message to `target`, and was answered like this. Returns as [`passed`].
pub(in crate::front) fn sent<'a>(
    shared: &'a Shared,
    route: &Route,
    resource: &ResourceKey,
    address: Option<IpAddr>,
    (method, target): (&Method, &str),
    (status, answer): (StatusCode, &HeaderMap),
) -> Option<Telling<'a>> {
    if !write_reach::is_write(method) || !write_reach::is_done(status) {
        return None;
    }
    let parts = resource.parts();
    let writer = Writer::Follower(&parts.class);
    let mut write = Write::new(shared, TouchCause::Send, parts.host.clone(), writer, address);
    write.reach_path(&parts.path, TouchCause::Send, Nearness::Named);
    // Resources are named by the clients' paths.
    if let Some(target) = client_target(route, target) {
        let path = path_of(&target);
        let mut answer = answer.clone();
        let sent = Answered { route, path, query: None, authority: parts.host.as_deref() };
        let changed = as_clients_see(&answer, &sent);
        replace(&mut answer, changed);
        write.reach_around(Some(route), path, method);
        write.reach_answered(path, status, &answer, Some(&route.upstream));
    }
    write.refresh(route, &parts.path);
    write.finish().untold()
}

/// Notes a write that did not pass through pollcast: to this path (whatever the host), or to this absolute URL. Gives the number
/// of resources that are touched on this node, and whether other nodes were told.
///
/// # Errors
/// It is neither; says so.
pub async fn poll_now(shared: &Shared, url: &str) -> Result<(usize, bool), &'static str> {
    let (host, target) = match split_url(url) {
        Some((host, target)) => (Some(host), target),
        None if url.starts_with('/') => (None, url),
        None => return Err("the url is neither a path nor an absolute http or https URL"),
    };
    let raw = path_of(target);
    let mut write = Write::new(shared, TouchCause::Admin, host, Writer::Operator, None);
    let found = shared.routes.find(write.host.as_deref(), raw);
    let covered = match &found {
        Match::Covered { route, path } => Some((&**route, path)),
        _ => None,
    };
    write.reach_around(covered.map(|(route, _)| route), raw, &Method::POST);
    if let Some((route, path)) = covered {
        write.refresh(route, path);
    }
    Ok(match write.finish() {
        Finished::Touched(count) => (count, false),
        Finished::Untold(telling) => telling.tell().await,
    })
}

/// The paths that servers may read in one that a client spelled.
fn readings(raw: &str) -> Vec<String> {
    match canonical_path(raw) {
        CanonicalPath::Plain(path) => vec![path],
        CanonicalPath::Doubtful => {
            // Its own key is the path as it came, or as RFC 3986 reads it.
            let mut paths = BTreeSet::from([raw.to_owned(), tidied(raw)]);
            paths.extend(Readings::of(raw).iter().filter_map(|reading| match canonical_path(reading) {
                CanonicalPath::Plain(path) => Some(path),
                CanonicalPath::Doubtful => None,
            }));
            paths.into_iter().collect()
        }
    }
}

impl<'s, 'a> Write<'s, 'a> {
    fn new(
        shared: &'s Shared,
        cause: TouchCause,
        host: Option<String>,
        writer: Writer<'a>,
        address: Option<IpAddr>,
    ) -> Write<'s, 'a> {
        let (redirects, repeats, reached) = (false, true, Vec::new());
        Write { shared, cause, host, writer, address, redirects, repeats, reached }
    }

    /// The written URL, the collections that it is in, and what stands below it where the method reaches that.
    fn reach_around(&mut self, route: Option<&Route>, raw: &str, method: &Method) {
        let refreshes_parent = route.is_none_or(|route| route.refreshes_parent);
        for path in readings(raw) {
            self.reach_path(&path, self.cause, Nearness::Named);
            if refreshes_parent {
                let around = collections(&path);
                self.reach_all(&around.parents, TouchCause::Parent, Nearness::Parent);
                self.reach_all(&around.ancestors, TouchCause::Relative, Nearness::Relative);
            }
            if write_reach::reaches_below(method) {
                self.reach_below(&path);
            }
        }
    }

    /// Where a copy or a move went.
    fn reach_destination(
        &mut self,
        route: Option<&Route>,
        raw: &str,
        request: &RequestHeader,
        upstream: Option<&Upstream>,
    ) {
        let said = request.headers.get("destination").and_then(|value| value.to_str().ok());
        let target = said.and_then(|said| resolve(raw, said, &self.authorities(upstream)));
        for path in target.iter().flat_map(|target| readings(target)) {
            self.reach_path(&path, self.cause, Nearness::Named);
            self.reach_below(&path);
            if route.is_none_or(|route| route.refreshes_parent) {
                let around = collections(&path);
                self.reach_all(&around.parents, TouchCause::Relative, Nearness::Relative);
                self.reach_all(&around.ancestors, TouchCause::Relative, Nearness::Relative);
            }
        }
    }

    /// What the answer names.
    fn reach_answered(
        &mut self,
        raw: &str,
        status: StatusCode,
        headers: &HeaderMap,
        upstream: Option<&Upstream>,
    ) {
        let known = self.authorities(upstream);
        let mut named = Vec::new();
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            named.extend(
                values.filter_map(|value| resolve(raw, value, &known)).flat_map(|path| readings(&path)),
            );
        }
        self.redirects = status.is_redirection();
        if self.redirects && status != StatusCode::SEE_OTHER {
            // A page to log in at shows nothing of a write: it was refused, and has no effect to wait for.
            let written = readings(raw);
            self.repeats =
                written.iter().any(|written| named.iter().any(|path| write_reach::shows(written, path)));
        }
        self.reach_all(&named, self.cause, Nearness::Named);
    }

    /// The authorities by which the resources here are named: the client's own, and what the upstream calls itself.
    fn authorities(&self, upstream: Option<&Upstream>) -> Vec<String> {
        let servers = upstream.iter().flat_map(|upstream| &upstream.servers).map(|server| &server.address);
        let fixed = upstream.and_then(|upstream| upstream.host.as_ref());
        self.host.iter().chain(fixed).chain(servers).cloned().collect()
    }

    fn reach_all(&mut self, paths: &[String], cause: TouchCause, nearness: Nearness) {
        paths.iter().for_each(|path| self.reach_path(path, cause, nearness));
    }

    fn reach_path(&mut self, path: &str, cause: TouchCause, nearness: Nearness) {
        self.reached.push(Reached { place: Place::Path(path.to_owned()), cause, nearness });
    }

    fn reach_below(&mut self, path: &str) {
        let below = folder(path).map(|folder| Reached {
            place: Place::Below(folder),
            cause: TouchCause::Relative,
            nearness: Nearness::Relative,
        });
        self.reached.extend(below);
    }

    /// The route's `refreshes`, with the parameters of the path that was written to.
    fn refresh(&mut self, route: &Route, path: &str) {
        if route.refreshes.is_empty() {
            return;
        }
        let parameters = self.shared.routes.parameters(route, path);
        // A wide route has no names for the parts of its paths.
        let written = route.path.contains("{*").then_some(path);
        for pattern in &route.refreshes {
            match bind(pattern, &parameters, written) {
                Bound::Path(path) => self.reach_path(&path, TouchCause::Refresh, Nearness::Named),
                Bound::Pattern(pattern) => self.reached.push(Reached {
                    place: Place::Matching(pattern),
                    cause: TouchCause::Refresh,
                    nearness: Nearness::Named,
                }),
            }
        }
    }

    /// Touches what it reaches, or has the other nodes told first.
    fn finish(mut self) -> Finished<'s> {
        let Some(nodes) = &self.shared.nodes else { return Finished::Touched(self.touch()) };
        // Where no route leads, no node has a topic.
        let places = std::mem::take(&mut self.reached).into_iter();
        let reached: Vec<_> = places.filter(|reached| self.is_covered(&reached.place)).collect();
        if reached.is_empty() {
            return Finished::Touched(0);
        }
        let classes = match &self.writer {
            Writer::Operator => None,
            Writer::Follower(own) => Some(vec![nodes.class(own)]),
            Writer::Request { headers, identity } => Some(nodes.classes(headers, *identity)),
        };
        let notice = WriteNotice {
            host: self.host.as_deref().map(|host| nodes.host(host)),
            reached: nodes.places(reached),
            classes,
            address: self.address,
            redirects: self.redirects,
            repeats: self.repeats,
        };
        Finished::Untold(Telling { shared: self.shared, nodes, notice })
    }

    /// Whether a route of any host may cover a place.
    fn is_covered(&self, place: &Place<String>) -> bool {
        let is_covered = |pattern: &str| {
            self.shared.config.routes.iter().any(|route| write_reach::may_overlap(pattern, &route.path))
        };
        match place {
            Place::Path(path) => self.shared.routes.may_cover(path),
            Place::Below(folder) => is_covered(&format!("{folder}{{*rest}}")),
            Place::Matching(pattern) => is_covered(pattern),
        }
    }

    /// Touches what it reaches on this node, the only one. Returns how many resources that were.
    fn touch(self) -> usize {
        let is_for = |host: &str| self.host.as_deref().is_none_or(|named| named == host);
        let mut touched = Touched::new(self.shared, &is_for);
        self.reached.iter().for_each(|reached| touched.add(reached));
        let effect =
            Effect { address: self.address, redirects: self.redirects, repeats: self.repeats, number: None };
        // The writer's class on each route, as far as it was asked for.
        let mut classes: HashMap<usize, Option<ClassValues>> = HashMap::new();
        touched.finish(&effect, |topic| {
            let class = &topic.key().parts().class;
            match &self.writer {
                Writer::Operator => true,
                Writer::Follower(own) => class == *own,
                Writer::Request { headers, identity } => {
                    let route = topic.route();
                    let own = classes.entry(route.index);
                    own.or_insert_with(|| share::class(&route, headers, *identity)).as_ref() == Some(class)
                }
            }
        })
    }
}

impl<'a> Finished<'a> {
    /// What the other nodes are to be told.
    fn untold(self) -> Option<Telling<'a>> {
        match self {
            Finished::Touched(_) => None,
            Finished::Untold(telling) => Some(telling),
        }
    }
}
