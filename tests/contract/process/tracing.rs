//! `tracing.otlp`: spans reach a collector over both protocols, go on with traces of clients, and never hold anything up.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::contract::{FAST, ONCE, Stand, config};
use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Folder;
use crate::support::sse::Sse;
use crate::support::tls::Authority;
use crate::support::wire::within;

const TRACES: &str = "/v1/traces";

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector that takes spans over HTTP.
fn collector() -> Legacy {
    let collector = Legacy::start();
    collector.set(TRACES, Reply::new("application/x-protobuf", ""));
    collector
}

/// pollcast whose spans go to a collector. `otlp`: more keys.
fn stand(route: &str, endpoint: &str, otlp: &str) -> Stand {
    let legacy = Legacy::start();
    let top = format!("tracing: {{otlp: {{endpoint: '{endpoint}', {otlp}}}}}");
    let app = app::start(&config(&legacy, &format!("{route}, share: public"), &top));
    legacy.set("/prices/A", Reply::json("1"));
    Stand { legacy, app }
}

fn over_http(route: &str, collector: &Legacy, otlp: &str) -> Stand {
    stand(route, &format!("http://{}", collector.address()), otlp)
}

fn spans_of(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

fn received(collector: &Legacy) -> Vec<ExportTraceServiceRequest> {
    let bodies = collector.seen(TRACES).into_iter();
    bodies.map(|seen| ExportTraceServiceRequest::decode(seen.body).expect("OTLP")).collect()
}

/// Waits for a span of this name that is `wanted`.
async fn span(collector: &Legacy, name: &str, wanted: impl Fn(&Span) -> bool) -> Span {
    let found = async {
        for requests in 1.. {
            let spans = received(collector).into_iter().flat_map(|request| spans_of(&request));
            if let Some(span) = spans.into_iter().find(|span| span.name == name && wanted(span)) {
                return span;
            }
            collector.wait_count(TRACES, requests).await;
        }
        unreachable!("the loop has no end")
    };
    within(format!("a span {name}"), found).await
}

fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == name).and_then(|a| a.value.clone());
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn polls_publishes_and_connects_are_spans_of_a_named_resource() {
    let collector = collector();
    let more =
        "headers: {x-collector-key: ours}, service_name: edge, resource: {deployment.environment: test}";
    let stand = over_http(FAST, &collector, more);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_named("message").await;
    let poll =
        span(&collector, "poll", |poll| attribute(&poll.attributes, "pollcast.outcome") == "changed").await;
    assert_eq!(attribute(&poll.attributes, "http.route"), "/prices/{symbol}");
    assert_eq!(attribute(&poll.attributes, "http.response.status_code"), "200");
    let (trace, id) = (poll.trace_id.clone(), poll.span_id.clone());
    let publish = span(&collector, "publish", |publish| publish.parent_span_id == id).await;
    assert_eq!(publish.trace_id, trace);
    let field = format!("00-{}-{}-01", hex(&trace), hex(&id));
    stand.legacy.wait_seen("the poll of that span", |seen| seen.header("traceparent") == Some(&field)).await;
    let connect = span(&collector, "connect", |_| true).await;
    assert_eq!(attribute(&connect.attributes, "pollcast.transport"), "sse");
    let request = received(&collector).remove(0);
    let resource = request.resource_spans[0].resource.clone().expect("a resource").attributes;
    assert_eq!(attribute(&resource, "service.name"), "edge");
    assert_eq!(attribute(&resource, "deployment.environment"), "test");
    assert_eq!(collector.seen(TRACES)[0].header("x-collector-key"), Some("ours"));
    // The time of the poll leads to its trace: a poll is in a bucket a moment before its span is at the collector.
    let mut admin = Http::connect(stand.app.admin_address().expect("an admin listener")).await;
    let accept = [("accept", "application/openmetrics-text")];
    let mut exemplars = HashSet::new();
    let led = async {
        loop {
            let scraped = admin.get("/metrics", &accept).await.expect(200).text();
            let buckets =
                scraped.lines().filter(|line| line.starts_with("pollcast_poll_duration_seconds_bucket"));
            let of_buckets = buckets.filter_map(|line| line.split_once(" # {trace_id=\""));
            exemplars.extend(of_buckets.map(|(_, id)| id[..32].to_owned()));
            assert!(!exemplars.is_empty(), "{scraped}");
            let mut known = received(&collector).into_iter().flat_map(|request| spans_of(&request));
            if known.any(|span| exemplars.contains(&hex(&span.trace_id))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("a bucket that leads to a trace", led).await;
    // They are counted when the collector's answer is here.
    let counted = async {
        while stand.metric("pollcast_otlp_spans_total", "exported").await < 3.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("three spans that are counted", counted).await;
}

#[tokio::test]
async fn a_request_for_several_resources_is_a_span_that_the_api_goes_on_with() {
    let collector = collector();
    let batch = "poll: {interval: 1h, batch: {param: ids, items: /items, key: /id, window: 100ms}}";
    let stand = over_http(batch, &collector, "");
    stand.legacy.set("/prices", Reply::json(r#"{"items":[{"id":"A"},{"id":"B"}]}"#));
    for path in ["/prices/A", "/prices/B"] {
        Sse::open(stand.address(), path, &[]).await.next_named("message").await;
    }
    let batch = span(&collector, "poll.batch", |_| true).await;
    assert_eq!(attribute(&batch.attributes, "http.route"), "/prices/{symbol}");
    assert_eq!(attribute(&batch.attributes, "http.response.status_code"), "200");
    assert_eq!(attribute(&batch.attributes, "pollcast.resources"), "1");
    let field = format!("00-{}-{}-01", hex(&batch.trace_id), hex(&batch.span_id));
    stand.legacy.wait_seen("the batch of that span", |seen| seen.header("traceparent") == Some(&field)).await;
}

#[tokio::test]
async fn what_passes_through_goes_on_with_the_clients_trace() {
    let collector = collector();
    let stand = over_http(ONCE, &collector, "");
    stand.legacy.set("/elsewhere", Reply::json("1").status(201));
    let said = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [("traceparent", said.as_str()), ("tracestate", "vendor=1")];
    stand.http().await.get("/elsewhere", &headers).await.expect(201);
    let span = span(&collector, "passthrough", |_| true).await;
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.into(), "00f067aa0ba902b7".into()));
    assert_eq!(attribute(&span.attributes, "http.response.status_code"), "201");
    assert_eq!(attribute(&span.attributes, "pollcast.reason"), "uncovered");
    let seen = stand.legacy.seen("/elsewhere").remove(0);
    assert_eq!(seen.headers("traceparent"), [format!("00-{TRACE}-{}-01", hex(&span.span_id))]);
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
}

#[tokio::test]
async fn a_trace_that_is_not_recorded_goes_through_as_it_is() {
    let collector = collector();
    let stand = over_http(ONCE, &collector, "");
    stand.legacy.set("/elsewhere", Reply::json("1"));
    let said = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let mut http = stand.http().await;
    http.get("/elsewhere", &[("traceparent", &said)]).await.expect(200);
    assert_eq!(stand.legacy.seen("/elsewhere")[0].header("traceparent"), Some(said.as_str()));
    // One that is none is no client's trace.
    http.get("/elsewhere", &[("traceparent", "00-nonsense")]).await.expect(200);
    let span = span(&collector, "passthrough", |_| true).await;
    assert!(span.parent_span_id.is_empty() && hex(&span.trace_id) != TRACE, "{span:?}");
}

#[tokio::test]
async fn without_tracing_no_field_is_said_or_touched() {
    let stand = Stand::start(&format!("{FAST}, share: public"));
    stand.legacy.set("/prices/A", Reply::json("1"));
    stand.legacy.set("/elsewhere", Reply::json("1"));
    let said = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let mut http = stand.http().await;
    http.get("/elsewhere", &[("traceparent", &said)]).await.expect(200);
    assert_eq!(stand.legacy.seen("/elsewhere")[0].header("traceparent"), Some(said.as_str()));
    http.get("/prices/A", &[("traceparent", &said)]).await.expect(200);
    assert_eq!(
        stand.legacy.seen("/prices/A")[0].header("traceparent"),
        None,
        "a poll says nothing of a client"
    );
    assert_eq!(stand.metric("pollcast_otlp_spans_total", "").await, 0.0);
}

#[tokio::test]
async fn a_collector_that_fails_or_hangs_holds_nothing_up_and_is_counted() {
    let collector = collector();
    collector.once(TRACES, Reply::empty(400));
    let stand = over_http(ONCE, &collector, "timeout: 1s, queue: 64");
    stand.legacy.set("/elsewhere", Reply::json("1"));
    let mut http = stand.http().await;
    http.get("/elsewhere", &[]).await.expect(200);
    stand.metric_becomes("pollcast_otlp_spans_total", "failed", 1.0).await;
    collector.set(TRACES, Reply::silence());
    let answered = async {
        for _ in 0..700 {
            http.get("/elsewhere", &[]).await.expect(200);
        }
    };
    within("700 answers", answered).await;
    let counted = async {
        while stand.metric("pollcast_otlp_spans_total", "dropped").await == 0.0 {
            http.get("/elsewhere", &[]).await.expect(200);
        }
    };
    within("spans without room", counted).await;
}

/// A collector that takes spans over gRPC.
struct Grpc(mpsc::Sender<(ExportTraceServiceRequest, Option<String>)>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let key =
            request.metadata().get("x-collector-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        let sent = self.0.send((request.into_inner(), key)).await;
        sent.map_err(|_| tonic::Status::unavailable("the test is over"))?;
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What a collector over gRPC got: a request, and its field `x-collector-key`.
type Exported = mpsc::Receiver<(ExportTraceServiceRequest, Option<String>)>;

/// A collector that takes spans over gRPC: where it is, what it gets, and the task that serves.
async fn grpc_collector() -> (SocketAddr, Exported, JoinHandle<Result<(), tonic::transport::Error>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, requests) = mpsc::channel(16);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Grpc(sender)));
    (address, requests, tokio::spawn(server.serve_with_incoming(incoming)))
}

/// A port that is led on to this address once TLS is done.
async fn before_it(authority: &Authority, to: SocketAddr) -> u16 {
    let acceptor = authority.certify(&["localhost"]).acceptor_of_http2();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not believe the certificate leaves.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut to = TcpStream::connect(to).await.expect("the collector");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut to).await });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_reach_a_collector_over_grpc_with_tls_that_is_believed() {
    let (address, mut requests, serving) = grpc_collector().await;
    let (authority, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    let port = before_it(&authority, address).await;
    for (authority, outcome) in [(&other, "failed"), (&authority, "exported")] {
        let ca = folder.write("ca.pem", &authority.pem);
        let settings = format!("protocol: grpc, ca: '{}'", ca.display());
        let stand = stand(ONCE, &format!("https://localhost:{port}"), &settings);
        stand.legacy.set("/elsewhere", Reply::json("1"));
        stand.http().await.get("/elsewhere", &[]).await.expect(200);
        stand.metric_becomes("pollcast_otlp_spans_total", outcome, 1.0).await;
    }
    let (request, _) = within("spans", requests.recv()).await.expect("a request");
    assert_eq!(spans_of(&request)[0].name, "passthrough");
    assert!(requests.try_recv().is_err(), "it was sent where it is not believed");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_reach_a_collector_over_grpc() {
    let (address, mut requests, serving) = grpc_collector().await;
    let stand = stand(ONCE, &format!("http://{address}"), "protocol: grpc, headers: {x-collector-key: ours}");
    stand.legacy.set("/elsewhere", Reply::json("1"));
    stand.http().await.get("/elsewhere", &[]).await.expect(200);
    let (request, key) = within("spans", requests.recv()).await.expect("a request");
    assert_eq!(key.as_deref(), Some("ours"));
    assert_eq!(spans_of(&request)[0].name, "passthrough");
    stand.metric_becomes("pollcast_otlp_spans_total", "exported", 1.0).await;
    serving.abort();
    tokio::time::timeout(Duration::from_secs(1), serving)
        .await
        .expect("it ends")
        .expect_err("it was aborted");
}
