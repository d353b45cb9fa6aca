//! Asking what becomes of a request changes nothing, and shows no secret.

use super::cases::{cases, yaml};
use super::{call, explained};
use crate::contract::edge::support::admin;
use crate::support::app;
use crate::support::client::{Http, Sse};
use crate::support::legacy::{Legacy, Reply};
use crate::support::wire::within;

/// The counters of requests and polls. Those of the process, and of the admin listener's own work, go on.
fn counters(metrics: &str) -> Vec<String> {
    let own = |line: &&str| {
        line.starts_with("pollcast_")
            && !line.starts_with("pollcast_runtime")
            && !line.starts_with("pollcast_tasks")
            && !line.starts_with("pollcast_admin")
    };
    metrics.lines().filter(own).map(str::to_owned).collect()
}

#[tokio::test]
async fn asking_counts_nothing_begins_no_poll_and_makes_no_resource() {
    let legacy = Legacy::start();
    legacy.set("/r/s", Reply::json("1"));
    let app = app::start(&yaml(&legacy.address().to_string()));
    Http::connect(app.addresses()[0]).await.get("/r/s", &[]).await.expect(200);
    let mut operator = admin(&app).await;
    let before = within("the request that is counted", async {
        loop {
            let metrics = operator.get("/metrics", &[]).await.expect(200).text();
            if metrics.contains("pollcast_requests_total{answer=\"miss\"") {
                return metrics;
            }
        }
    })
    .await;
    let asked = legacy.all_seen().len();
    for case in cases() {
        for client in ["", "&client=192.0.2.7"] {
            operator.get(&call(case.request(), client), &[]).await.expect(200);
        }
    }
    let after = operator.get("/metrics", &[]).await.expect(200).text();
    let after = counters(&after);
    let different: Vec<_> = counters(&before).into_iter().filter(|line| !after.contains(line)).collect();
    assert!(different.is_empty(), "{different:#?}");
    assert_eq!(legacy.all_seen().len(), asked);
    let list = operator.get("/resources", &[]).await.expect(200).json();
    assert_eq!(list["count"], 1, "{list}");
}

#[tokio::test]
async fn neither_credentials_nor_bodies_are_shown() {
    let legacy = Legacy::start();
    legacy.set("/by/a", Reply::json("\"the-body-of-ann\""));
    let app = app::start(&yaml(&legacy.address().to_string()));
    let secrets = [
        ("authorization", "Bearer secret-of-ann"),
        ("cookie", "session=secret-of-ann"),
        ("x-color", "secret-of-ann"),
        ("accept", "secret-of-ann/x"),
    ];
    let target = "/by/a?access_token=secret-of-ann";
    Http::connect(app.addresses()[0]).await.get(target, &secrets[..2]).await.expect(200);
    let mut operator = admin(&app).await;
    for fields in [&secrets[..1], &secrets[..2], &secrets[..]] {
        for format in ["&format=json", "&format=text"] {
            let told = operator.get(&call(("GET", target, fields), format), &[]).await.expect(200).text();
            assert!(told.contains("authorization"), "{told}");
            assert!(!told.contains("secret-of-ann") && !told.contains("the-body-of-ann"), "{told}");
        }
    }
}

#[tokio::test]
async fn it_says_the_route_what_nearly_matched_the_steps_the_poll_and_the_schedule() {
    let legacy = Legacy::start();
    legacy.set("/r/s", Reply::json("1"));
    let app = app::start(&yaml(&legacy.address().to_string()));
    let mut stream = Sse::open(app.addresses()[0], "/r/s", &[]).await;
    stream.next_event().await;
    let told = explained(&app, ("GET", "/r/s", &[])).await;
    assert_eq!((&told["route"], &told["outcome"]["answer"]), (&"/r/{name}".into(), &"hit".into()), "{told}");
    let about: Vec<&str> =
        told["steps"].as_array().unwrap().iter().filter_map(|step| step["about"].as_str()).collect();
    for subject in ["limits", "path", "route", "query", "header", "share", "transport", "plain", "state"] {
        assert!(about.contains(&subject), "{subject} is missing in {about:?}");
    }
    assert_eq!((&told["poll"]["url"], &told["poll"]["awaited"]), (&"/r/s".into(), &false.into()));
    assert!(told["poll"]["fields"].as_array().unwrap().contains(&"user-agent".into()), "{told}");
    let schedule = &told["schedule"];
    assert_eq!((&schedule["why"], &schedule["followers"]), (&"interval".into(), &1.into()), "{schedule}");
    assert!(schedule["next_poll_in_ms"].as_u64() > Some(1000), "{schedule}");

    let told = explained(&app, ("GET", "/R/s", &[])).await;
    assert_eq!((&told["route"], &told["outcome"]["reason"]), (&().into(), &"uncovered".into()), "{told}");
    assert_eq!(told["near"][0]["route"], "/r/{name}", "{told}");
    let wide = explained(&app, ("GET", "/public/a/b", &[])).await;
    assert_eq!(wide["near"][0]["route"], "/public/{name}", "{wide}");
}

#[tokio::test]
async fn a_question_that_is_none_is_answered_400() {
    let legacy = Legacy::start();
    let app = app::start(&yaml(&legacy.address().to_string()));
    let mut operator = admin(&app).await;
    for query in
        ["", "?url=", "?url=x", "?url=/a%20b", "?url=ftp://x/", "?url=http://a:b@x/", "?url=/a&colour=red"]
    {
        operator.get(&format!("/-/explain{query}"), &[]).await.expect(400);
    }
    operator.request("POST", "/-/explain?url=/a", &[], b"").await.expect(405);
    let text = operator.get("/-/explain?url=/r/a", &[("accept", "text/plain")]).await.expect(200);
    assert!(text.text().starts_with("GET /r/a on host"), "{}", text.text());
}
