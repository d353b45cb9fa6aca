//! The operators' view: `/metrics`, `/live`, `/ready`, `/resources` (contract §12), on a listener
//! of its own, `/-/explain`, and the calls that have an effect: `POST /-/poll` (contract §9), `POST /-/end` (§11),
//! `POST /-/cluster/leave` and `/join` (§13), `POST /-/drain` (§12), `POST /-/reload` and `POST /-/routes` (§12); and the
//! dashboard at `/`.
//!
//! Must not know: clients' requests.

mod cluster;
mod context;
mod dashboard;
mod end;
mod explain;
mod reload;
mod resources;
mod response;
mod routes;
mod routes_off;
mod scrape;
mod socket;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use crate::config::host_name;
use cluster::Call;
use socket::Accepting;

pub use context::{
    Context, EndSubject, Explained, Explaining, NotSwitched, PollNow, Question, Reloaded, Switched,
    UpstreamView,
};
use dashboard::Dashboard;
use response::{Body, arguments, problem, text, typed, whole};
pub use socket::{Bound, unix};

/// Connections served at a time; more wait.
const CONNECTIONS_MAX: usize = 64;

/// The calls that have an effect.
const POLL: &str = "/-/poll";
const END: &str = "/-/end";
const LEAVE: &str = "/-/cluster/leave";
const JOIN: &str = "/-/cluster/join";
const RELOAD: &str = "/-/reload";
const DRAIN: &str = "/-/drain";
const ROUTES: &str = "/-/routes";

/// The call that says what becomes of a request, and changes nothing.
const EXPLAIN: &str = "/-/explain";

/// Serves the admin listener until `stop` turns true. To be called inside a runtime.
///
/// # Errors
/// The socket cannot be made non-blocking.
pub fn serve(context: Context, socket: Bound, stop: watch::Receiver<bool>) -> io::Result<()> {
    let listener = Accepting::on(socket)?;
    let (context, dashboard) = (Arc::new(context), Arc::new(Dashboard::new()));
    tokio::spawn(async move {
        let sampling = dashboard.sample(&context);
        let serving = accept(listener, context.clone(), dashboard.clone(), stop.clone());
        tokio::select! {
            () = serving => {}
            () = sampling => {}
        }
    });
    Ok(())
}

/// Accepts connections until `stop` turns true.
async fn accept(
    listener: Accepting,
    context: Arc<Context>,
    dashboard: Arc<Dashboard>,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let Ok(stream) = accepted else {
            // Descriptors are short: they may not be in a moment.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (context, dashboard) = (context.clone(), dashboard.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let (context, dashboard) = (context.clone(), dashboard.clone());
                async move { Ok::<_, Infallible>(answer(&context, &dashboard, &request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!("admin connection: {error}");
            }
            drop(permit);
        });
    }
}

/// Answers a request: with a stream of events for a dashboard, or with a whole answer.
async fn answer(
    context: &Arc<Context>,
    dashboard: &Arc<Dashboard>,
    request: &Request<Incoming>,
) -> Response<Body> {
    let (path, query) = (request.uri().path(), request.uri().query());
    if let Some(refused) = refuse(context, request) {
        return whole(refused);
    }
    match path {
        dashboard::STREAM if request.method() == Method::GET => dashboard.follow(context, query),
        dashboard::RESOURCES => whole(dashboard.list(context, query)),
        dashboard::REASONS => whole(dashboard::reasons()),
        _ => whole(whole_answer(context, request).await),
    }
}

/// What a request gets that goes no further: a probe, a file of the page, or the reason why it is not let in.
fn refuse(context: &Context, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    let path = request.uri().path();
    let is_call = matches!(path, POLL | END | LEAVE | JOIN | DRAIN | RELOAD | ROUTES)
        && request.method() == Method::POST;
    if !is_call && request.method() != Method::GET && request.method() != Method::HEAD {
        return Some(text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n"));
    }
    match path {
        "/live" => return Some(text(StatusCode::OK, "live\n")),
        "/ready" if (context.is_draining)() => {
            return Some(text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"));
        }
        "/ready" => return Some(text(StatusCode::OK, "ready\n")),
        _ => {}
    }
    if is_another_sites(context, request) {
        return Some(text(
            StatusCode::FORBIDDEN,
            "a browser asks this for another site, or by a name that is not this listener's: set admin.token, or name it in \
             admin.hosts\n",
        ));
    }
    // The page asks for the token itself; a program that reads `/` gets the list of paths as before.
    let is_page = path != "/" || dashboard::wants_page(request.headers());
    if let Some(file) = dashboard::file(path).filter(|_| is_page) {
        return Some(file);
    }
    if !is_authorized(context, request) {
        let mut response = text(StatusCode::UNAUTHORIZED, "admin.token is set: send it as a bearer token\n");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return Some(response);
    }
    None
}

/// Answers what is let in.
async fn whole_answer(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    match path {
        POLL => poll_now(context, request).await,
        END => end::end(context, request),
        LEAVE => cluster::call(context, request, Call::Leave).await,
        JOIN => cluster::call(context, request, Call::Join).await,
        RELOAD => reload::call(context, request).await,
        DRAIN => drain(context, request),
        ROUTES if request.method() == Method::POST => routes_off::call(context, request).await,
        ROUTES => {
            let mut list = json!({});
            routes::describe(&context.metrics, &(context.routes)(), &mut list);
            typed(StatusCode::OK, "application/json", format!("{list}\n").into())
        }
        EXPLAIN => explain::answer(context, request).await,
        "/metrics" => scrape::answer(context, request.headers()),
        "/resources" => {
            let mut list = resources::list(context);
            routes::describe(&context.metrics, &(context.routes)(), &mut list);
            let body = list.to_string();
            typed(StatusCode::OK, "application/json", format!("{body}\n").into())
        }
        "/" => text(
            StatusCode::OK,
            "/live /ready /metrics /resources /-/explain?url=…, POST /-/poll?url=…, POST /-/end?subject=…, POST /-/cluster/leave, \
             POST /-/cluster/join, POST /-/drain, POST /-/reload, /-/routes, POST /-/routes?path=…&poll=off\n",
        ),
        _ => text(StatusCode::NOT_FOUND, "known here: /live /ready /metrics /resources\n"),
    }
}

/// Begins a drain (contract §12). Since a drain ends the process, the request needs the token even from this machine.
fn drain(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if let Err(response) = arguments(request, []) {
        return *response;
    }
    if context.token.is_none() {
        return problem(StatusCode::FORBIDDEN, "this call ends the process: it needs admin.token");
    }
    if !(context.drain)() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "nothing here can end the process");
    }
    tracing::info!("an operator has the process drain");
    typed(StatusCode::ACCEPTED, "application/json", "{\"drain\":\"begun\"}\n".into())
}

/// Has resources polled as if a write had passed through (contract §9), on all nodes.
async fn poll_now(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let wanted = "say what to poll: /-/poll?url=/path or an absolute URL";
    let url = match arguments(request, ["url"]) {
        Ok([Some(url)]) => url,
        Ok([None]) => return problem(StatusCode::BAD_REQUEST, wanted),
        Err(response) => return *response,
    };
    match (context.poll_now)(url).await {
        Ok((0, false)) => problem(StatusCode::NOT_FOUND, "nothing follows this URL now"),
        // Resources of other nodes are not counted here.
        Ok((touched, _)) => {
            let body = format!("{}\n", json!({ "touched": touched }));
            typed(StatusCode::OK, "application/json", body.into())
        }
        Err(reason) => problem(StatusCode::BAD_REQUEST, reason),
    }
}

/// Whether a page of another site has a browser ask. An Origin says so; and without a token the
/// listener has no name but addresses, `localhost` and `admin.hosts`, so that any other name that leads here does
/// too (DNS rebinding), wherever it listens.
fn is_another_sites(context: &Context, request: &Request<Incoming>) -> bool {
    let said = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let host = said(header::HOST).or(request.uri().authority().map(|authority| authority.as_str()));
    let is_foreign = said(header::ORIGIN).is_some_and(|origin| {
        let place = origin.split_once("://").map(|(_, place)| place);
        place.is_none() || place != host
    });
    let is_renamed =
        context.is_tcp && context.token.is_none() && !host.is_none_or(|host| is_own(context, host));
    is_foreign || is_renamed
}

fn is_own(context: &Context, host: &str) -> bool {
    let name = host_name(host);
    name.is_empty()
        || name == "localhost"
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || context.hosts.contains(&name)
}

/// Compares digests, so that the time it takes says nothing about the token.
fn is_authorized(context: &Context, request: &Request<Incoming>) -> bool {
    let Some(token) = &context.token else {
        return true;
    };
    let sent =
        request.headers().get(header::AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
    sent.is_some_and(|sent| blake3::hash(sent) == blake3::hash(token.0.as_bytes()))
}
