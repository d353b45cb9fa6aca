//! Which route is suggested for what was seen.

use super::super::destination::destination;
use super::super::fields::Cors;
use super::super::findings::findings;
use super::super::polls::{Observed, Trial};
use super::super::report::report;
use super::super::{Item, file};
use super::{FILE, answer, here, loaded, question, seen, with, without, yaml};
use crate::upstream::Answer;

#[test]
#[expect(clippy::type_complexity, reason = "a table whose columns are said by its rows")]
fn a_suggestion_follows_from_what_was_seen() {
    let json = |more: &[(&str, &str)], body: &str| {
        answer(200, &[&[("content-type", "application/json")], more].concat(), body)
    };
    let cases: [(&str, &[&str], Answer, Vec<Trial>, &[&str], &[&str]); 15] = [
        (
            "nothing special",
            &[],
            json(&[], "1"),
            vec![],
            &["interval: 5s"],
            &["vary", "share", "cors", "ignore_"],
        ),
        (
            "a header that no Vary names chooses",
            &["node-red-api-version: v2"],
            json(&[], "2"),
            vec![without("node-red-api-version", json(&[], "1"))],
            &["vary: [\"node-red-api-version\"]"],
            &["share"],
        ),
        (
            "a header that changes nothing",
            &["x-app-version: 7"],
            json(&[], "1"),
            vec![without("x-app-version", json(&[], "1"))],
            &["ignore_headers: [\"x-app-version\"]"],
            &["vary"],
        ),
        (
            "a header without which access is denied",
            &["x-odd: s"],
            json(&[], "1"),
            vec![without("x-odd", answer(401, &[], ""))],
            &["share: { by: [\"x-odd\"] }"],
            &["vary"],
        ),
        (
            "a key of the API's own",
            &["x-api-key: s"],
            json(&[], "1"),
            vec![without("x-api-key", answer(403, &[], ""))],
            &["share: { by: [\"x-api-key\"] }"],
            &["vary"],
        ),
        (
            "a language that no Vary names",
            &[],
            json(&[], "1"),
            vec![with("accept-language", "fr", json(&[], "2"))],
            &["vary: [\"accept-language\"]"],
            &[],
        ),
        (
            "a language that Vary names is in the key anyway",
            &[],
            json(&[("vary", "Accept-Language")], "1"),
            vec![with("accept-language", "fr", json(&[], "2"))],
            &[],
            &["vary:"],
        ),
        (
            "a phone's form",
            &[],
            json(&[("vary", "User-Agent")], "1"),
            vec![with("user-agent", "phone", json(&[], "2"))],
            &["vary: [\"user-agent\"]"],
            &["ignore_vary"],
        ),
        (
            "a Vary that means nothing",
            &[],
            json(&[("vary", "User-Agent")], "1"),
            vec![with("user-agent", "phone", json(&[], "1"))],
            &["# ignore_vary: [\"user-agent\"]"],
            &["    vary"],
        ),
        (
            "Vary: Cookie, and a session's cookie",
            &["cookie: sessionid=s; csrftoken=t"],
            json(&[("vary", "Accept, Cookie")], "1"),
            vec![without("cookie", answer(403, &[], ""))],
            &["\"cookie:sessionid\"", "\"cookie:csrftoken\""],
            &["add \"cookie:NAME\""],
        ),
        (
            "Vary: Cookie, and another credential",
            &["authorization: Bearer s"],
            json(&[("vary", "Cookie")], "1"),
            vec![without("authorization", answer(401, &[], ""))],
            &["share: { by: [\"authorization\"] }", "add \"cookie:NAME\""],
            &[],
        ),
        (
            "credentials that are good for one request",
            &["authorization: Digest username=\"a\""],
            json(&[], "1"),
            vec![without("authorization", answer(401, &[], ""))],
            &[],
            &["share: {"],
        ),
        (
            "JSON only where it is asked for, and another type where no preference is stated",
            &[],
            answer(200, &[("content-type", "application/xml")], "<a/>"),
            vec![with("accept", "application/json", json(&[], "1"))],
            &["accept: application/json", "plain: pass   # clients that state no preference"],
            &[],
        ),
        (
            "CORS only when asked",
            &[],
            json(&[], "1"),
            vec![with("origin", "https://probe.example", json(&[("access-control-allow-origin", "*")], "1"))],
            &["# cors: { origins:"],
            &[],
        ),
        (
            "a lifetime longer than the interval, and an ETag that is a revision",
            &[],
            json(&[("cache-control", "max-age=60"), ("etag", "\"7\"")], "1"),
            vec![],
            &["interval: 60s", "# the API says max-age=60", "plain: pass"],
            &[],
        ),
    ];
    for (claim, headers, last, trials, wanted, unwanted) in cases {
        let destination = here("/a");
        let after = Some(last.clone());
        let observed = Observed { trials, after, ..seen(vec![last.clone(), last]) };
        let text =
            yaml(&destination, &findings(&destination, &question("/a", headers), &observed).suggestion);
        loaded(&format!("{FILE}{text}"));
        for part in wanted {
            assert!(text.contains(part), "{claim}: {part} is missing in:\n{text}");
        }
        for part in unwanted {
            assert!(!text.contains(part), "{claim}: {part} is in:\n{text}");
        }
    }
}

#[test]
fn cors_that_all_may_read_needs_none() {
    let open =
        answer(200, &[("access-control-allow-origin", "*"), ("content-type", "application/json")], "1");
    let destination = here("/a");
    let found = findings(&destination, &question("/a", &[]), &seen(vec![open.clone(), open]));
    assert_eq!(found.suggestion.cors, Some(Cors::Everybody));
    assert!(!yaml(&destination, &found.suggestion).contains("cors"));
}

#[test]
fn a_member_that_counts_the_polls_is_told() {
    let body = |n: u32| answer(200, &[("content-type", "application/json")], &format!("{{\"stopped\":{n}}}"));
    for (numbers, is_counter) in [([7, 8, 9], true), ([7, 9, 10], false), ([7, 7, 7], false)] {
        let report = report(&here("/stop"), &question("/stop", &[]), &seen(numbers.map(body).into()));
        assert_eq!(
            report.text.contains("/stopped rose by one with each poll"),
            is_counter,
            "{}",
            report.text
        );
    }
}

#[test]
fn beside_a_wide_route_a_narrow_one_is_suggested() {
    let config = loaded(&format!("{FILE}routes: [{{path: '/api/{{*rest}}', upstream: api}}]\n"));
    let destination = destination(&config, "/api/orders/17").unwrap();
    let one = answer(200, &[("content-type", "application/json")], "1");
    let report = report(&destination, &question("/api/orders/17", &[]), &seen(vec![one.clone(), one]));
    let item = report.item.as_ref().expect("a route");
    assert!(item.is_new && item.path == "/api/orders/{id}", "{item:?}");
    assert!(report.text.contains("plain requests are answered from the snapshot"), "{}", report.text);
}

#[test]
fn beside_a_wide_route_too_tags_that_are_revisions_leave_plain_requests_to_the_api() {
    let config = loaded(&format!("{FILE}routes: [{{path: '/api/{{*rest}}', upstream: api}}]\n"));
    let destination = destination(&config, "/api/orders/17").unwrap();
    let one = answer(200, &[("content-type", "application/json"), ("etag", "\"7\"")], "1");
    let report = report(&destination, &question("/api/orders/17", &[]), &seen(vec![one.clone(), one]));
    let item = report.item.as_ref().expect("a route");
    assert!(item.yaml.contains("plain: pass"), "{item:?}");
    assert!(report.text.contains("plain requests are the API's"), "{}", report.text);
}

#[test]
fn routes_are_added_to_a_file_whatever_its_indentation() {
    let item = |path: &str, is_new| Item {
        path: path.into(),
        is_new,
        yaml: format!("  - path: {path}\n    upstream: api\n"),
    };
    let (a, b, again, known) = (item("/a", true), item("/b", true), item("/a", true), item("/k", false));
    let all = [&a, &b, &again, &known];
    for routes in [
        "",
        "routes:\n- path: /k\n  upstream: api\n",
        "routes:   # these\n  # first\n    - path: /k\n      upstream: api\nlog: {format: text}\n",
    ] {
        let text = file::merged(&format!("{FILE}{routes}"), &all).unwrap_or_else(|why| panic!("{why}"));
        let config = loaded(&text);
        let mut paths: Vec<&str> = config.routes.iter().map(|route| route.path.as_str()).collect();
        paths.sort_unstable();
        assert!(
            paths.starts_with(&["/a", "/b"]) && paths.len() == if routes.is_empty() { 2 } else { 3 },
            "{text}"
        );
        assert!(text.contains("#  - path: /k"), "{text}");
    }
    assert!(file::merged(&format!("{FILE}routes: [{{path: /k, upstream: api}}]\n"), &all).is_err());
}
