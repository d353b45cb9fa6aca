//! Contract §5: server-sent events, end to end.

use crate::support::app;
use crate::support::client::Sse;
use crate::support::legacy::{Legacy, Reply};

/// One upstream, one covered route, everything else passed through.
pub fn config(legacy: &Legacy, route: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         routes: [{{path: '/prices/{{symbol}}', upstream: legacy{route}}}]\n",
        legacy.address()
    )
}

#[tokio::test]
async fn a_stream_gets_the_state_and_then_each_change() {
    let legacy = Legacy::start();
    legacy.set("/prices/A", Reply::json(r#"{"price":1}"#));
    let app = app::start(&config(&legacy, ", poll: {interval: 100ms}"));
    let mut sse = Sse::open(app.addresses()[0], "/prices/A", &[]).await;
    let first = sse.next_event().await;
    assert_eq!(first.data, r#"{"price":1}"#);
    legacy.set("/prices/A", Reply::json(r#"{"price":2}"#));
    let second = sse.next_event().await;
    assert_eq!(second.data, r#"{"price":2}"#);
    assert_ne!(first.id, second.id);
}
