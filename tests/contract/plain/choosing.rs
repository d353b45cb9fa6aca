//! Contract §3, §11: which headers of a client choose the form of an answer, which say who asks, and which may do
//! either. On routes that answer plain requests from the snapshot.

use crate::contract::{FAST, ONCE, Stand};
use crate::support::client::Sse;
use crate::support::legacy::{Reply, Seen};
use crate::support::wire::within;

/// An API that chooses by a field and says no Vary: the value comes back.
fn chooses_by(stand: &Stand, field: &'static str) {
    stand.legacy.answer_with("/prices/A", move |seen| echo(seen, field));
}

fn echo(seen: &Seen, field: &str) -> Reply {
    Reply::json(format!("{:?}", seen.header(field).unwrap_or("none")))
}

fn is_poll(seen: &Seen) -> bool {
    seen.header("user-agent").is_some_and(|agent| agent.starts_with("pollcast/"))
}

/// What a plain GET brings, and whether it was answered from the snapshot.
async fn asked(stand: &Stand, fields: &[(&str, &str)]) -> (String, bool) {
    let answer = stand.http().await.get("/prices/A", fields).await.expect(200);
    let shared = answer.header("cache-status").is_some_and(|status| !status.contains("fwd=bypass"));
    (answer.text(), shared)
}

#[tokio::test]
async fn a_credential_in_a_field_of_the_apis_own_reaches_the_api_and_no_poll() {
    for field in ["private-token", "x-emby-token", "apikey", "x-remote-user", "cf-access-jwt-assertion"] {
        let stand = Stand::start(ONCE);
        chooses_by(&stand, field);
        assert_eq!(asked(&stand, &[(field, "ann")]).await, ("\"ann\"".into(), false), "{field}, cold");
        assert_eq!(asked(&stand, &[]).await, ("\"none\"".into(), true), "{field}");
        assert_eq!(asked(&stand, &[(field, "ann")]).await, ("\"ann\"".into(), false), "{field}, warm");
        assert_eq!(asked(&stand, &[(field, "bob")]).await, ("\"bob\"".into(), false), "{field}");
        assert!(
            !stand.legacy.seen("/prices/A").iter().any(|seen| is_poll(seen) && seen.header(field).is_some())
        );
    }
}

#[tokio::test]
async fn an_unnamed_header_passes_its_plain_request_through() {
    for (field, value) in
        [("node-red-api-version", "v2"), ("content-type", "application/json"), ("prefer", "return=minimal")]
    {
        let stand = Stand::start(ONCE);
        chooses_by(&stand, field);
        assert_eq!(asked(&stand, &[]).await, ("\"none\"".into(), true), "{field}");
        assert_eq!(asked(&stand, &[(field, value)]).await, (format!("{value:?}"), false), "{field}");
        assert_eq!(stand.metric("pollcast_doubtful_headers_total", "passed").await, 1.0, "{field}");
    }
}

#[tokio::test]
async fn the_operator_says_what_a_header_means() {
    let public = Stand::start(&format!("{ONCE}, share: public"));
    chooses_by(&public, "api-version");
    assert_eq!(asked(&public, &[("api-version", "2")]).await, ("\"none\"".into(), true));
    assert_eq!(public.metric("pollcast_doubtful_headers_total", "counted").await, 1.0);
    let ignored = Stand::start(&format!("{ONCE}, ignore_headers: [api-version]"));
    chooses_by(&ignored, "api-version");
    assert_eq!(asked(&ignored, &[("api-version", "2")]).await, ("\"none\"".into(), true));
    let varied = Stand::start(&format!("{ONCE}, vary: [Api-Version]"));
    chooses_by(&varied, "api-version");
    for _ in 0..2 {
        for version in ["2", "3"] {
            let wanted = (format!("{version:?}"), true);
            assert_eq!(asked(&varied, &[("api-version", version)]).await, wanted);
        }
        assert_eq!(asked(&varied, &[]).await, ("\"none\"".into(), true));
    }
    let mut stream = Sse::open(varied.address(), "/prices/A", &[("api-version", "2")]).await;
    assert_eq!(stream.next_event().await.data, "\"2\"");
    assert_eq!(varied.legacy.count("/prices/A"), 3, "one poll for each of the versions");
}

#[tokio::test]
async fn a_header_that_the_resources_vary_names_is_no_doubt_any_more() {
    let stand = Stand::start(ONCE);
    stand.legacy.answer_with("/prices/A", |seen| echo(seen, "x-region").header("vary", "X-Region"));
    assert_eq!(asked(&stand, &[("x-region", "eu")]).await, ("\"eu\"".into(), false), "nobody knows it yet");
    assert_eq!(asked(&stand, &[]).await, ("\"none\"".into(), true));
    for _ in 0..2 {
        assert_eq!(asked(&stand, &[("x-region", "eu")]).await, ("\"eu\"".into(), true));
    }
    assert_eq!(stand.legacy.count("/prices/A"), 3);
}

#[tokio::test]
async fn each_client_gets_the_form_that_its_accept_prefers() {
    let stand = Stand::start("poll: {interval: 1h, accept: '*/*'}");
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("accept").unwrap_or("*/*") {
        accept if accept.starts_with("text/html") => Reply::new("text/html", "<p>1</p>"),
        accept if accept.contains("odata=verbose") => {
            Reply::new("application/json;odata=verbose", r#"{"d":1}"#)
        }
        accept if accept.starts_with("application/xml") => Reply::new("application/xml", "<n>1</n>"),
        _ => Reply::json("1"),
    });
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for round in ["cold", "warm"] {
        for (accept, wanted, shared) in [
            ("application/json", "1", true),
            ("*/*", "1", true),
            (browser, "<p>1</p>", false),
            ("application/json;odata=verbose", r#"{"d":1}"#, false),
            ("application/xml, */*;q=0.1", "<n>1</n>", false),
        ] {
            let got = asked(&stand, &[("accept", accept)]).await;
            assert_eq!(got, (wanted.to_owned(), shared), "{round}: {accept}");
        }
    }
    let ignored = Stand::start(&format!("{ONCE}, ignore_vary: [accept]"));
    ignored.legacy.set("/prices/A", Reply::json("1").header("vary", "Accept"));
    assert_eq!(asked(&ignored, &[("accept", browser)]).await, ("1".into(), true));
}

#[tokio::test]
async fn a_script_gets_its_fragment_and_a_page_its_page() {
    let stand = Stand::start(ONCE);
    chooses_by(&stand, "x-requested-with");
    for _ in 0..2 {
        let script = [("x-requested-with", "XMLHttpRequest")];
        assert_eq!(asked(&stand, &script).await, ("\"XMLHttpRequest\"".into(), true));
        assert_eq!(asked(&stand, &[]).await, ("\"none\"".into(), true));
        assert_eq!(asked(&stand, &[("x-requested-with", "com.app")]).await, ("\"none\"".into(), true));
    }
    assert_eq!(stand.legacy.count("/prices/A"), 2);
}

#[tokio::test]
async fn an_answer_that_depends_on_the_user_agent_is_the_clients_own() {
    let answer = |seen: &Seen| {
        let agent = seen.header("user-agent").unwrap_or_default();
        let form = if agent.contains("Mobile") { "mobile" } else { "desktop" };
        Reply::text(form).header("vary", "User-Agent")
    };
    let (mobile, desktop) = ([("user-agent", "x Mobile")], [("user-agent", "x")]);
    let stand = Stand::start(ONCE);
    stand.legacy.answer_with("/prices/A", answer);
    for _ in 0..2 {
        assert_eq!(asked(&stand, &mobile).await, ("mobile".into(), false));
        assert_eq!(asked(&stand, &desktop).await, ("desktop".into(), false));
    }
    // Push clients get the form for pollcast's own, and that is counted.
    let mut stream = Sse::open(stand.address(), "/prices/A", &mobile).await;
    assert_eq!(stream.next_event().await.data, "desktop");
    assert_eq!(
        stand.metric("pollcast_sharing_signals_not_obeyed_total", "signal=\"vary-user-agent\"").await,
        1.0
    );
    let ignored = Stand::start(&format!("{ONCE}, ignore_vary: [User-Agent]"));
    ignored.legacy.answer_with("/prices/A", answer);
    assert_eq!(asked(&ignored, &mobile).await, ("desktop".into(), true));
    let varied = Stand::start(&format!("{ONCE}, vary: [user-agent]"));
    varied.legacy.answer_with("/prices/A", answer);
    for _ in 0..2 {
        assert_eq!(asked(&varied, &mobile).await, ("mobile".into(), true));
        assert_eq!(asked(&varied, &desktop).await, ("desktop".into(), true));
    }
    let mut stream = Sse::open(varied.address(), "/prices/A", &mobile).await;
    assert_eq!(stream.next_event().await.data, "mobile");
    let agents: Vec<String> =
        varied.legacy.seen("/prices/A").iter().map(|s| s.headers("user-agent").join("|")).collect();
    assert_eq!(agents, ["x Mobile", "x"]);
}

#[tokio::test]
async fn how_long_a_client_waits_is_neither_in_the_key_nor_on_the_polls() {
    let stand = Stand::start(FAST);
    stand.legacy.set("/prices/A", Reply::json("1").header("vary", "Accept, Prefer, Range"));
    let tag = stand.http().await.get("/prices/A", &[]).await.expect(200).etag().to_owned();
    let held = ["1", "2", "3"].map(|wait| {
        let (address, tag) = (stand.address(), tag.clone());
        tokio::spawn(async move {
            let mut http = crate::support::client::Http::connect(address).await;
            let wait = format!("wait={wait}");
            http.get("/prices/A", &[("prefer", &wait), ("if-none-match", &tag)]).await.expect(304)
        })
    });
    within("three held polls of one resource", stand.metric_becomes("pollcast_resources", "", 1.0)).await;
    for one in held {
        one.await.expect("a held poll");
    }
    assert_eq!(stand.metric("pollcast_resources", "").await, 1.0);
    assert!(stand.legacy.seen("/prices/A").iter().all(|seen| seen.header("prefer").is_none()));
}

#[tokio::test]
async fn a_credential_that_by_does_not_name_is_the_apis() {
    let stand = Stand::start(&format!("{ONCE}, share: {{by: [authorization, 'cookie:session']}}"));
    stand.legacy.answer_with("/prices/A", |seen| {
        let who = ["authorization", "cookie", "x-api-key"].into_iter().find_map(|name| seen.header(name));
        Reply::json(format!("{:?}", who.unwrap_or("none")))
    });
    for round in 0..2 {
        for (fields, wanted, shared) in [
            (&[("x-api-key", "ann")][..], "\"ann\"", false),
            (&[("cookie", "theme=dark")], "\"theme=dark\"", false),
            (&[("authorization", "Bearer ann")], "\"Bearer ann\"", true),
            (&[("cookie", "theme=dark; session=1")], "\"session=1\"", true),
            (&[], "\"none\"", true),
        ] {
            assert_eq!(asked(&stand, fields).await, (wanted.to_owned(), shared), "{round}: {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_login_page_keeps_its_cookie_where_sessions_share() {
    let stand = Stand::start(&format!("{FAST}, share: {{by: [authorization, 'cookie:sessionid']}}"));
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("cookie") {
        Some(cookie) if cookie.contains("sessionid=") => Reply::json("\"in\""),
        _ => {
            let token = format!("csrftoken={:016x}; Path=/", fastrand::u64(..));
            Reply::new("text/html", "<form>").header("set-cookie", &token)
        }
    });
    let mut tokens = std::collections::HashSet::new();
    for _ in 0..3 {
        let answer = stand.http().await.get("/prices/A", &[("accept", "text/html")]).await.expect(200);
        assert!(tokens.insert(answer.headers("set-cookie").join("|")), "each client has its own: {tokens:?}");
    }
    assert!(!tokens.contains(""), "{tokens:?}");
    // With the token of that page, before there is a session.
    let answer = stand.http().await.get("/prices/A", &[("cookie", "csrftoken=1")]).await.expect(200);
    assert!(answer.header("set-cookie").is_some());
    assert_eq!(asked(&stand, &[("cookie", "csrftoken=1; sessionid=2")]).await, ("\"in\"".into(), true));
}

#[tokio::test]
async fn a_credential_for_one_request_is_used_once_whatever_by_names() {
    let stand = Stand::start(&format!("{FAST}, share: {{by: [authorization]}}"));
    chooses_by(&stand, "authorization");
    for value in ["Digest nonce=\"1\"", "DPoP t", "AWS4-HMAC-SHA256 x", "Hawk id=\"1\"", "Negotiate YQ=="] {
        let (text, shared) = asked(&stand, &[("authorization", value)]).await;
        assert_eq!((text, shared), (format!("{value:?}"), false));
        let seen = stand.legacy.seen("/prices/A");
        assert_eq!(
            seen.iter().filter(|seen| seen.header("authorization") == Some(value)).count(),
            1,
            "{value}"
        );
        assert!(!seen.iter().any(|seen| is_poll(seen) && seen.header("authorization") == Some(value)));
    }
}
