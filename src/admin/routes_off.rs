//! `POST /-/routes`: an operator makes a route a plain proxy at once, until the next reload, or has it polled again.
//!
//! Must not know: how it is done.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;

use super::context::{Context, NotSwitched, Switched};
use super::response::{arguments, problem, typed};
use crate::hub::Ended;

const USAGE: &str = "say which route, as its path stands in the file, and whether it is polled: \
                     /-/routes?path=/prices/{symbol}&poll=off or poll=on";

/// Most routes that are named to a call that names none of them; of more the number is said.
const NAMED_ROUTES_MAX: usize = 100;

/// Answers 200 with what was switched and what has ended by it.
pub(super) async fn call(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (path, on) = match arguments(request, ["path", "poll"]) {
        Ok([Some(path), Some(poll)]) if poll == "on" || poll == "off" => (path, poll == "on"),
        Ok(_) => return problem(StatusCode::BAD_REQUEST, USAGE),
        Err(response) => return *response,
    };
    let poll = if on { "on" } else { "off" };
    match (context.switch_route)(path.clone(), on).await {
        Ok(Switched { routes, ended }) => {
            tell(&path, on, routes, ended);
            let ended = json!({ "resources": ended.resources, "followers": ended.followers });
            let body = json!({ "path": path, "poll": poll, "switched": routes, "ended": ended });
            typed(StatusCode::OK, "application/json", format!("{body}\n").into())
        }
        Err(NotSwitched::Unknown(known)) => unknown(&path, known),
        Err(NotSwitched::Configured) => {
            let detail = "the file says poll: off for this route: change it there, and reload";
            problem(StatusCode::CONFLICT, detail)
        }
        Err(NotSwitched::Draining) => problem(StatusCode::SERVICE_UNAVAILABLE, "the process is about to end"),
        Err(NotSwitched::Failed(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

fn tell(route: &str, on: bool, switched: usize, Ended { resources, followers }: Ended) {
    match (switched, on) {
        (0, _) => tracing::info!(route, on, "an operator switches a route that is so already"),
        (_, true) => tracing::info!(route, "an operator has switched the route on: it is polled again"),
        (_, false) => tracing::warn!(
            route,
            ended_resources = resources,
            ended_followers = followers,
            "an operator has switched the route off: its requests pass through until the next reload"
        ),
    }
}

/// No route has this path: names those that there are.
fn unknown(path: &str, mut known: Vec<String>) -> Response<Full<Bytes>> {
    known.sort_unstable();
    let count = known.len();
    known.truncate(NAMED_ROUTES_MAX);
    let body = json!({
        "title": "Not Found",
        "status": 404,
        "detail": format!("no route has the path {path:?}; it has to be written as in the file"),
        "routes": known,
        "routes_count": count,
    });
    typed(StatusCode::NOT_FOUND, "application/problem+json", format!("{body}\n").into())
}
