//! A legacy API that gives everybody other rows of the same URL and says nothing of it, in many styles.
//!
//! Must not know: how its answers reach anybody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::people::{Person, askers};
use crate::support::legacy::{Legacy, Reply, Seen};

/// How it misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// 200 for everyone, and not a word about caching.
    Silent,
    /// Honest entity tags.
    Tagged,
    /// The same entity tag for everybody.
    SameTag,
    /// 304 to any validator.
    Always304,
    Private,
    NoStore,
    /// `Vary` names the credentials.
    VaryCredentials,
    /// `Vary` names the fields by which pollcast names the client.
    VarySubject,
    /// A cookie with the user's secret.
    SetsCookie,
    /// The session's own cookie, new each time.
    Rotates,
    /// `private` begins in mid-stream.
    TurnsPrivate,
    /// Everybody has a URL of their own.
    Redirects,
    /// A login page, with 200, for users that are not known.
    LoginPage,
    /// Every second poll fails.
    Fails,
    /// No text at all.
    Bytes,
    /// A new token in fields of the answer, as sliding sessions have it.
    Tokens,
    /// Users are known by their connections once they have proved themselves.
    KnowsConnections,
}

pub const STYLES: [Style; 17] = [
    Style::Silent,
    Style::Tagged,
    Style::SameTag,
    Style::Always304,
    Style::Private,
    Style::NoStore,
    Style::VaryCredentials,
    Style::VarySubject,
    Style::SetsCookie,
    Style::Rotates,
    Style::TurnsPrivate,
    Style::Redirects,
    Style::LoginPage,
    Style::Fails,
    Style::Bytes,
    Style::Tokens,
    Style::KnowsConnections,
];

/// The rows change this often.
const TICK: Duration = Duration::from_millis(250);

/// `alike`: with [`Style::Tokens`] everybody gets the same body, and only the tokens differ.
pub fn start(style: Style, alike: bool) -> Legacy {
    let legacy = Legacy::start();
    let (began, asked) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let users: Mutex<HashMap<u64, Vec<Person>>> = Mutex::default();
    legacy.answer_with("*", move |seen| {
        let n = began.elapsed().as_millis() / TICK.as_millis();
        let mut people = askers(seen);
        if style == Style::KnowsConnections {
            let mut users = users.lock().expect("nobody panics with it");
            match people.is_empty() {
                true => people = users.get(&seen.connection).cloned().unwrap_or_default(),
                false => drop(users.insert(seen.connection, people.clone())),
            }
        }
        answer((style, alike), seen, people, (n as usize, asked.fetch_add(1, Ordering::Relaxed)))
    });
    legacy
}

/// `n`: which state of the rows; `asked`: which request this is.
fn answer(
    (style, alike): (Style, bool),
    seen: &Seen,
    people: Vec<Person>,
    (n, asked): (usize, usize),
) -> Reply {
    let people = match people {
        known if known.is_empty() => vec![Person::Nobody],
        known => known,
    };
    let marks: String = people.iter().map(|person| person.mark()).collect();
    let is_home = seen.path().ends_with("/home");
    if style == Style::Redirects && seen.method == "GET" && !is_home && seen.path() != "/fixed" {
        return Reply::text(&*marks).status(302).header("location", &format!("/r/home?m={marks}"));
    }
    if style == Style::LoginPage && people == [Person::Nobody] {
        return Reply::new("text/html", format!("<form>who are you? {marks}</form>"));
    }
    if style == Style::Fails && asked % 2 == 1 {
        return Reply::text(format!("failed for {marks}")).status(500);
    }
    if style == Style::Tokens {
        let body = rows(seen, if alike { "everybody" } else { &marks }, n);
        let names = ["x-auth-token", "authorization", "x-csrf-token", "authentication-info", "x-session-id"];
        return names
            .iter()
            .fold(Reply::json(body), |reply, name| reply.header(name, &format!("next={marks}")));
    }
    let body = rows(seen, &marks, n);
    let reply = match style {
        Style::Bytes => Reply::new("application/octet-stream", [&[0xff, 0, 0xfe], body.as_bytes()].concat()),
        _ => Reply::json(body),
    };
    let reply = reply.header("x-rows", &marks);
    match style {
        Style::Tagged => reply.with_etag(),
        Style::SameTag => reply.etag(&format!("\"state-{n}\"")),
        Style::Always304 if seen.header("if-none-match").is_some() => Reply::empty(304).etag("\"x\""),
        Style::Always304 => reply.etag("\"x\""),
        Style::Private => reply.header("cache-control", "private"),
        Style::NoStore => reply.header("cache-control", "no-store"),
        Style::TurnsPrivate if n >= 2 => reply.header("cache-control", "private"),
        Style::VaryCredentials => reply.header("vary", "Authorization, Cookie, X-Api-Key, X-Tenant"),
        Style::VarySubject => reply.header("vary", "X-Pollcast-Subject, X_Pollcast_Subject, X-Color"),
        Style::SetsCookie => reply.header("set-cookie", &format!("sid={marks}; Path=/")),
        Style::Rotates if n % 3 == 2 => reply.header("set-cookie", &format!("session={marks}{n}; Path=/")),
        _ => reply,
    }
}

fn rows(seen: &Seen, marks: &str, n: usize) -> String {
    let secret = format!("{marks}{}", &blake3::hash(seen.path().as_bytes()).to_hex()[..8]);
    // Two users' rows have the same ids.
    let row = |id: usize, name: &str| {
        format!(r#"{{"id":"{id}","name":"{name}","text":"{secret} knows {id} things"}}"#)
    };
    let asked = seen.target.split(['?', '&']).find_map(|pair| pair.strip_prefix("ids="));
    let rows: Vec<String> = match asked {
        // A batch.
        Some(names) => names.split("%2C").flat_map(|part| part.split(',')).map(|name| row(n, name)).collect(),
        None => (n.saturating_sub(4)..=n).rev().map(|id| row(id, "x")).collect(),
    };
    format!(r#"{{"for":"{secret}","n":{n},"last":{n},"rows":[{}]}}"#, rows.join(","))
}
