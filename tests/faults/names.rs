//! Servers whose names do not resolve: their own clients are told, all others are none the worse. (Names that resolve
//! later, no more, or to something else need a resolver that does as it is told: see the tests of `upstream`.)
//!
//! Must not know: how names are resolved.

use std::time::{Duration, Instant};

use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;

#[tokio::test]
async fn a_server_without_an_address_is_told_to_its_own_clients_and_delays_nobody_elses() {
    let legacy = Legacy::start();
    legacy.set("/good/a", Reply::json("0"));
    let app = app::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams:\n\
         \x20 good: {{servers: ['{address}', 'also.nowhere.invalid:80']}}\n\
         \x20 lost: {{servers: ['nowhere.invalid:80']}}\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         defaults: {{stale_after: 0s, poll: {{interval: 100ms, timeout: 1s, backoff: {{min: 100ms, max: 300ms}}}}}}\n\
         routes: [{{path: '/good/{{name}}', upstream: good}}, {{path: '/lost/{{name}}', upstream: lost}}]\n",
        address = legacy.address()
    ));
    let address = app.addresses()[0];
    // Whatever the system's resolver takes for it, what is literal is there at once.
    let mut good = Sse::open(address, "/good/a", &[]).await;
    assert_eq!(good.next_event().await.data, "0");
    let mut lost = Sse::open(address, "/lost/a", &[]).await;
    for state in 1..20 {
        legacy.set("/good/a", Reply::json(state.to_string()));
        let began = Instant::now();
        assert_eq!(good.next_event().await.data, state.to_string());
        assert!(began.elapsed() < Duration::from_secs(2), "delayed by {:?}", began.elapsed());
    }
    let stale = lost.next_named("stale").await;
    assert!(stale.data.contains("lost") && !stale.data.contains("nowhere"), "{stale:?}");
    let mut http = Http::connect(address).await;
    let answer = http.get("/lost/a", &[]).await;
    assert!(matches!(answer.status, 502..=504), "{answer:?}");
    good.expect_no_event(Duration::from_millis(200)).await;
}
