//! Contract §5, §10: how answers, fields and numbers of an API are read, end to end.

use std::io::Write;
use std::time::SystemTime;

use crate::contract::{FAST, FAST_FAILING, ONCE, Stand, config};
use crate::support::app;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;

/// pollcast whose upstream says more.
fn with_upstream(more: &str, route: &str) -> Stand {
    let legacy = Legacy::start();
    let yaml = config(&legacy, route, "").replacen("']}}", &format!("'], {more}}}}}"), 1);
    Stand { app: app::start(&yaml), legacy }
}

fn in_seconds(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    (now.as_secs() + seconds).to_string()
}

#[tokio::test]
async fn a_cache_control_that_is_no_list_shares_nothing_that_may_be_private() {
    for said in
        ["private; max-age=0", "no-store; no-cache; max-age=0", "max-age=0; private", "max-age=0 private"]
    {
        let stand = Stand::start(ONCE);
        stand.legacy.set("/prices/A", Reply::json("{\"mine\":1}").header("cache-control", said));
        for _ in 0..2 {
            stand.http().await.get("/prices/A", &[]).await.expect(200);
        }
        assert!(stand.legacy.count("/prices/A") >= 2, "{said}: each client has its own");
    }
}

#[tokio::test]
async fn no_cache_and_lifetimes_that_cannot_be_read_do_not_stop_the_polls() {
    for said in
        ["no-cache, max-age=315360000", "public, max-age=600, no-cache", "max-age=-1", "max-age=0; public"]
    {
        let stand = Stand::start(FAST);
        let reply = Reply::json("{}").header("cache-control", said);
        let reply = reply.header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        stand.legacy.set("/prices/A", reply.header("expires", "Sun, 06 Nov 1994 09:49:37 GMT"));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        sse.next_event().await;
        stand.legacy.wait_count("/prices/A", 3).await;
    }
}

#[tokio::test]
async fn a_date_within_its_own_second_is_no_validator() {
    let stand = Stand::start(FAST);
    let at = "Sun, 06 Nov 1994 08:49:37 GMT";
    let dated = |date: &str| Reply::json("{}").header("last-modified", at).header("date", date);
    stand.legacy.set("/prices/A", dated(at));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.wait_count("/prices/A", 3).await;
    assert!(stand.legacy.seen("/prices/A").iter().all(|seen| seen.header("if-modified-since").is_none()));
    stand.legacy.set("/prices/A", dated("Sun, 06 Nov 1994 08:49:39 GMT"));
    let asked =
        stand.legacy.wait_seen("a conditional poll", |seen| seen.header("if-modified-since").is_some());
    assert_eq!(asked.await.header("if-modified-since"), Some(at));
}

#[tokio::test]
async fn a_403_for_a_used_up_quota_keeps_the_state_and_says_so_in_the_metrics() {
    let stand = Stand::start(&format!("share: {{by: [authorization]}}, {FAST_FAILING}"));
    stand.legacy.set("/prices/A", Reply::json("{\"n\":1}"));
    let ann = [("authorization", "Bearer ann")];
    let mut sse = Sse::open(stand.address(), "/prices/A", &ann).await;
    sse.next_event().await;
    let refused = Reply::json("{\"message\":\"rate limit exceeded\"}").status(403);
    let refused = refused.header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", &in_seconds(60));
    stand.legacy.set("/prices/A", refused);
    assert_eq!(sse.next_event().await.event, "stale");
    let answer = stand.http().await.get("/prices/A", &ann).await.expect(200);
    assert_eq!(answer.text(), "{\"n\":1}");
    assert_eq!(stand.metric("pollcast_poll_failures_total", "class=\"quota\"").await, 1.0);
}

#[tokio::test]
async fn the_quota_of_one_path_holds_nothing_else_back() {
    let stand = Stand::with(FAST, "defaults: {poll: {backoff: {min: 100ms, max: 100ms}}}");
    let low = Reply::json("{}").header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", "600");
    stand.legacy.set("/prices/SEARCH", low.header("x-ratelimit-resource", "search"));
    stand.legacy.set("/prices/A", Reply::json("{\"n\":1}"));
    stand.legacy.set("/prices/B", Reply::json("{\"n\":1}"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.http().await.get("/prices/SEARCH", &[]).await.expect(200);
    stand.legacy.set("/prices/A", Reply::json("{\"n\":2}"));
    assert_eq!(sse.next_event().await.data, "{\"n\":2}");
    stand.http().await.get("/prices/B", &[]).await.expect(200);
}

#[tokio::test]
async fn a_cold_request_passes_through_where_the_upstreams_own_quota_leaves_no_poll() {
    let stand = with_upstream("budget: {quota: shared}", &format!("first_answer: 10s, {ONCE}"));
    for left in ["0", "1"] {
        let low = Reply::json("{}").header("x-ratelimit-remaining", left).header("x-ratelimit-reset", "600");
        stand.legacy.set("/prices/LOW", low);
        stand.legacy.set("/prices/B", Reply::json("{\"n\":1}"));
        let mut http = stand.http().await;
        http.get(&format!("/prices/LOW?left={left}"), &[]).await.expect(200);
        // The first one may still take what is there.
        http.get(&format!("/prices/B?first={left}"), &[]).await.expect(200);
        let answer = http.get(&format!("/prices/B?second={left}"), &[]).await.expect(200);
        let status = answer.header("cache-status").unwrap_or_default().to_owned();
        assert!(status.contains("detail=quota"), "{left} left: {status}");
    }
}

#[tokio::test]
async fn json_is_utf_8_whatever_its_parameter_says_and_the_parameter_is_no_change() {
    let stand = Stand::start(FAST);
    let said = |charset: &str| Reply::new(&format!("application/json{charset}"), "{\"city\":\"Málaga\"}");
    stand.legacy.set("/prices/A", said("; charset=ISO-8859-1"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.data, "{\"city\":\"Málaga\"}");
    for charset in ["; charset=utf-8", "; charset=binary", ""] {
        stand.legacy.set("/prices/A", said(charset));
        stand.legacy.wait_count("/prices/A", stand.legacy.count("/prices/A") + 2).await;
    }
    stand.legacy.set("/prices/A", Reply::new("application/json", "\u{feff}{\"n\":1}"));
    assert_eq!(sse.next_event().await.data, "{\"n\":1}", "no event in between, and no mark");
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain("{\"n\":2}".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    stand.legacy.set("/prices/A", Reply::new("application/json", utf16));
    assert_eq!(sse.next_event().await.data, "{\"n\":2}");
    let latin = Reply::new("text/xml", b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>".to_vec());
    stand.legacy.set("/prices/X", latin);
    let mut sse = Sse::open(stand.address(), "/prices/X", &[]).await;
    assert!(sse.next_event().await.data.ends_with("<a>é</a>"));
}

#[tokio::test]
async fn what_is_no_coding_is_read_over_and_an_unknown_one_is_left_to_clients() {
    for coding in ["UTF-8", "none", "binary", "8bit", "aws-chunked", "identity"] {
        let stand = Stand::start(ONCE);
        stand.legacy.set("/prices/A", Reply::json("{\"n\":1}").header("content-encoding", coding));
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
        assert_eq!(
            (answer.text().as_str(), answer.header("content-encoding")),
            ("{\"n\":1}", None),
            "{coding}"
        );
    }
    let stand = Stand::start(FAST_FAILING);
    stand.legacy.set("/prices/A", Reply::json("zipped").header("content-encoding", "x-zip"));
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.header("content-encoding")), ("zipped", Some("x-zip")));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let stale = sse.next_event().await;
    assert_eq!(stale.event, "stale");
    assert!(stale.data.contains("x-zip"), "{}", stale.data);
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("a buffer");
    encoder.finish().expect("a buffer")
}

#[tokio::test]
async fn bytes_behind_a_gzip_body_are_ignored_and_one_that_is_cut_short_is_no_snapshot() {
    let stand = Stand::start(ONCE);
    let coded = |body: Vec<u8>| Reply::new("application/json", body).header("content-encoding", "gzip");
    let whole = gzipped("{\"n\":1}");
    for (at, more) in [b"\0\0\0\0".as_slice(), b"\r\n", b"garbage"].into_iter().enumerate() {
        let path = format!("/prices/{at}");
        stand.legacy.set(&path, coded([&whole[..], more].concat()));
        assert_eq!(stand.http().await.get(&path, &[]).await.expect(200).text(), "{\"n\":1}");
    }
    // There was an answer: the client gets it as the API gives it (contract §3), each time from the API.
    let cut = whole[..whole.len() - 3].to_vec();
    stand.legacy.set("/prices/cut", coded(cut.clone()));
    for count in [2, 3] {
        let answer = stand.http().await.get("/prices/cut", &[]).await.expect(200);
        assert_eq!((answer.body.as_ref(), answer.header("content-encoding")), (&cut[..], Some("gzip")));
        assert!(stand.legacy.count("/prices/cut") >= count);
    }
}

#[tokio::test]
async fn an_upstream_whose_codings_lie_is_asked_once_more_without_and_then_for_none() {
    let stand = Stand::start(ONCE);
    stand.legacy.answer_with("*", |seen| {
        let plain = Reply::json("{\"n\":1}");
        let asks = seen.header("accept-encoding").is_some_and(|said| said.contains("gzip"));
        if asks { plain.header("content-encoding", "gzip") } else { plain }
    });
    assert_eq!(stand.http().await.get("/prices/A", &[]).await.expect(200).text(), "{\"n\":1}");
    assert_eq!(stand.legacy.count("/prices/A"), 2);
    stand.http().await.get("/prices/B", &[]).await.expect(200);
    let seen = stand.legacy.seen("/prices/B");
    assert_eq!((seen.len(), seen[0].header("accept-encoding")), (1, Some("identity")));
}

#[tokio::test]
async fn polls_state_no_preference_and_ask_for_no_coding_where_they_are_told_to() {
    let stand = Stand::start("poll: {interval: 1h, accept_encoding: off}");
    stand.legacy.set("/prices/A", Reply::json("{}"));
    stand.http().await.get("/prices/A", &[]).await.expect(200);
    let seen = &stand.legacy.seen("/prices/A")[0];
    assert_eq!((seen.header("accept"), seen.header("accept-encoding")), (Some("*/*"), Some("identity")));
}

#[tokio::test]
async fn the_heads_of_old_devices_are_read() {
    for (at, head) in [
        "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 7\n\n",
        "HTTP/1.1 200 OK\r\nContent-Type : application/json\r\nContent-Length: 7\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json;\r\n charset=utf-8\r\nContent-Length: 7\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let stand = Stand::start(ONCE);
        stand.legacy.set("/prices/A", Reply::raw(format!("{head}{{\"n\":{at}}}")));
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
        assert_eq!(answer.text(), format!("{{\"n\":{at}}}"), "{head:?}");
        let status = answer.header("cache-status").unwrap_or_default();
        assert!(status.contains("fwd=miss"), "{head:?}: by a poll, {status}");
    }
}

#[tokio::test]
async fn lines_that_do_not_count_are_no_change() {
    let stand = Stand::start(&format!("{FAST}, change: {{ignore_lines: ['^Reading', '^#']}}"));
    let page =
        |reading: u32, value: u32| Reply::text(format!("# {reading}\nReading {reading}\nvalue {value}\n"));
    stand.legacy.set("/prices/A", page(1, 1));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let first = sse.next_event().await;
    assert_eq!(first.data, "# 1\nReading 1\nvalue 1\n");
    stand.legacy.set("/prices/A", page(2, 1));
    stand.legacy.wait_count("/prices/A", stand.legacy.count("/prices/A") + 2).await;
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(answer.text(), "# 1\nReading 1\nvalue 1\n", "one version, one body");
    assert!(answer.etag().starts_with("W/"), "{}", answer.etag());
    stand.legacy.set("/prices/A", page(3, 2));
    assert_eq!(sse.next_event().await.data, "# 3\nReading 3\nvalue 2\n");
}
