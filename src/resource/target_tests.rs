//! Claims about raw targets and their one form.

use super::*;
use proptest::prelude::*;

fn rule() -> QueryRule {
    QueryRule {
        names: None,
        unknown: UnknownQuery::Drop,
        any_order: false,
        ignore: vec!["_=#".into(), "utm_*".into(), "noise".into()],
    }
}

fn switches() -> Switches {
    Switches {
        push: Some("_push".into()),
        wait: Some("_wait".into()),
        delta: Some("_delta".into()),
        presence: None,
        resume: vec!["last_event_id".into(), "lastEventId".into()],
        wait_header: true,
    }
}

fn query(raw: &str, rule: &QueryRule) -> Option<String> {
    canonical_query(Some(raw), rule, &switches(), true).unwrap().query
}

#[test]
fn escapes_are_written_one_way() {
    assert_eq!(canonical_path("/%41/%7e/%c3%a9"), CanonicalPath::Plain("/A/~/%C3%A9".into()));
}

#[test]
fn paths_that_servers_read_differently_are_doubtful() {
    for raw in [
        "//a",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a%2fb",
        "/a%5Cb",
        "/a%00",
        "/a;x=1",
        "/a%zz",
        "/a\\b",
        "*",
        "/a#b",
    ] {
        assert_eq!(canonical_path(raw), CanonicalPath::Doubtful, "{raw}");
    }
}

#[test]
fn only_what_may_be_read_twice_hides_something() {
    for raw in ["/%2573ecret", "/%c0%ae", "/%e0%80%af", "/%25%37%33", "/100%2525", "/%f0%80%80%af"] {
        assert_eq!(canonical_path(raw), CanonicalPath::Doubtful, "{raw}");
    }
    for raw in ["/a", "/100%25", "/100%25/a", "/%C3%A9", "/caf%E9", "/%20", "/%E0%B8%81", "/%F0%9F%98%80"] {
        assert!(matches!(canonical_path(raw), CanonicalPath::Plain(_)), "{raw}");
    }
}

#[test]
fn by_the_letter_slashes_parameters_and_escapes_are_data() {
    for (raw, wanted) in [
        ("/queues/%2f/q1", Some("/queues/%2F/q1")),
        ("/a//b/", Some("/a//b/")),
        ("/map;lat=50", Some("/map;lat=50")),
        ("/a%2541", Some("/a%2541")),
        ("/%41/..%2fb", Some("/A/..%2Fb")),
        ("/a/../b", None),
        ("/a/%2e%2e/b", None),
        ("/a%zz", None),
        ("/a\\b", None),
        ("*", None),
    ] {
        assert_eq!(exact_path(raw).as_deref(), wanted, "{raw}");
    }
}

#[test]
fn bytes_that_are_no_text_stay_apart() {
    assert_eq!(target_text(b"/caf\xe9"), "/caf%E9");
    assert_eq!(target_text(b"/caf\xe8"), "/caf%E8");
    assert_eq!(target_text("/é".as_bytes()), "/é");
}

#[test]
fn a_parameter_against_caches_leaves_only_with_a_number_that_no_person_chose() {
    for dropped in [
        "_=1699999999999",
        "_=1699999999",
        "_=0.8231",
        "_=.5",
        "_=8e-7",
        "_=%31699999999",
        "noise=x",
        "utm_a=1",
    ] {
        assert_eq!(query(&format!("a=1&{dropped}"), &rule()), Some("a=1".into()), "{dropped}");
    }
    for kept in [
        "_=2",
        "_=",
        "_",
        "_=169999999",
        "_=abc",
        "_=16999999999x",
        "_=1.2.3",
        "_=-1",
        "_=3e5",
        "_ts=1",
        "x=0.5",
    ] {
        assert_eq!(query(&format!("a=1&{kept}"), &rule()), Some(format!("a=1&{kept}")), "{kept}");
    }
}

#[test]
fn where_a_stream_resumes_is_a_switch_only_where_it_is_asked_for() {
    let of = |resumes| canonical_query(Some("q=7&last_event_id=3"), &rule(), &switches(), resumes).unwrap();
    assert_eq!(of(true).query.as_deref(), Some("q=7"));
    assert_eq!(of(false).query.as_deref(), Some("q=7&last_event_id=3"));
    assert_eq!(of(false).without_switches.as_deref(), Some("q=7&last_event_id=3"));
    assert!(
        has_resume(Some("a&lastEventId=1"), &switches()) && !has_resume(Some("a=last_event_id"), &switches())
    );
    let off = Switches { resume: Vec::new(), ..switches() };
    let target = canonical_query(Some("last_event_id=3"), &rule(), &off, true).unwrap();
    assert_eq!(target.query.as_deref(), Some("last_event_id=3"));
    let named = Switches { resume: vec!["since".into()], ..switches() };
    assert_eq!(resume_switch(Some("last_event_id=1&since=%32"), &named).as_deref(), Some("2"));
}

#[test]
fn switches_and_noise_leave_the_query_and_order_stays() {
    assert_eq!(
        query("b=2&_push=sse&a=1&utm_source=x&_=9999999999&lastEventId=z", &rule()),
        Some("b=2&a=1".into())
    );
    assert_eq!(query("_push=sse", &rule()), None);
    assert_eq!(query("%62=%7e", &rule()), Some("b=~".into()));
}

#[test]
fn a_named_query_drops_or_rejects_the_rest() {
    let mut named = QueryRule { names: Some(vec!["a".into()]), ..rule() };
    assert_eq!(query("a=1&z=2", &named), Some("a=1".into()));
    named.unknown = UnknownQuery::Reject;
    let problem = canonical_query(Some("a=1&z=2"), &named, &switches(), true).unwrap_err();
    assert_eq!(problem.parameter, "z");
}

#[test]
fn order_matters_unless_the_route_says_otherwise() {
    let sorted = QueryRule { any_order: true, ..rule() };
    assert_eq!(query("b=2&a=1", &sorted), query("a=1&b=2", &sorted));
    assert_ne!(query("b=2&a=1", &rule()), query("a=1&b=2", &rule()));
}

#[test]
fn what_passes_through_loses_only_the_switches() {
    let target = canonical_query(Some("a=%41&_wait=5&_=1"), &rule(), &switches(), true).unwrap();
    assert_eq!(target.without_switches.as_deref(), Some("a=%41&_=1"));
}

#[test]
fn a_switch_is_read_decoded() {
    assert_eq!(switch(Some("a=1&_wait=3%30s"), Some("_wait")), Some("30s".into()));
    assert_eq!(switch(Some("a=1"), Some("_wait")), None);
}

proptest! {
    #[test]
    fn canonical_is_a_fixed_point(raw in "/[a-z%0-9A-F/.~é]{0,12}") {
        if let CanonicalPath::Plain(path) = canonical_path(&raw) {
            prop_assert_eq!(canonical_path(&path), CanonicalPath::Plain(path.clone()));
        }
    }

    #[test]
    fn what_is_canonical_by_its_letters_alone_is_judged_alike(raw in r#"/?([a-z0-9./%;\\?#"<>{}|^\[\] ~é-]|/\.\.?|%2[EFef]){0,10}"#) {
        prop_assert_eq!(canonical_path(&raw), judged(&raw));
    }

    #[test]
    fn nothing_panics(raw in "\\PC{0,40}") {
        let _ = canonical_path(&raw);
        let _ = exact_path(&raw);
        let _ = canonical_query(Some(&raw), &rule(), &switches(), true);
    }
}
