//! Contract §11 at its edges: answers that are one user's, said in places and ways in which nobody looks for it.
//!
//! Must not know: how sharing is decided.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::edge_support::{http, start};
use super::{FAST, ONCE, Stand};
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::sse::Sse;
use crate::support::ws::Ws;

const LIST: &str = "/prices/list";
const FEED: &str = "poll: {interval: 100ms}, feed: {items: /messages, id: /id, \
                    pages: {next: number, query: page, max: 4}}";
const CURSOR: &str = "poll: {interval: 100ms}, feed: {items: /messages, id: /id, order: oldest_first, \
                      cursor: {query: since, from: /last}}";

fn messages(ids: impl IntoIterator<Item = u64>, last: u64) -> Reply {
    let messages: Vec<Value> = ids.into_iter().map(|id| json!({ "id": id })).collect();
    Reply::json(json!({ "messages": messages, "last": last }).to_string())
}

fn query(seen: &Seen, name: &str) -> Option<u64> {
    let (_, query) = seen.target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[tokio::test]
async fn a_word_against_sharing_counts_beside_bytes_that_are_no_text() {
    for (name, value) in [("cache-control", "private, note=\"café\""), ("vary", "*, café")] {
        let legacy = Legacy::start();
        legacy.set("/r/a", Reply::json("1").header(name, value));
        let app = start(&legacy, "");
        for asked in 1..=3 {
            http(&app).await.get("/r/a", &[]).await.expect(200);
            assert!(legacy.count("/r/a") >= asked, "{name}: an answer was shared");
        }
        http(&app).await.get("/r/a?_push=sse", &[]).await.expect(403);
    }
}

#[tokio::test]
async fn what_polls_never_take_from_a_client_is_not_taken_because_vary_names_it() {
    let stand = Stand::start(FAST);
    stand.legacy.answer_with("/prices/A", |seen| {
        let reply = match (seen.header("range"), seen.header("if-none-match"), seen.header("if-match")) {
            (None, None | Some("\"own\""), None) => Reply::json("[1,2]"),
            _ => Reply::empty(412),
        };
        reply.header(
            "vary",
            "Range, If-None-Match, If-Match, If-Range, Cache-Control, Max-Forwards, Connection",
        )
    });
    let mut http = stand.http().await;
    for fields in [
        vec![],
        vec![("range", "bytes=0-1")],
        vec![("range", "bytes=0-1"), ("if-range", "\"x\"")],
        vec![("if-none-match", "\"x\"")],
        vec![("if-match", "\"x\"")],
        vec![("max-forwards", "0")],
        vec![("cache-control", "no-cache")],
    ] {
        let answer = http.get("/prices/A", &fields).await;
        assert_eq!((answer.status, answer.text()), (200, "[1,2]".to_owned()), "{fields:?}");
    }
}

