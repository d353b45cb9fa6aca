//! Which resources a write touches (contract §9): those of its URL, of `Location` and
//! `Content-Location`, and of the route's `refreshes`; of every class, query and scheme, on the same
//! host.
//!
//! Must not know: how a resource is polled again.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::{Context, Match, Shared};
use crate::config::Route;
use crate::hub::Topic;
use crate::resource::{CanonicalPath, Readings, ResourceKey, canonical_path, tidied};

/// What was written, and who said so.
struct Write<'a> {
    shared: &'a Shared,
    /// The label in metrics.
    cause: &'static str,
    /// Lower-case authority; none: whatever the host.
    host: Option<String>,
    /// Every topic once, whatever points to it.
    touched: HashMap<u64, (Arc<Topic>, &'static str)>,
}

/// A request has passed through and was answered like this.
pub(super) fn passed(shared: &Shared, request: &RequestHeader, response: &ResponseHeader, ctx: &Context) {
    if is_safe(&request.method) || !is_success(response.status) || shared.hub.is_empty() {
        return;
    }
    let raw = request.uri.path();
    let host = request.headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let host = host.or(request.uri.authority().map(|a| a.as_str())).unwrap_or_default();
    let mut write = Write::new(shared, "write", Some(host.to_ascii_lowercase()));
    write.touch_raw(raw);
    let fixed = ctx.upstream.as_ref().and_then(|upstream| upstream.config().host.as_deref());
    write.touch_named(raw, &response.headers, fixed);
    if let Some(route) = &ctx.route {
        write.refresh(route, &tidied(raw));
    }
    write.finish();
}

/// A follower of `resource` has sent a message to `target`, and it was taken.
pub(super) fn sent(shared: &Shared, route: &Route, resource: &ResourceKey, target: &str, answer: &HeaderMap) {
    let mut write = Write::new(shared, "send", resource.parts().host.clone());
    let path = target.split('?').next().unwrap_or_default();
    write.touch_path(&resource.parts().path, "send");
    write.touch_raw(path);
    write.touch_named(path, answer, route.upstream.host.as_deref());
    write.refresh(route, &resource.parts().path);
    write.finish();
}

/// Somebody wrote past us: to this path (whatever the host), or to this absolute URL. Gives the number
/// of resources that are polled again.
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
    let mut write = Write::new(shared, "admin", host);
    write.touch_raw(raw);
    if let Match::Covered { route, path } = shared.routes.find(write.host.as_deref(), raw) {
        write.refresh(&route, &path);
    }
    Ok(write.finish())
}

impl Write<'_> {
    fn new<'a>(shared: &'a Shared, cause: &'static str, host: Option<String>) -> Write<'a> {
        Write { shared, cause, host, touched: HashMap::new() }
    }

    /// A path as somebody spelled it: where servers read it differently, every reading.
    fn touch_raw(&mut self, raw: &str) {
        match canonical_path(raw) {
            CanonicalPath::Plain(path) => self.touch_path(&path, self.cause),
            CanonicalPath::Doubtful => {
                // Its own key is the path as it came, or as RFC 3986 reads it.
                self.touch_path(raw, self.cause);
                self.touch_path(&tidied(raw), self.cause);
                for reading in Readings::of(raw).iter() {
                    if let CanonicalPath::Plain(path) = canonical_path(reading) {
                        self.touch_path(&path, self.cause);
                    }
                }
            }
        }
    }

    fn touch_path(&mut self, path: &str, cause: &'static str) {
        for topic in self.shared.hub.at_path(path) {
            self.touch(topic, cause);
        }
    }

    fn touch(&mut self, topic: Arc<Topic>, cause: &'static str) {
        let host = topic.key().parts().host.as_ref();
        if host.is_none() || self.host.is_none() || host == self.host.as_ref() {
            self.touched.entry(topic.id()).or_insert((topic, cause));
        }
    }

    /// What the answer names. `fixed`: the upstream's own host, which it may use in its URLs.
    fn touch_named(&mut self, base: &str, headers: &HeaderMap, fixed: Option<&str>) {
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let values = headers.get_all(name);
            for value in values.iter().filter_map(|value| value.to_str().ok()) {
                if let Some(path) = resolve(base, value, &[self.host.as_deref(), fixed]) {
                    self.touch_raw(&path);
                }
            }
        }
    }

    /// The route's `refreshes`, with the parameters of the path that was written to.
    fn refresh(&mut self, route: &Route, path: &str) {
        if route.refreshes.is_empty() {
            return;
        }
        let parameters = self.shared.routes.parameters(route, path);
        for pattern in &route.refreshes {
            match bind(pattern, &parameters) {
                Bound::Path(path) => self.touch_path(&path, "refresh"),
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
            if !may_overlap(pattern, &route.path) {
                continue;
            }
            for topic in self.shared.hub.of_route(route.index) {
                if matcher.at(&topic.key().parts().path).is_ok() {
                    self.touch(topic, "refresh");
                }
            }
        }
    }

    fn finish(self) -> usize {
        for (topic, cause) in self.touched.values() {
            self.shared.metrics.touches.with_label_values(&[cause]).inc();
            topic.write();
        }
        self.touched.len()
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

/// The lower-case authority and the rest of an absolute URL.
fn split_url(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest[..end].to_ascii_lowercase();
    let target = if rest[end..].starts_with('/') { &rest[end..] } else { "/" };
    let authority = authority.strip_suffix(port).unwrap_or(&authority).to_owned();
    (!authority.is_empty()).then_some((authority, target))
}

/// The path that a reference names, seen from `base`; none: another authority than these.
fn resolve(base: &str, reference: &str, authorities: &[Option<&str>]) -> Option<String> {
    let network = reference.strip_prefix("//").map(|rest| format!("http://{rest}"));
    let reference = network.as_deref().unwrap_or(reference);
    if let Some((authority, target)) = split_url(reference) {
        let bare = |known: &str| {
            let known = known.to_ascii_lowercase();
            known.strip_suffix(":80").or(known.strip_suffix(":443")).unwrap_or(&known).to_owned()
        };
        let same = authorities.iter().flatten().any(|known| bare(known) == authority);
        return same.then(|| path_of(target).to_owned());
    }
    let path = path_of(reference);
    if path.split('/').next().is_some_and(|first| first.contains(':')) {
        // Some other scheme.
        return None;
    }
    if path.starts_with('/') {
        return Some(path.to_owned());
    }
    if path.is_empty() {
        return Some(base.to_owned());
    }
    let folder = &base[..=base.rfind('/')?];
    let mut kept: Vec<&str> = folder.split('/').collect();
    kept.pop();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." if kept.len() > 1 => drop(kept.pop()),
            ".." => {}
            other => kept.push(other),
        }
    }
    Some(kept.join("/"))
}

/// A pattern of `refreshes` with a write's parameters in it.
#[derive(Debug, PartialEq, Eq)]
enum Bound {
    /// Every parameter was known.
    Path(String),
    /// The others match anything.
    Pattern(String),
}

fn bind(pattern: &str, parameters: &[(String, String)]) -> Bound {
    let (mut path, mut open, mut is_open) = (String::new(), String::new(), false);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let parameter = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some(brace) = ["{{", "}}"].into_iter().find(|brace| rest.starts_with(brace)) {
            path.push(c);
            open.push_str(brace);
            rest = &rest[2..];
        } else if let Some((name, after)) = parameter {
            let wanted = name.strip_prefix('*').unwrap_or(name);
            match parameters.iter().find(|(name, _)| name == wanted) {
                Some((_, value)) => {
                    path.push_str(value);
                    open.push_str(&value.replace('{', "{{").replace('}', "}}"));
                }
                None => {
                    is_open = true;
                    open.push_str(&rest[..rest.len() - after.len()]);
                }
            }
            rest = after;
        } else {
            path.push(c);
            open.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    if is_open { Bound::Pattern(open) } else { Bound::Path(path) }
}

/// Whether some path may match both patterns; errs towards yes.
fn may_overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(a), _) | (_, Some(a)) if a.contains("{*") => return true,
            (_, Some(b)) if b.contains("{*") => return true,
            (Some(a), Some(b)) if a == b || a.contains('{') || b.contains('{') => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
#[path = "writes_tests.rs"]
mod tests;
