//! Faults that users of other proxies reported, as far as no other file of the contract's tests has them
//! (contract §3, §11, §12).

use std::time::Duration;

use super::{FAST_FAILING, ONCE, Stand, TlsStand, config};
use crate::support::app;
use crate::support::client::Http;
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;

#[tokio::test]
async fn a_body_that_is_no_json_any_more_is_given_once_the_last_state_is_too_old() {
    let stand = Stand::start(&format!("{FAST_FAILING}, stale_if_error: 300ms"));
    stand.legacy.set("/prices/A", Reply::json("{\"t\":1}"));
    let mut http = stand.http().await;
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), "{\"t\":1}");
    for lost in ["{\"t\":nan}", ""] {
        stand.legacy.set("/prices/A", Reply::json(lost));
        // The last good state is given for `stale_if_error`, and never a failure of pollcast's own.
        while http.get("/prices/A", &[]).await.expect(200).text() != lost {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_request_with_very_many_parameters_has_no_key_and_passes_through_as_it_came() {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/prices/A", Reply::json("1"));
    let columns = |number: usize| vec!["a=1"; number].join("&");
    let mut http = stand.http().await;
    for (parameters, is_shared) in [(1_000, true), (1_001, false), (1_900, false)] {
        let target = format!("/prices/A?{}", columns(parameters));
        let before = stand.legacy.count("/prices/A");
        for _ in 0..2 {
            http.get(&target, &[]).await.expect(200);
        }
        let seen = stand.legacy.seen("/prices/A");
        assert_eq!(seen.len() - before, if is_shared { 1 } else { 2 }, "{parameters}");
        assert_eq!(seen[before].target, target);
    }
}

#[tokio::test]
async fn a_content_type_on_a_read_may_choose_and_reaches_the_api() {
    let stand = Stand::start(ONCE);
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("content-type") {
        Some(_) => Reply::json("\"let in\""),
        None => Reply::json("\"blocked\"").status(400),
    });
    for _ in 0..2 {
        let mut http = stand.http().await;
        assert_eq!(http.get("/prices/A", &[("content-type", "application/json")]).await.text(), "\"let in\"");
        assert_eq!(http.get("/prices/A", &[]).await.expect(400).text(), "\"blocked\"");
    }
}

#[tokio::test]
async fn bytes_that_no_query_should_hold_reach_the_api_and_name_one_resource() {
    let legacy = Legacy::start();
    let yaml = config(&legacy, ONCE, "").replace("'127.0.0.1:0'}]", "'127.0.0.1:0', http2: true}]");
    let stand = Stand { app: app::start(&yaml), legacy };
    stand.legacy.set("/prices/A", Reply::json("1"));
    let cases: [(&[u8], &str, bool); 8] = [
        (b"q=\"2\"", "q=%222%22", false),
        (b"q=<a>", "q=%3Ca%3E", false),
        (b"q={x}|y", "q={x}|y", true),
        (b"q=a^b`c", "q=a^b`c", true),
        (b"q=[1]\\", "q=[1]\\", true),
        (b"q='a'", "q='a'", true),
        (b"q=%zz", "q=%zz", true),
        (b"q=caf\xc3\xa9", "q=caf%C3%A9", false),
    ];
    for (raw, escaped, is_of_http2) in cases {
        let before = stand.legacy.count("/prices/A");
        let mut http = stand.http().await;
        let line = [b"GET /prices/A?", raw, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat();
        http.send_raw(&line).await;
        http.read_response().await.expect(200);
        let target = format!("/prices/A?{escaped}");
        http.get(&target, &[("host", "localhost")]).await.expect(200);
        if is_of_http2 {
            let stream = tokio::net::TcpStream::connect(stand.address()).await.expect("a connection");
            let mut h2 = H2::over(stream, "localhost").await;
            assert_eq!(h2.get(&target, &[]).await.status, 200, "{escaped}");
        }
        assert_eq!(stand.legacy.count("/prices/A"), before + 1, "{escaped}: one poll for all spellings");
        let line = [b"GET /elsewhere?", raw, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat();
        http.send_raw(&line).await;
        assert_ne!(http.read_response().await.status, 400, "{escaped}: beside the route");
    }
}

#[tokio::test]
async fn a_refusal_that_comes_in_several_forms_is_each_clients_own() {
    let stand = Stand::start(ONCE);
    stand.legacy.answer_with("/prices/A", |seen| {
        let is_page = seen.header("accept").is_some_and(|accept| accept.starts_with("text/html"));
        let reply = if is_page { Reply::new("text/html", "<p>gone</p>") } else { Reply::json("\"gone\"") };
        reply.status(404)
    });
    let mut http = Http::connect(stand.address()).await;
    for _ in 0..2 {
        assert_eq!(http.get("/prices/A", &[]).await.expect(404).text(), "\"gone\"");
        let page = http.get("/prices/A", &[("accept", "text/html, */*;q=0.1")]).await.expect(404);
        assert_eq!(page.text(), "<p>gone</p>");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_nothing_to_a_request_that_asks_for_none() {
    let stand = Stand::start("poll: {interval: 10s}");
    stand.legacy.set("/prices/A", Reply::json("{\"a\":1}").cut_after(3));
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(502);
    stand.legacy.set("/prices/A", Reply::json("{\"a\":1}").header("x-of", "the API"));
    let head = http.request("HEAD", "/prices/A", &[], b"").await.expect(200);
    assert_eq!(head.header("x-of"), Some("the API"));
}

#[tokio::test]
async fn a_head_that_does_not_get_through_over_http2_is_an_answer_and_no_broken_stream() {
    let tls = TlsStand::start(ONCE);
    tls.stand.legacy.stop().await;
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    for path in ["/x", "/prices/A"] {
        let (head, _) = h2.open("HEAD", path, &[]).await;
        assert_eq!(head.status, 502, "{path}");
    }
    h2.get("/x", &[]).await.expect(502);
}

#[tokio::test]
async fn an_answer_names_what_would_choose_another_for_other_clients() {
    let stand = Stand::start(&format!(
        "{ONCE}, vary: [api-version], share: {{by: [x-tenant, 'cookie:session']}}, downstream_cache: max-age=60"
    ));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let mut http = stand.http().await;
    for said in [&[][..], &[("api-version", "2")], &[("x-tenant", "ann")], &[("cookie", "session=ann")]] {
        let vary = http.get("/prices/A", said).await.expect(200).headers("vary").join(", ").to_lowercase();
        for name in ["api-version", "x-tenant", "cookie"] {
            assert!(vary.split(", ").any(|told| told == name), "{said:?}: {vary}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_its_coding_says_is_the_clients_to_read() {
    let stand = Stand::start(ONCE);
    let lies = [("A", "gzip"), ("B", "gzip,gzip"), ("C", "br")];
    for (name, coding) in lies {
        let reply = Reply::json("{\"a\":1}").header("content-encoding", coding);
        stand.legacy.set(&format!("/prices/{name}"), reply);
    }
    let mut http = stand.http().await;
    for (name, coding) in lies {
        let answer = http.get(&format!("/prices/{name}"), &[]).await.expect(200);
        assert_eq!((answer.text().as_str(), answer.header("content-encoding")), ("{\"a\":1}", Some(coding)));
    }
}

#[tokio::test]
async fn a_stream_that_begins_with_a_failure_says_what_the_api_allows_other_origins() {
    let stand = Stand::start(FAST_FAILING);
    for status in [400, 429, 500, 503] {
        let path = format!("/prices/{status}");
        let reply =
            Reply::json("{}").status(status).header("access-control-allow-origin", "https://a.example");
        stand.legacy.set(&path, reply);
        let sse = Sse::open(stand.address(), &path, &[("origin", "https://a.example")]).await;
        assert_eq!(sse.head.header("access-control-allow-origin"), Some("https://a.example"), "{status}");
    }
}

#[tokio::test]
async fn a_read_that_is_bound_to_a_state_is_the_apis_to_refuse() {
    let stand = Stand::start(ONCE);
    stand.legacy.answer_with("/prices/A", |seen| {
        let is_bound = seen.header("if-match").or(seen.header("if-unmodified-since")).is_some();
        if is_bound { Reply::empty(412) } else { Reply::json("1") }
    });
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    http.get("/prices/A", &[("if-match", "\"old\"")]).await.expect(412);
    http.get("/prices/A", &[("if-unmodified-since", "Sun, 01 Jan 2017 00:00:00 GMT")]).await.expect(412);
}

#[tokio::test]
async fn a_failure_that_depends_on_who_asks_is_one_clients_alone() {
    let stand = Stand::start("poll: {interval: 10s}");
    let count = std::sync::atomic::AtomicUsize::new(0);
    stand.legacy.answer_with("/prices/A", move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::text(number.to_string()).status(500).header("vary", "*")
    });
    let mut told = std::collections::HashSet::new();
    for _ in 0..4 {
        told.insert(stand.http().await.get("/prices/A", &[]).await.expect(500).text());
    }
    assert_eq!(told.len(), 4, "{told:?}");
}
