//! Contract §10: many resources of a route in one request, end to end.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::contract::Stand;
use crate::support::legacy::{Reply, Seen};
use crate::support::sse::Sse;

const BATCH: &str = "batch: {param: ids, items: /items, key: /id}";

/// The names that a request asks for.
fn names(seen: &Seen) -> Vec<String> {
    let (_, query) = seen.target.split_once('?').expect("a query");
    let list = query.split('&').find_map(|pair| pair.strip_prefix("ids=")).expect("a list of names");
    list.split(',').map(str::to_owned).collect()
}

/// Answers for all names but `missing`.
fn list(seen: &Seen, n: u32, missing: &str) -> String {
    let items: Vec<String> = names(seen)
        .iter()
        .filter(|name| *name != missing)
        .map(|name| format!("{{\"id\":\"{name}\",  \"n\":{n}}}"))
        .collect();
    format!("{{\"items\":[{}]}}", items.join(","))
}

/// Requests that came together.
fn rounds(seen: &[Seen]) -> Vec<Vec<&Seen>> {
    let mut rounds: Vec<Vec<&Seen>> = Vec::new();
    for seen in seen {
        match rounds.last_mut() {
            Some(round) if seen.at - round[0].at < Duration::from_secs(1) => round.push(seen),
            _ => rounds.push(vec![seen]),
        }
    }
    rounds
}

#[tokio::test]
async fn a_thousand_items_cost_ten_requests_an_interval() {
    let batch = BATCH.replace('}', ", window: 400ms}");
    let stand = Stand::start(&format!("poll: {{interval: 2s, {batch}}}, delta: false"));
    stand.legacy.answer_with("/prices", |seen| Reply::json(list(seen, 1, "")));
    let address = stand.address();
    let mut opening = JoinSet::new();
    for n in 0..1000 {
        opening.spawn(async move {
            let mut sse = Sse::open(address, &format!("/prices/{n}"), &[]).await;
            assert_eq!(sse.next_event().await.data, format!("{{\"id\":\"{n}\",  \"n\":1}}"));
            sse
        });
    }
    let _streams = opening.join_all().await;
    stand.legacy.forget();
    // Whatever came before, all of them are due at the same time from now on. On a machine with other
    // work a round may tear; one that does not has ten requests.
    let mut wanted = 30;
    loop {
        stand.legacy.wait_count("/prices", wanted).await;
        let seen = stand.legacy.seen("/prices");
        let rounds = rounds(&seen);
        let is_whole = |round: &&Vec<&Seen>| {
            let asked: Vec<String> = round.iter().flat_map(|seen| names(seen)).collect();
            round.len() == 10 && asked.len() == 1000 && asked.iter().collect::<BTreeSet<_>>().len() == 1000
        };
        if rounds.iter().rev().skip(1).any(|round| is_whole(&round)) {
            break;
        }
        assert!(wanted < 150, "{:?}", rounds.iter().map(|round| round.len()).collect::<Vec<_>>());
        wanted += 10;
    }
    let all = stand.legacy.all_seen();
    assert!(all.iter().all(|seen| seen.path() == "/prices"), "none is asked for by itself");
}

#[tokio::test]
async fn what_an_answer_leaves_out_is_gone_and_what_changed_is_told() {
    let stand = Stand::start(&format!("poll: {{interval: 200ms, {BATCH}}}, delta: false"));
    stand.legacy.answer_with("/prices", |seen| Reply::json(list(seen, 1, "")));
    let mut a = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut b = Sse::open(stand.address(), "/prices/B", &[]).await;
    a.next_event().await;
    b.next_event().await;
    stand.legacy.answer_with("/prices", |seen| Reply::json(list(seen, 2, "B")));
    assert_eq!(a.next_event().await.data, "{\"id\":\"A\",  \"n\":2}");
    assert_eq!(b.next_event().await.event, "gone");
    let mut http = stand.http().await;
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), "{\"id\":\"A\",  \"n\":2}");
    http.get("/prices/B", &[]).await.expect(404);
}

#[tokio::test]
async fn a_broken_answer_to_a_batch_takes_nothing_away() {
    for reply in [Reply::json("{\"items\":1}"), Reply::text("oops"), Reply::empty(204), Reply::empty(500)] {
        let stand = Stand::start(&format!(
            "poll: {{interval: 100ms, backoff: {{min: 100ms, max: 100ms}}, {BATCH}}}, stale_after: 0s"
        ));
        stand.legacy.answer_with("/prices", |seen| Reply::json(list(seen, 1, "")));
        let mut a = Sse::open(stand.address(), "/prices/A", &[]).await;
        let mut b = Sse::open(stand.address(), "/prices/B", &[]).await;
        a.next_event().await;
        b.next_event().await;
        // Of one item alone it would be its own answer.
        stand.legacy.answer_with("/prices", move |seen| match names(seen).len() {
            1 => Reply::json(list(seen, 1, "")),
            _ => reply.clone(),
        });
        assert_eq!(a.next_event().await.event, "stale");
        assert_eq!(b.next_event().await.event, "stale");
        stand.legacy.answer_with("/prices", |seen| Reply::json(list(seen, 1, "")));
        a.next_named("fresh").await;
        b.next_named("fresh").await;
    }
}

#[tokio::test]
async fn a_batch_is_asked_for_conditionally_when_it_is_the_same_one() {
    let stand = Stand::start(&format!("poll: {{interval: 200ms, {BATCH}}}, delta: false"));
    stand.legacy.answer_with("/prices", |seen| Reply::json(list(seen, 1, "")).with_etag());
    let mut a = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut b = Sse::open(stand.address(), "/prices/B", &[]).await;
    a.next_event().await;
    b.next_event().await;
    let asked = stand.legacy.wait_seen("a conditional batch", |seen| {
        names(seen).len() == 2 && seen.header("if-none-match").is_some()
    });
    asked.await;
    stand.legacy.wait_count("/prices", stand.legacy.count("/prices") + 2).await;
    assert!(stand.metric("pollcast_polls_total", "not_modified").await >= 2.0);
    // Somebody new has nothing yet: the whole batch is needed.
    let mut c = Sse::open(stand.address(), "/prices/C", &[]).await;
    c.next_event().await;
    let whole = stand.legacy.wait_seen("all three", |seen| names(seen).len() == 3).await;
    assert_eq!(whole.header("if-none-match"), None);
    stand.legacy.answer_with("/prices", |seen| Reply::json(list(seen, 2, "")).with_etag());
    for sse in [&mut a, &mut b, &mut c] {
        assert!(sse.next_event().await.data.contains("\"n\":2"));
    }
}

#[tokio::test]
async fn queries_and_other_parameters_keep_batches_apart_and_odd_names_go_alone() {
    let stand = Stand::start(&format!("poll: {{interval: 1h, {BATCH}}}, delta: false"));
    stand.legacy.answer_with("/prices", |seen| Reply::json(list(seen, 1, "")));
    stand.legacy.set("/prices/X%2CY", Reply::json("{\"alone\":1}"));
    let mut http = stand.http().await;
    http.get("/prices/A?unit=kg", &[]).await.expect(200);
    http.get("/prices/A?unit=lb", &[]).await.expect(200);
    assert_eq!(http.get("/prices/X%2CY", &[]).await.expect(200).text(), "{\"alone\":1}");
    let targets: Vec<String> = stand.legacy.all_seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/prices?unit=kg&ids=A", "/prices?unit=lb&ids=A", "/prices/X%2CY"]);
}

/// As an API does that takes all names or none.
fn all_or_nothing(seen: &Seen, n: u32) -> Reply {
    let names = names(seen);
    if names.iter().any(|name| name.starts_with("bad")) {
        return Reply::json(format!("{{\"error\":\"unknown ids\",\"asked\":\"{}\"}}", names.join(",")))
            .status(400);
    }
    Reply::json(list(seen, n, ""))
}

#[tokio::test]
async fn names_that_the_api_refuses_keep_no_other_from_being_polled() {
    let stand = Stand::start(&format!("poll: {{interval: 200ms, {BATCH}}}, delta: false"));
    stand.legacy.answer_with("/prices", |seen| all_or_nothing(seen, 1));
    let mut good = Sse::open(stand.address(), "/prices/A", &[]).await;
    good.next_event().await;
    let mut bad = Vec::new();
    for n in 0..5 {
        bad.push(Sse::open(stand.address(), &format!("/prices/bad{n}"), &[]).await);
    }
    for n in 2..5 {
        stand.legacy.answer_with("/prices", move |seen| all_or_nothing(seen, n));
        assert_eq!(good.next_event().await.data, format!("{{\"id\":\"A\",  \"n\":{n}}}"));
    }
    // Once they are known they are asked for alone.
    for n in 0..5 {
        let name = format!("bad{n}");
        stand.legacy.wait_seen("a bad name alone", move |seen| names(seen) == [name.as_str()]).await;
    }
    stand.legacy.forget();
    stand.legacy.wait_count("/prices", 8).await;
    let mixed = |seen: &Seen| names(seen).len() > 1 && names(seen).iter().any(|name| name.starts_with("bad"));
    assert!(!stand.legacy.seen("/prices").iter().any(mixed));
}

#[tokio::test]
async fn names_that_break_a_batch_keep_no_other_from_being_polled() {
    let one_users = |seen: &Seen, n| Reply::json(list(seen, n, "")).header("set-cookie", "s=1");
    let broken: [fn(&Seen, u32) -> Reply; 6] = [
        |_, _| Reply::empty(500),
        |_, _| Reply::empty(503),
        |_, _| Reply::new("text/html", "<html>error</html>"),
        |_, _| Reply::empty(302).header("location", "/login"),
        |_, _| Reply::close(),
        one_users,
    ];
    for (number, broken) in broken.into_iter().enumerate() {
        let stand = Stand::start(&format!(
            "poll: {{interval: 200ms, backoff: {{min: 200ms, max: 200ms}}, {BATCH}}}, delta: false, stale_after: 1h"
        ));
        let answer = move |n: u32| {
            move |seen: &Seen| match names(seen).iter().any(|name| name.starts_with("bad")) {
                true => broken(seen, n),
                false => Reply::json(list(seen, n, "")),
            }
        };
        stand.legacy.answer_with("/prices", answer(1));
        let mut good = Sse::open(stand.address(), "/prices/A", &[]).await;
        good.next_event().await;
        let mut bad = JoinSet::new();
        for n in 0..3 {
            let address = stand.address();
            bad.spawn(async move { Sse::try_open(address, &format!("/prices/bad{n}"), &[]).await.is_ok() });
        }
        stand.legacy.wait_seen("a bad name", |seen| names(seen).iter().any(|name| name == "bad1")).await;
        for n in 2..6 {
            stand.legacy.answer_with("/prices", answer(n));
            let told = good.next_event().await;
            assert_eq!(told.data, format!("{{\"id\":\"A\",  \"n\":{n}}}"), "{number}: {told:?}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_is_down_is_not_asked_for_each_name_of_a_batch() {
    let window = BATCH.replace('}', ", window: 1s}");
    let stand = Stand::start(&format!("poll: {{interval: 1h, backoff: {{min: 1h, max: 1h}}, {window}}}"));
    stand.legacy.set("/prices", Reply::empty(500));
    let mut asking = JoinSet::new();
    for n in 0..40 {
        let address = stand.address();
        asking.spawn(async move {
            let mut http = crate::support::client::Http::connect(address).await;
            http.get(&format!("/prices/{n}"), &[]).await.status
        });
    }
    assert!(asking.join_all().await.iter().all(|status| (500..600).contains(status)));
    let asked = stand.legacy.seen("/prices").len();
    assert!(asked <= 40, "{asked} requests for 40 names");
}

#[tokio::test]
async fn what_is_said_to_a_request_for_several_is_given_to_none_of_them() {
    for status in [400, 401, 403, 404, 409, 422, 429, 500, 302] {
        let window = BATCH.replace('}', ", window: 1s}");
        let stand = Stand::start(&format!("poll: {{interval: 1h, {window}}}, delta: false"));
        stand.legacy.answer_with("/prices", move |seen| {
            let asked = names(seen).join(",");
            let reply = Reply::json(format!("{{\"asked\":\"{asked}\"}}")).status(status);
            reply.header("x-asked", &asked).header("location", &format!("/login?for={asked}"))
        });
        stand.legacy.answer_with("*", |_| Reply::text("its own"));
        let mut asking = JoinSet::new();
        for (mine, others) in [("doc-9f31", "bad-1"), ("bad-1", "doc-9f31")] {
            let mut http = stand.http().await;
            asking.spawn(async move {
                let answer = http.get(&format!("/prices/{mine}"), &[]).await;
                assert!(!format!("{answer:?}").contains(others), "{status}: {answer:?}");
            });
        }
        asking.join_all().await;
        assert!(
            stand.legacy.seen("/prices").iter().any(|seen| names(seen).len() == 2),
            "{status}: they went together"
        );
    }
}
