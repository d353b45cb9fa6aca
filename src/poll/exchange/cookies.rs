//! The poller's own cookies (`poll.cookie_jar`, RFC 6265, contract §11): what the upstream's answer to one resource sets
//! is sent back on the polls of this resource, never to a client and never beside a client's own.
//!
//! What one resource's answer says is no input of another's polls. Cookies that mean nothing about identity
//! (`ignore_cookies`: load balancers', bot managers', analytics') are the exception: one jar of the upstream has them.
//! Must not know: what the cookies mean.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use cookie::Cookie;
use http::{HeaderMap, HeaderValue, header};
use lru::LruCache;
use parking_lot::Mutex;

use crate::resource::ResourceKey;

/// Jars there may be; with one more, the one that was not used for the longest time is forgotten.
const JARS_MAX: usize = 10_000;

/// Bytes of all jars together; with more, those that were not used for the longest time are forgotten.
const ALL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Cookies of one jar, as browsers keep them; the oldest are forgotten.
const COOKIES_MAX: usize = 50;

/// Bytes of one jar's cookies; the oldest are forgotten.
const JAR_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the longest `Set-Cookie` that is kept, and of the longest `Cookie` that is sent.
const LINE_BYTES_MAX: usize = 4096;

/// Bytes that a jar, and each cookie in it, takes besides its texts, about.
const OVERHEAD_BYTES: usize = 128;

/// All cookies.
pub(in crate::poll) struct Jars(Mutex<Shelf>);

struct Shelf {
    jars: LruCache<(Owner, String), Jar>,
    bytes: usize,
}

/// The polls that a jar's cookies are sent on. The host that the cookies belong to stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    Resource(ResourceKey),
    Upstream(String),
}

#[derive(Default)]
struct Jar {
    cookies: Vec<Kept>,
    bytes: usize,
}

struct Kept {
    name: String,
    value: String,
    path: String,
    /// When the cookie expires; `None` if it lasts as long as the process.
    until: Option<SystemTime>,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.name.len() + self.value.len() + self.path.len() + OVERHEAD_BYTES
    }
}

/// Where a request goes: cookies belong to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The resource that is asked for; `None` if the request asks for several at once.
    pub(super) resource: Option<&'a ResourceKey>,
    pub(super) upstream: &'a str,
    /// With or without a port, which cookies do not look at.
    pub(super) host: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
}

/// Where a cookie is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    ForResource,
    ForUpstream,
    Nowhere,
}

impl Place<'_> {
    fn host(&self) -> String {
        let host = self.host.parse::<http::uri::Authority>();
        let host = host.as_ref().map_or(self.host, |authority| authority.host());
        host.to_ascii_lowercase()
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("/")
    }

    fn owner(&self, keep: Keep) -> Option<Owner> {
        match keep {
            Keep::ForResource => self.resource.cloned().map(Owner::Resource),
            Keep::ForUpstream => Some(Owner::Upstream(self.upstream.to_owned())),
            Keep::Nowhere => None,
        }
    }
}

impl Default for Jars {
    fn default() -> Jars {
        let jars = LruCache::new(NonZeroUsize::new(JARS_MAX).unwrap_or(NonZeroUsize::MIN));
        Jars(Mutex::new(Shelf { jars, bytes: 0 }))
    }
}

impl Jars {
    /// The `Cookie` of a request, sensitive. Returns `None` if there is none for it. `keeps`: where the route keeps a
    /// cookie of this name; one that it would keep elsewhere is not sent.
    pub(super) fn cookies(
        &self,
        place: Place,
        now: SystemTime,
        keeps: impl Fn(&str) -> Keep,
    ) -> Option<HeaderValue> {
        let mut shelf = self.0.lock();
        if shelf.jars.is_empty() {
            // Most upstreams set none: no name of a jar is made for every poll.
            return None;
        }
        let host = place.host();
        let mut fitting: Vec<(usize, String)> = Vec::new();
        for keep in [Keep::ForResource, Keep::ForUpstream] {
            let Some(owner) = place.owner(keep) else { continue };
            let jar = shelf.jars.get(&(owner, host.clone())).into_iter().flat_map(|jar| &jar.cookies);
            let valid = jar.filter(|kept| kept.until.is_none_or(|until| now < until));
            let sent = valid.filter(|kept| keeps(&kept.name) == keep && covers(&kept.path, place.path()));
            fitting.extend(sent.map(|kept| (kept.path.len(), format!("{}={}", kept.name, kept.value))));
        }
        drop(shelf);
        // The more specific first (RFC 6265 §5.4).
        fitting.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        let mut line = String::new();
        for (_, pair) in fitting {
            if line.len() + pair.len() + 2 > LINE_BYTES_MAX {
                break;
            }
            if !line.is_empty() {
                line.push_str("; ");
            }
            line.push_str(&pair);
        }
        let mut value = HeaderValue::try_from(line).ok().filter(|line| !line.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Keeps what an answer sets. Gives how many jars were forgotten for it.
    pub(super) fn keep(
        &self,
        place: Place,
        headers: &HeaderMap,
        now: SystemTime,
        keeps: impl Fn(&str) -> Keep,
    ) -> usize {
        let mut forgotten = 0;
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().ok().filter(|line| line.len() <= LINE_BYTES_MAX);
            let Some(cookie) = line.and_then(|line| Cookie::parse(line).ok()) else {
                continue;
            };
            if let Some(owner) = place.owner(keeps(cookie.name())) {
                forgotten += self.put(place, owner, &cookie, now);
            }
        }
        forgotten
    }

    fn put(&self, place: Place, owner: Owner, cookie: &Cookie, now: SystemTime) -> usize {
        let host = place.host();
        // Sent to this host alone, whatever it says; but what is for another one is nothing for us.
        let domain = cookie.domain().map(str::to_ascii_lowercase).filter(|domain| !domain.is_empty());
        if domain.is_some_and(|domain| host != domain && !host.ends_with(&format!(".{domain}"))) {
            return 0;
        }
        let path = cookie.path().filter(|path| path.starts_with('/'));
        let path = path.unwrap_or_else(|| folder(place.path())).to_owned();
        let until = match cookie.max_age() {
            Some(age) => {
                // Below zero is over.
                let age = Duration::try_from(age).unwrap_or_default();
                now.checked_add(age)
            }
            None => cookie.expires_datetime().map(SystemTime::from),
        };
        let (name, value) = (cookie.name().to_owned(), cookie.value().to_owned());
        self.0.lock().put((owner, host), Kept { name, value, path, until }, now)
    }
}

impl Shelf {
    /// Puts a cookie in the place of the one of its name and path. Gives how many jars were forgotten for it.
    fn put(&mut self, name: (Owner, String), cookie: Kept, now: SystemTime) -> usize {
        let mut jar = self.take(&name).unwrap_or_default();
        let is_valid = |kept: &Kept| kept.until.is_none_or(|until| now < until);
        jar.cookies.retain(|kept| is_valid(kept) && (kept.name != cookie.name || kept.path != cookie.path));
        if is_valid(&cookie) {
            jar.cookies.push(cookie);
        }
        let mut bytes: usize = jar.cookies.iter().map(Kept::bytes).sum();
        while jar.cookies.len() > COOKIES_MAX || bytes > JAR_BYTES_MAX {
            bytes -= jar.cookies.remove(0).bytes();
        }
        if jar.cookies.is_empty() {
            return 0;
        }
        jar.bytes = bytes + OVERHEAD_BYTES + name_bytes(&name);
        self.bytes += jar.bytes;
        let pushed_out = self.jars.push(name, jar).map(|(_, jar)| self.bytes -= jar.bytes);
        let mut forgotten = usize::from(pushed_out.is_some());
        while self.bytes > ALL_BYTES_MAX
            && let Some((_, jar)) = self.jars.pop_lru()
        {
            self.bytes -= jar.bytes;
            forgotten += 1;
        }
        forgotten
    }

    fn take(&mut self, name: &(Owner, String)) -> Option<Jar> {
        let jar = self.jars.pop(name)?;
        self.bytes -= jar.bytes;
        Some(jar)
    }
}

/// Bytes of a jar's name: a resource's is the path and query that a client chose.
fn name_bytes((owner, host): &(Owner, String)) -> usize {
    host.len()
        + match owner {
            Owner::Resource(key) => {
                key.parts().path.len() + key.parts().query.as_ref().map_or(0, String::len)
            }
            Owner::Upstream(name) => name.len(),
        }
}

/// The default path of a cookie (RFC 6265 §5.1.4).
fn folder(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

/// RFC 6265 §5.1.4.
fn covers(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
#[path = "cookies_tests.rs"]
mod tests;
