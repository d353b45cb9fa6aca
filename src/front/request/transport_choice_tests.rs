//! The table of contract §1.

use super::*;
use crate::config::load_str;

fn route(more: &str) -> std::sync::Arc<Route> {
    let text = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{a: {{servers: ['127.0.0.1:1']}}}}\n\
         routes: [{{path: /a, upstream: a{more}}}]\n"
    );
    load_str(&text, "test.yaml", std::path::Path::new(".")).unwrap().routes[0].clone()
}

/// Name and value of a request field.
type Field = (&'static str, &'static str);

fn ask(route: &Route, fields: &[Field], query: Option<&str>) -> Form {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, http::HeaderValue::from_static(value));
    }
    form(route, &Method::GET, &headers, query, "application/json")
}

#[test]
fn the_table() {
    let route = route("");
    let seconds = |s| Form::LongPoll(Duration::from_secs(s));
    let cases: &[(&[Field], Option<&str>, Form)] = &[
        (&[], None, Form::Poll),
        (&[("accept", "*/*")], None, Form::Poll),
        (&[("accept", "text/event-stream")], None, Form::Sse),
        (&[("accept", "text/*")], None, Form::Poll),
        (&[("accept", "text/event-stream, application/json")], None, Form::Sse),
        (&[("accept", "application/json, text/event-stream;q=0.9")], None, Form::Poll),
        (&[("accept", "application/json;q=0.5, text/event-stream;q=0.5")], None, Form::Sse),
        (&[("accept", "text/event-stream;q=0")], None, Form::Poll),
        (&[("accept", "text/event-stream;q=0.5, */*")], None, Form::Poll),
        (&[("accept", "Text/Event-Stream;delta=json-patch")], None, Form::Sse),
        (&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")], None, Form::WebSocket),
        (&[("upgrade", "h2c"), ("connection", "Upgrade")], None, Form::Poll),
        (&[("upgrade", "websocket")], None, Form::Poll),
        (&[("prefer", "wait=30")], None, seconds(30)),
        (&[("wait", "10")], None, seconds(10)),
        (&[("prefer", "wait=0")], None, Form::Poll),
        (&[], Some("_wait=1m"), seconds(60)),
        (&[], Some("a=b&_push=sse"), Form::Sse),
        (&[("accept", "text/event-stream")], Some("_push=poll"), Form::Poll),
        (&[("accept", "text/event-stream"), ("prefer", "wait=5")], None, Form::Sse),
    ];
    for (fields, query, wanted) in cases {
        assert_eq!(ask(&route, fields, *query), *wanted, "{fields:?} {query:?}");
    }
}

#[test]
fn a_transport_that_is_not_allowed_falls_to_the_next_rule() {
    let route = route(", transports: [poll]");
    assert_eq!(ask(&route, &[("upgrade", "websocket"), ("connection", "upgrade")], None), Form::PassThrough);
    assert_eq!(ask(&route, &[("accept", "text/event-stream")], None), Form::NotAcceptable);
    assert_eq!(ask(&route, &[("accept", "text/event-stream, application/json")], None), Form::Poll);
    assert_eq!(ask(&route, &[("prefer", "wait=30")], None), Form::Poll);
}

#[test]
fn switches_can_be_turned_off() {
    let route = route(", switches: {push: off, wait: off, wait_header: false}");
    assert_eq!(ask(&route, &[("wait", "10")], Some("_push=sse&_wait=3")), Form::Poll);
}

#[test]
fn head_is_never_held_nor_streamed() {
    let route = route("");
    let mut headers = HeaderMap::new();
    headers.insert("prefer", http::HeaderValue::from_static("wait=30"));
    headers.insert("accept", http::HeaderValue::from_static("text/event-stream"));
    assert_eq!(form(&route, &Method::HEAD, &headers, None, "application/json"), Form::Poll);
}
