//! The poller's own cookies: what an upstream sets is sent back on the polls of the same route and
//! host (`poll.cookie_jar`, RFC 6265), never to a client and never beside a client's own.
//!
//! Must not know: what the cookies mean.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use cookie::Cookie;
use http::{HeaderMap, HeaderValue, header};
use lru::LruCache;
use parking_lot::Mutex;

/// Routes and hosts with cookies; the longest unused are forgotten.
const MAX_JARS: usize = 1024;

/// Cookies of one route and host, as browsers keep them; the oldest are forgotten.
const MAX_COOKIES: usize = 50;

/// Longest `Set-Cookie` that is kept, and longest `Cookie` that is sent, bytes.
const MAX_BYTES: usize = 4096;

/// All cookies, by route and host.
pub(in crate::relay) struct Jars(Mutex<LruCache<(usize, String), Vec<Kept>>>);

struct Kept {
    name: String,
    value: String,
    path: String,
    /// None: as long as the process.
    until: Option<SystemTime>,
}

/// Where a request goes: cookies belong to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The route's place in the file.
    pub(super) route: usize,
    /// With or without a port, which cookies do not look at.
    pub(super) host: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
}

impl Place<'_> {
    fn jar(&self) -> (usize, String) {
        let host = self.host.parse::<http::uri::Authority>();
        let host = host.as_ref().map_or(self.host, |authority| authority.host());
        (self.route, host.to_ascii_lowercase())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("/")
    }
}

impl Default for Jars {
    fn default() -> Jars {
        Jars(Mutex::new(LruCache::new(NonZeroUsize::new(MAX_JARS).unwrap_or(NonZeroUsize::MIN))))
    }
}

impl Jars {
    /// The `Cookie` of a request, sensitive; none: there is none for it.
    pub(super) fn cookies(&self, place: Place, now: SystemTime) -> Option<HeaderValue> {
        let mut jars = self.0.lock();
        if jars.is_empty() {
            // Most upstreams set none: no name of a jar is made for every poll.
            return None;
        }
        let jar = jars.get_mut(&place.jar())?;
        jar.retain(|kept| kept.until.is_none_or(|until| now < until));
        let mut fitting: Vec<&Kept> = jar.iter().filter(|kept| covers(&kept.path, place.path())).collect();
        // The more specific first (RFC 6265 §5.4).
        fitting.sort_by_key(|kept| std::cmp::Reverse(kept.path.len()));
        let mut line = String::new();
        for kept in fitting {
            if line.len() + kept.name.len() + kept.value.len() + 3 > MAX_BYTES {
                break;
            }
            if !line.is_empty() {
                line.push_str("; ");
            }
            line.push_str(&kept.name);
            line.push('=');
            line.push_str(&kept.value);
        }
        let mut value = HeaderValue::try_from(line).ok().filter(|line| !line.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Keeps what an answer sets, as far as `accepts` takes the name.
    pub(super) fn keep(
        &self,
        place: Place,
        headers: &HeaderMap,
        now: SystemTime,
        accepts: impl Fn(&str) -> bool,
    ) {
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().ok().filter(|line| line.len() <= MAX_BYTES);
            let Some(cookie) = line.and_then(|line| Cookie::parse(line).ok()) else {
                continue;
            };
            if accepts(cookie.name()) {
                self.put(place, &cookie, now);
            }
        }
    }

    fn put(&self, place: Place, cookie: &Cookie, now: SystemTime) {
        let key = place.jar();
        // Sent to this host alone, whatever it says; but what is for another one is nothing for us.
        let domain = cookie.domain().map(str::to_ascii_lowercase).filter(|domain| !domain.is_empty());
        if domain.is_some_and(|domain| key.1 != domain && !key.1.ends_with(&format!(".{domain}"))) {
            return;
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
        let mut jars = self.0.lock();
        let jar = jars.get_or_insert_mut(key, Vec::new);
        jar.retain(|kept| kept.name != cookie.name() || kept.path != path);
        if until.is_none_or(|until| now < until) {
            if jar.len() >= MAX_COOKIES {
                jar.remove(0);
            }
            let (name, value) = (cookie.name().to_owned(), cookie.value().to_owned());
            jar.push(Kept { name, value, path, until });
        }
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
mod tests {
    use super::*;

    fn place<'a>(host: &'a str, target: &'a str) -> Place<'a> {
        Place { route: 0, host, target }
    }

    fn set(jars: &Jars, place: Place, lines: &[&str], now: SystemTime) {
        let field = |line: &&str| (header::SET_COOKIE, HeaderValue::from_str(line).unwrap());
        jars.keep(place, &lines.iter().map(field).collect(), now, |name| name != "unwanted");
    }

    fn sent(jars: &Jars, place: Place, now: SystemTime) -> String {
        jars.cookies(place, now).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn cookies_go_back_to_where_they_are_from() {
        let (jars, now) = (Jars::default(), SystemTime::now());
        let here = place("api.test:8080", "/prices/a?x=1");
        let lines =
            ["s=1; Path=/; HttpOnly; Secure", "t=a=b", "unwanted=1", "o=1; Domain=other.test", "=", ";"];
        set(&jars, here, &lines, now);
        set(&jars, here, &["d=1; Domain=test; Path=/prices/a"], now);
        assert_eq!(sent(&jars, here, now), "d=1; t=a=b; s=1");
        assert_eq!(sent(&jars, place("API.test", "/prices/b"), now), "t=a=b; s=1");
        assert_eq!(sent(&jars, place("api.test", "/pricesque"), now), "s=1");
        assert_eq!(sent(&jars, place("www.test", "/prices/a"), now), "", "another host");
        assert_eq!(sent(&jars, Place { route: 1, ..here }, now), "", "another route");
        assert!(jars.cookies(here, now).unwrap().is_sensitive());
    }

    #[test]
    fn cookies_are_replaced_and_end() {
        let (jars, now) = (Jars::default(), SystemTime::now());
        let here = place("api.test", "/a");
        set(&jars, here, &["s=1", "m=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], now);
        set(&jars, here, &["e=1; Expires=Fri, 31 Dec 2100 23:59:59 GMT", "s=2"], now);
        assert_eq!(sent(&jars, here, now), "m=1; e=1; s=2");
        assert_eq!(sent(&jars, here, now + Duration::from_secs(60)), "e=1; s=2");
        set(&jars, here, &["s=; Max-Age=0", "e=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], now);
        assert_eq!(sent(&jars, here, now), "");
        set(&jars, here, &["s=1; Max-Age=-5"], now);
        assert_eq!(sent(&jars, here, now), "");
    }

    #[test]
    fn a_jar_is_bounded() {
        let (jars, now) = (Jars::default(), SystemTime::now());
        let here = place("api.test", "/a");
        for n in 0..2 * MAX_COOKIES {
            set(&jars, here, &[&format!("c{n}={}", "x".repeat(100))], now);
        }
        set(&jars, here, &[&format!("long={}", "x".repeat(MAX_BYTES))], now);
        assert!(jars.0.lock().get(&here.jar()).is_some_and(|jar| jar.len() == MAX_COOKIES));
        let line = sent(&jars, here, now);
        assert!(line.len() <= MAX_BYTES && !line.contains("c49=") && line.contains("c50="), "{line}");
        for n in 0..2 * MAX_JARS {
            set(&jars, place(&format!("h{n}.test"), "/a"), &["s=1"], now);
        }
        assert_eq!(jars.0.lock().len(), MAX_JARS);
    }
}
