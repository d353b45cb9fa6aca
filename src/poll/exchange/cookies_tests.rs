//! Where cookies are kept, and on which polls they are sent.

use super::*;
use crate::hub::tests::route::key;

/// A request of the resource of this path.
struct At {
    resource: ResourceKey,
    host: &'static str,
    target: &'static str,
}

fn at(host: &'static str, target: &'static str) -> At {
    At { resource: key(target), host, target }
}

impl At {
    fn place(&self) -> Place<'_> {
        Place { resource: Some(&self.resource), upstream: "api", host: self.host, target: self.target }
    }
}

/// `unwanted` nowhere, names with `lb` in front for the upstream.
fn keeps(name: &str) -> Keep {
    match name {
        "unwanted" => Keep::Nowhere,
        name if name.starts_with("lb") => Keep::ForUpstream,
        _ => Keep::ForResource,
    }
}

fn set(jars: &Jars, place: Place, lines: &[&str], now: SystemTime) -> usize {
    let field = |line: &&str| (header::SET_COOKIE, HeaderValue::from_str(line).unwrap());
    jars.keep(place, &lines.iter().map(field).collect(), now, keeps)
}

fn sent(jars: &Jars, place: Place, now: SystemTime) -> String {
    jars.cookies(place, now, keeps).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

#[test]
fn cookies_go_back_to_the_resource_that_they_are_from() {
    let (jars, now) = (Jars::default(), SystemTime::now());
    let here = at("api.test:8080", "/prices/a?x=1");
    let lines = ["s=1; Path=/; HttpOnly; Secure", "t=a=b", "unwanted=1", "o=1; Domain=other.test", "=", ";"];
    set(&jars, here.place(), &lines, now);
    set(&jars, here.place(), &["d=1; Domain=test; Path=/prices/a"], now);
    assert_eq!(sent(&jars, here.place(), now), "d=1; t=a=b; s=1");
    let same = Place { host: "API.test", ..here.place() };
    assert_eq!(sent(&jars, same, now), "d=1; t=a=b; s=1");
    for other in ["/prices/b", "/prices/a", "/prices/a?x=2", "/"] {
        assert_eq!(sent(&jars, at("api.test", other).place(), now), "", "another resource: {other}");
    }
    let elsewhere = Place { target: "/pricesque", ..here.place() };
    assert_eq!(sent(&jars, elsewhere, now), "s=1", "of the same resource, by a redirect");
    assert_eq!(sent(&jars, Place { host: "www.test", ..here.place() }, now), "", "another host");
    assert_eq!(sent(&jars, Place { resource: None, ..here.place() }, now), "", "a batch");
    assert!(jars.cookies(here.place(), now, keeps).unwrap().is_sensitive());
}

#[test]
fn what_means_nothing_about_identity_is_the_upstreams() {
    let (jars, now) = (Jars::default(), SystemTime::now());
    let (here, there) = (at("api.test", "/a"), at("api.test", "/b"));
    set(&jars, here.place(), &["lb=1; Path=/", "s=1; Path=/", "lb2=1; Path=/a"], now);
    assert_eq!(sent(&jars, here.place(), now), "lb2=1; s=1; lb=1");
    assert_eq!(sent(&jars, there.place(), now), "lb=1");
    assert_eq!(sent(&jars, Place { resource: None, ..there.place() }, now), "lb=1", "a batch");
    assert_eq!(sent(&jars, Place { upstream: "other", ..there.place() }, now), "", "another upstream");
    let strict = jars.cookies(there.place(), now, |_| Keep::ForResource);
    assert_eq!(strict, None, "on another route it may mean something");
}

#[test]
fn cookies_are_replaced_and_end() {
    let (jars, now) = (Jars::default(), SystemTime::now());
    let here = at("api.test", "/a");
    let here = here.place();
    set(&jars, here, &["s=1", "m=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], now);
    set(&jars, here, &["e=1; Expires=Fri, 31 Dec 2100 23:59:59 GMT", "s=2"], now);
    assert_eq!(sent(&jars, here, now), "m=1; e=1; s=2");
    assert_eq!(sent(&jars, here, now + Duration::from_secs(60)), "e=1; s=2");
    set(&jars, here, &["s=; Max-Age=0", "e=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], now);
    assert_eq!(sent(&jars, here, now), "m=1");
    set(&jars, here, &["m=1; Max-Age=-5"], now);
    assert_eq!(sent(&jars, here, now), "");
    let shelf = jars.0.lock();
    assert_eq!((shelf.jars.len(), shelf.bytes), (0, 0));
}

#[test]
fn a_jar_is_bounded() {
    let (jars, now) = (Jars::default(), SystemTime::now());
    let here = at("api.test", "/a");
    for n in 0..2 * COOKIES_MAX {
        set(&jars, here.place(), &[&format!("c{n}={}", "x".repeat(100))], now);
    }
    set(&jars, here.place(), &[&format!("long={}", "x".repeat(LINE_BYTES_MAX))], now);
    let line = sent(&jars, here.place(), now);
    assert!(line.len() <= LINE_BYTES_MAX && !line.contains("c49=") && line.contains("c50="), "{line}");
    assert_eq!(line.matches('=').count().min(COOKIES_MAX), line.matches('=').count());
    for n in 0..20 {
        set(&jars, here.place(), &[&format!("wide{n}={}", "x".repeat(2000))], now);
    }
    assert!(jars.0.lock().bytes <= JAR_BYTES_MAX + 1000);
}

#[test]
fn all_jars_together_are_bounded_and_what_is_forgotten_is_counted() {
    let (jars, now) = (Jars::default(), SystemTime::now());
    let mut forgotten = 0;
    let mut fill = |jars: &Jars, n: usize, value: &str| {
        let resource = key(&format!("/{n}"));
        let place = Place { resource: Some(&resource), upstream: "api", host: "api.test", target: "/a" };
        forgotten += set(jars, place, &[&format!("s={value}")], now);
    };
    for n in 0..JARS_MAX + 10 {
        fill(&jars, n, "1");
    }
    assert_eq!(jars.0.lock().jars.len(), JARS_MAX);
    for n in 0..JARS_MAX {
        fill(&jars, n, &"x".repeat(3000));
    }
    let shelf = jars.0.lock();
    assert!(shelf.bytes <= ALL_BYTES_MAX);
    assert_eq!(shelf.jars.iter().map(|(_, jar)| jar.bytes).sum::<usize>(), shelf.bytes);
    assert!(forgotten > 10, "{forgotten}");
}
