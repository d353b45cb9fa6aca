//! Limits that a request would meet are foreseen, and what other servers would have to say is not asked.

use serde_json::Value;

use super::explained;
use crate::contract::edge::support::{Extra, http, start_with};
use crate::support::legacy::{Legacy, Reply};
use crate::support::reply::Gate;

fn outcome(told: &Value) -> (&str, &str, Option<u64>) {
    let outcome = &told["outcome"];
    let word = |name: &str| outcome[name].as_str().unwrap_or_default();
    (word("does"), word("reason"), outcome["status"].as_u64())
}

#[tokio::test]
async fn a_limit_that_is_reached_is_foreseen_and_not_taken() {
    let legacy = Legacy::start();
    let gate = Gate::closed();
    legacy.set("/x", Reply::json("1").behind(&gate));
    let extra = Extra { upstream: ", max_requests: 1", listener: ", hosts: [api.test]", ..Extra::default() };
    let app = start_with(&legacy, extra);
    let here = [("host", "api.test")];
    for _ in 0..3 {
        // Asking takes no place.
        let told = explained(&app, ("GET", "/x", &here)).await;
        assert_eq!(outcome(&told), ("passed-through", "uncovered", None), "{told}");
    }
    let mut waiting = http(&app).await;
    waiting.send("GET", "/x", &here, b"").await;
    legacy.wait_in_flight("/x", 1).await;
    let told = explained(&app, ("GET", "/x", &here)).await;
    assert_eq!(outcome(&told), ("refused", "upstream-requests", Some(503)), "{told}");
    http(&app).await.get("/x", &here).await.expect(503);
    let told = explained(&app, ("GET", "http://other.test/x", &[])).await;
    assert_eq!(outcome(&told), ("refused", "host", Some(421)), "{told}");
    gate.open();
    waiting.read_response().await.expect(200);
}

#[tokio::test]
async fn a_server_that_lets_clients_in_is_not_asked() {
    let (legacy, server) = (Legacy::start(), Legacy::start());
    server.set("/check", Reply::empty(204));
    legacy.set("/r/a", Reply::json("1"));
    let forward =
        format!(", share: public, authenticate: {{forward: {{url: 'http://{}/check'}}}}", server.address());
    let app = start_with(&legacy, Extra { route: &forward, ..Extra::default() });
    let ann = [("authorization", "Bearer secret-of-ann")];
    let told = explained(&app, ("GET", "/r/a", &ann)).await;
    assert_eq!((&told["outcome"]["after"], server.count("/check")), (&"identity".into(), 0), "{told}");
    http(&app).await.get("/r/a", &ann).await.expect(200);
    // What the server said is remembered.
    let told = explained(&app, ("GET", "/r/a", &ann)).await;
    assert_eq!(outcome(&told).0, "answered", "{told}");
    assert_ne!(told["outcome"]["after"], "identity", "{told}");
    let told = explained(&app, ("GET", "/r/a", &[])).await;
    assert_eq!(outcome(&told), ("refused", "authentication", Some(401)), "{told}");
    assert_eq!(server.count("/check"), 1);
}
