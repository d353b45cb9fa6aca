//! Which resources a write touches, and how (contract §9): those that it names, the collections that they are in, what
//! stands below them, and the route's `refreshes`; of every query and scheme, on the same host.
//!
//! `write_reach` has the paths, `hub` what a touch asks for. Must not know: how a resource is polled again.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::write_reach::{self, Bound, bind, collections, folder, path_of, resolve, split_url};
use crate::config::{Route, Upstream};
use crate::front::access::share::{self, ClassValues};
use crate::front::application::Front;
use crate::front::context::Context;
use crate::front::request::route::Match;
use crate::front::request::{hosts, target};
use crate::front::services::Shared;
use crate::hub::{Topic, Touch};
use crate::identity::Identity;
use crate::resource::{
    Answered, CanonicalPath, Readings, ResourceKey, as_clients_see, canonical_path, client_target, replace,
    tidied,
};

/// Followed relatives of a written resource that are polled together; the others follow within half an interval.
const RELATIVES_MAX: usize = 32;

/// Paths below a written one that are looked at; further ones stay young for an interval at most.
const BELOW_MAX: usize = 10_000;

/// The author of a write, as far as it decides which resources are touched.
enum Writer<'a> {
    /// The operator: resources of all clients.
    Operator,
    /// A request, with what makes its class on a route.
    Request { headers: &'a HeaderMap, identity: Option<&'a Identity> },
    /// A follower of this class.
    Follower(&'a ClassValues),
}

/// How near a resource is to what was written, farthest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Relative,
    Parent,
    Named,
}

/// What was written, and how pollcast learnt of it.
struct Write<'a> {
    shared: &'a Shared,
    /// The label in metrics.
    cause: &'static str,
    /// The authority in lower case. `None` stands for any host.
    host: Option<String>,
    writer: Writer<'a>,
    /// The writer's.
    address: Option<IpAddr>,
    /// The answer was a redirect: it may have refused the write, and bears on no other client.
    redirects: bool,
    /// Polls without an effect are repeated.
    repeats: bool,
    /// The writer's class on each route, as far as it was asked for.
    classes: HashMap<usize, Option<ClassValues>>,
    /// Every topic once, as near as anything that points to it says.
    touched: HashMap<u64, (Arc<Topic>, &'static str, Nearness)>,
}

/// A request has passed through and was answered like this.
pub(in crate::front) fn passed(
    front: &Front,
    request: &RequestHeader,
    response: &ResponseHeader,
    ctx: &Context,
) {
    let shared = &front.shared;
    if !write_reach::is_write(&request.method)
        || !write_reach::is_done(response.status)
        || shared.hub.is_empty()
    {
        return;
    }
    let raw = &*target::path(request);
    let host = hosts::routed(&front.listener, hosts::host(request)).unwrap_or_default();
    let writer = Writer::Request { headers: &request.headers, identity: ctx.identity.as_ref() };
    let mut write = Write::new(shared, "write", Some(host.to_ascii_lowercase()), writer, ctx.client);
    let upstream = ctx.upstream.as_ref().map(|upstream| upstream.config());
    let route = ctx.route.as_deref();
    write.touch_around(route, raw, &request.method);
    write.touch_answered(raw, response.status, &response.headers, upstream);
    if write_reach::has_destination(&request.method) {
        write.touch_destination(route, raw, request, upstream);
    }
    if let Some(route) = route {
        write.refresh(route, &tidied(raw));
    }
    write.finish();
}

/// A follower of `resource` has sent a message to `target`, and was answered like this.
pub(in crate::front) fn sent(
    shared: &Shared,
    route: &Route,
    resource: &ResourceKey,
    address: Option<IpAddr>,
    (method, target): (&Method, &str),
    (status, answer): (StatusCode, &HeaderMap),
) {
    if !write_reach::is_write(method) || !write_reach::is_done(status) {
        return;
    }
    let parts = resource.parts();
    let mut write = Write::new(shared, "send", parts.host.clone(), Writer::Follower(&parts.class), address);
    write.touch_path(&parts.path, "send", Nearness::Named);
    // Resources are named by the clients' paths.
    if let Some(target) = client_target(route, target) {
        let path = path_of(&target);
        let mut answer = answer.clone();
        let sent = Answered { route, path, query: None, authority: parts.host.as_deref() };
        let changed = as_clients_see(&answer, &sent);
        replace(&mut answer, changed);
        write.touch_around(Some(route), path, method);
        write.touch_answered(path, status, &answer, Some(&route.upstream));
    }
    write.refresh(route, &parts.path);
    write.finish();
}

/// Notes a write that did not pass through pollcast: to this path (whatever the host), or to this absolute URL. Gives the number
/// of resources that are touched.
///
/// # Errors
/// It is neither; says so.
pub fn poll_now(shared: &Shared, url: &str) -> Result<usize, &'static str> {
    let (host, target) = match split_url(url) {
        Some((host, target)) => (Some(host), target),
        None if url.starts_with('/') => (None, url),
        None => return Err("the url is neither a path nor an absolute http or https URL"),
    };
    let raw = path_of(target);
    let mut write = Write::new(shared, "admin", host, Writer::Operator, None);
    let found = shared.routes.find(write.host.as_deref(), raw);
    let covered = match &found {
        Match::Covered { route, path } => Some((&**route, path)),
        _ => None,
    };
    write.touch_around(covered.map(|(route, _)| route), raw, &Method::POST);
    if let Some((route, path)) = covered {
        write.refresh(route, path);
    }
    Ok(write.finish())
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

impl<'a> Write<'a> {
    fn new(
        shared: &'a Shared,
        cause: &'static str,
        host: Option<String>,
        writer: Writer<'a>,
        address: Option<IpAddr>,
    ) -> Write<'a> {
        let (redirects, repeats) = (false, true);
        let (classes, touched) = (HashMap::new(), HashMap::new());
        Write { shared, cause, host, writer, address, redirects, repeats, classes, touched }
    }

    /// The written URL, the collections that it is in, and what stands below it where the method reaches that.
    fn touch_around(&mut self, route: Option<&Route>, raw: &str, method: &Method) {
        let refreshes_parent = route.is_none_or(|route| route.refreshes_parent);
        for path in readings(raw) {
            self.touch_path(&path, self.cause, Nearness::Named);
            if refreshes_parent {
                let around = collections(&path);
                self.touch_all(&around.parents, "parent", Nearness::Parent);
                self.touch_all(&around.ancestors, "relative", Nearness::Relative);
            }
            if write_reach::reaches_below(method) {
                self.touch_below(&path);
            }
        }
    }

    /// Where a copy or a move went.
    fn touch_destination(
        &mut self,
        route: Option<&Route>,
        raw: &str,
        request: &RequestHeader,
        upstream: Option<&Upstream>,
    ) {
        let said = request.headers.get("destination").and_then(|value| value.to_str().ok());
        let target = said.and_then(|said| resolve(raw, said, &self.authorities(upstream)));
        for path in target.iter().flat_map(|target| readings(target)) {
            self.touch_path(&path, self.cause, Nearness::Named);
            self.touch_below(&path);
            if route.is_none_or(|route| route.refreshes_parent) {
                let around = collections(&path);
                self.touch_all(&around.parents, "relative", Nearness::Relative);
                self.touch_all(&around.ancestors, "relative", Nearness::Relative);
            }
        }
    }

    /// What the answer names.
    fn touch_answered(
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
        self.touch_all(&named, self.cause, Nearness::Named);
    }

    /// The authorities by which the resources here are named: the client's own, and what the upstream calls itself.
    fn authorities(&self, upstream: Option<&Upstream>) -> Vec<String> {
        let servers = upstream.iter().flat_map(|upstream| &upstream.servers).map(|server| &server.address);
        let fixed = upstream.and_then(|upstream| upstream.host.as_ref());
        self.host.iter().chain(fixed).chain(servers).cloned().collect()
    }

    fn touch_all(&mut self, paths: &[String], cause: &'static str, nearness: Nearness) {
        paths.iter().for_each(|path| self.touch_path(path, cause, nearness));
    }

    fn touch_path(&mut self, path: &str, cause: &'static str, nearness: Nearness) {
        for topic in self.shared.hub.at_path(path) {
            self.touch(topic, cause, nearness);
        }
    }

    fn touch_below(&mut self, path: &str) {
        let Some(folder) = folder(path) else { return };
        let below = self.shared.hub.paths_below(&folder, BELOW_MAX);
        if below.len() == BELOW_MAX {
            self.shared.metrics.touches.with_label_values(&["beyond"]).inc();
        }
        self.touch_all(&below, "relative", Nearness::Relative);
    }

    fn touch(&mut self, topic: Arc<Topic>, cause: &'static str, nearness: Nearness) {
        let host = topic.key().parts().host.as_ref();
        if host.is_some() && self.host.is_some() && host != self.host.as_ref() {
            return;
        }
        let known = self.touched.entry(topic.id()).or_insert((topic, cause, nearness));
        if known.2 < nearness {
            (known.1, known.2) = (cause, nearness);
        }
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
                Bound::Path(path) => self.touch_path(&path, "refresh", Nearness::Named),
                Bound::Pattern(pattern) => self.touch_matching(&pattern),
            }
        }
    }

    fn touch_matching(&mut self, pattern: &str) {
        let mut matcher = matchit::Router::new();
        if let Err(error) = matcher.insert(pattern, ()) {
            tracing::debug!("the refreshes pattern {pattern} cannot be read: {error}");
            return;
        }
        for route in &self.shared.config.routes {
            if !write_reach::may_overlap(pattern, &route.path) {
                continue;
            }
            for topic in self.shared.hub.of_route(route.index) {
                if matcher.at(&topic.key().parts().path).is_ok() {
                    self.touch(topic, "refresh", Nearness::Named);
                }
            }
        }
    }

    /// Whether a resource is the writer's own, or shared by all clients.
    fn is_own(&mut self, topic: &Topic) -> bool {
        let class = &topic.key().parts().class;
        if class.is_empty() {
            return true;
        }
        match &self.writer {
            Writer::Operator => true,
            Writer::Follower(own) => class == *own,
            Writer::Request { headers, identity } => {
                let route = topic.route();
                let own = self.classes.entry(route.index);
                own.or_insert_with(|| share::class(route, headers, *identity)).as_ref() == Some(class)
            }
        }
    }

    /// Touches what was found. Returns how many resources that were.
    fn finish(mut self) -> usize {
        let mut relatives = Vec::new();
        let mut count = 0;
        for (topic, cause, nearness) in std::mem::take(&mut self.touched).into_values() {
            let is_own = self.is_own(&topic);
            if !is_own && (self.redirects || !topic.hears(self.address)) {
                continue;
            }
            count += 1;
            self.shared.metrics.touches.with_label_values(&[cause]).inc();
            match nearness {
                Nearness::Relative => relatives.push(topic),
                _ if !is_own => topic.touch(Touch::Stranger),
                Nearness::Parent => topic.touch(Touch::Parent),
                Nearness::Named => topic.touch(Touch::Named { repeats: self.repeats }),
            }
        }
        spread(relatives);
        count
    }
}

/// Touches what stands above or below: so many of those that are followed at once, all of them within half an interval.
fn spread(relatives: Vec<Arc<Topic>>) {
    let (followed, others): (Vec<_>, Vec<_>) = relatives.into_iter().partition(|topic| topic.is_followed());
    let groups = followed.len().div_ceil(RELATIVES_MAX).max(1) as u32;
    for (group, topics) in followed.chunks(RELATIVES_MAX).enumerate() {
        for topic in topics {
            let after = topic.route().poll.interval / 2 * group as u32 / groups;
            topic.touch(Touch::Relative { after });
        }
    }
    others.iter().for_each(|topic| topic.touch(Touch::Relative { after: std::time::Duration::ZERO }));
}
