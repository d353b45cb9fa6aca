//! An event stream of many resources (`/-/pollcast/events`): which ones, which of them may be had, and
//! where each resumes.
//!
//! Must not know: what is sent after the head.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, Version as HttpVersion};
use pingora::http::RequestHeader;
use tokio::task::JoinSet;

use super::sse::{heartbeat, retry, say_framing};
use crate::config::{Route, Switches};
use crate::fanout::{ClientPermit, Following};
use crate::frame::Format;
use crate::front::access::admit::{Admitted, Refused, Visitor, Way};
use crate::front::access::client_limit::permit;
use crate::front::application::Front;
use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::front::decision::{Boarding, Decision, Departure};
use crate::front::request::body::Body;
use crate::front::request::route::Match;
use crate::front::request::{body, cors, hosts, presence_choice};
use crate::hub::{Resume, Subscription};
use crate::metrics::RefusalReason;
use crate::resource::resume_switch;
use crate::transport::{Framing, SseMany, Transport, answer, tags};

/// Longest list of resources in a body, bytes.
const LIST_BYTES_MAX: usize = 64 * 1024;

/// The name of a state that the client does not have.
const NOTHING: [u8; 6] = [0; 6];

/// Most resources of one stream, whatever the limits say.
const RESOURCES_MAX: usize = 200;

/// Decides about the stream.
///
/// # Errors
/// The body of the request cannot be read.
pub(in crate::front) async fn serve(
    front: &Front,
    mut connection: Connection<'_>,
    ctx: &mut Context,
) -> pingora::Result<Decision> {
    if cors::asks(connection.head()) {
        ctx.answer = "preflight";
        return Ok(cors::preflight_of_any(&connection.head().headers, &front.shared.config));
    }
    let permit = match permit(&front.shared, ctx, None, true) {
        Ok(permit) => permit,
        Err(reason) => {
            let route = route_of_first(front, connection.head());
            return Ok(Decision::refuse_for_now(route, true, reason));
        }
    };
    let resources = match asked(&mut connection, ctx).await? {
        ControlFlow::Continue(resources) => resources,
        ControlFlow::Break(decision) => return Ok(decision),
    };
    let most = front.shared.config.limits.resources_per_client.min(RESOURCES_MAX);
    if resources.is_empty() || resources.len() > most {
        let detail = format!("{} resources are asked for; 1 to {most} are possible", resources.len());
        return Ok(Decision::refuse(RefusalReason::ResourcesPerClient, StatusCode::BAD_REQUEST, detail));
    }
    let visitor = Visitor::of(front, &connection, ctx);
    let permit = permit.with_entitlement(visitor.entitlement.clone());
    let admitted = admit_all(visitor, &resources).await;
    let route = admitted.iter().find_map(|one| one.as_ref().ok().map(|one| one.route.clone()));
    let Some(route) = route else {
        let refused = admitted.into_iter().find_map(Result::err);
        let refused = refused.map(|refused| (refused.status, refused.detail));
        let (status, detail) = refused.unwrap_or((StatusCode::NOT_FOUND, "nothing of it can be had".into()));
        return Ok(Decision::refuse(RefusalReason::NoResource, status, detail));
    };
    Ok(follow(front, &connection, &route, (resources, admitted), permit))
}

/// The route of the first resource, where the head says which that is: a client that has no place is refused as that
/// one would refuse it.
fn route_of_first(front: &Front, request: &RequestHeader) -> Option<Arc<Route>> {
    let first = named(request).into_iter().next()?;
    let host = hosts::routed(&front.listener, hosts::host(request));
    match front.shared.routes.find(host, first.split('?').next()?) {
        Match::Covered { route, .. } => Some(route),
        _ => None,
    }
}

/// Has the client follow what was admitted, and tells it what was not. `route`: of the first resource.
fn follow(
    front: &Front,
    connection: &Connection<'_>,
    route: &Route,
    (resources, admitted): (Vec<String>, Vec<Result<Admitted, Refused>>),
    permit: ClientPermit,
) -> Decision {
    let request = connection.head();
    let is_http11 = request.version == HttpVersion::HTTP_11;
    let framing = if is_http11 { Framing::Chunked } else { Framing::Bare };
    let known = known(request, resources.len());
    let many = SseMany::new(framing, heartbeat(route), retry(route), known.clone(), Instant::now());
    let mut headers = answer::event_stream();
    let is_http2 = connection.is_http2();
    if !is_http2 {
        say_framing(&mut headers, framing);
    }
    admit_origin(&mut headers, &request.headers, &admitted);
    let mut opening = BytesMut::from(&many.opening()[..]);
    let shard = (!is_http2).then(|| front.shared.fanout.choose());
    let mut following = Vec::new();
    let watches = presence_choice::asks_for_many(&request.headers, request.uri.query());
    for (index, (name, one)) in resources.into_iter().zip(admitted).enumerate() {
        match one {
            Ok(mut one) => {
                one.take_seat(&front.shared);
                let mut subscription = subscription(one, shard, known[index], &permit);
                if watches {
                    subscription.watch_presence();
                }
                following.push((Arc::from(name), index, subscription));
            }
            Err(Refused { status, detail }) => {
                opening.extend_from_slice(&many.error(&name, status.as_u16(), &detail));
            }
        }
    }
    let (transport, following) = (Transport::SseMany(Box::new(many)), Following::Many(following));
    let Some(shard) = shard else {
        let opening = opening.freeze();
        return Decision::Board(Box::new(Boarding { headers, opening, transport, following, permit }));
    };
    let mut greeting = answer::head_bytes(StatusCode::OK, &headers, b"", !is_http11);
    greeting.extend_from_slice(&opening);
    let (greeting, permit) = (greeting.freeze(), Some(permit));
    let departure =
        Departure { shard, greeting, transport, following, permit, messages: None, answered: None };
    Decision::HandOver(Box::new(departure))
}

/// The client's position in one resource. `known`: the state with which it comes back.
fn subscription(one: Admitted, shard: Option<u16>, known: [u8; 6], permit: &ClientPermit) -> Subscription {
    let Admitted { route, attendance, revocable, .. } = one;
    permit.entitlement().iter().for_each(|entitlement| entitlement.add(None, revocable.clone()));
    let resume = match attendance.topic().version_of(known) {
        None if known == NOTHING => Resume::Start,
        None => Resume::Tag(known),
        Some(version) if route.feed.is_some() => Resume::Item(version.to_string().into()),
        Some(version) => Resume::From(version),
    };
    Subscription::new(attendance, shard, Format::Named, resume)
}

/// The resources that the query names.
fn named(request: &RequestHeader) -> Vec<String> {
    let query = request.uri.query().unwrap_or_default();
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("resource="));
    unique(values.map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()))
}

/// The resources that the request names, in its query or as a JSON list in its body. Breaks if it names none so.
async fn asked(
    connection: &mut Connection<'_>,
    ctx: &Context,
) -> pingora::Result<ControlFlow<Decision, Vec<String>>> {
    let (reason, status, detail) = match connection.head().method.as_str() {
        "GET" => return Ok(ControlFlow::Continue(named(connection.head()))),
        "POST" | "QUERY" => match body::read(connection, ctx, LIST_BYTES_MAX).await? {
            Body::Refused(decision) => return Ok(ControlFlow::Break(decision)),
            Body::Whole(body) => match serde_json::from_slice::<Vec<String>>(&body) {
                Ok(resources) => return Ok(ControlFlow::Continue(unique(resources.into_iter()))),
                Err(error) => {
                    let detail = format!("the body is not a JSON list of paths: {error}");
                    (RefusalReason::Body, StatusCode::BAD_REQUEST, detail)
                }
            },
        },
        _ => (RefusalReason::Method, StatusCode::METHOD_NOT_ALLOWED, "GET, POST or QUERY".to_owned()),
    };
    Ok(ControlFlow::Break(Decision::refuse(reason, status, detail)))
}

/// Each once: the order names the states.
fn unique(resources: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    // One more than there may be is enough to refuse it.
    resources.filter(|resource| seen.insert(resource.clone())).take(RESOURCES_MAX + 1).collect()
}

/// All at once: a cold one must not hold up the others.
async fn admit_all(visitor: Visitor, resources: &[String]) -> Vec<Result<Admitted, Refused>> {
    let visitor = Arc::new(visitor);
    let mut tasks = JoinSet::new();
    for (index, resource) in resources.iter().cloned().enumerate() {
        let visitor = visitor.clone();
        tasks.spawn(async move { (index, visitor.admit(&resource, Way::Sse).await) });
    }
    let mut admitted: Vec<Option<Result<Admitted, Refused>>> = resources.iter().map(|_| None).collect();
    while let Some(done) = tasks.join_next().await {
        if let Ok((index, result)) = done {
            admitted[index] = Some(result);
        }
    }
    let lost = || Refused {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        detail: "its admission ended unexpectedly".to_owned(),
    };
    admitted.into_iter().map(|one| one.unwrap_or_else(|| Err(lost()))).collect()
}

/// The states that the client comes back with, by the place of their resources in its request.
fn known(request: &RequestHeader, resources: usize) -> Vec<[u8; 6]> {
    let header = request.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let query = || resume_switch(request.uri.query(), &Switches::default());
    let id = header.map(str::to_owned).filter(|id| !id.is_empty()).or_else(query);
    id.and_then(|id| tags(&id, resources)).unwrap_or_else(|| vec![NOTHING; resources])
}

/// Another origin may read the stream if every route on it lets that origin in; the others were
/// refused one by one.
fn admit_origin(headers: &mut HeaderMap, request: &HeaderMap, admitted: &[Result<Admitted, Refused>]) {
    let routes = admitted.iter().filter_map(|one| one.as_ref().ok()).map(|one| &*one.route);
    cors::add_of_all(headers, routes, request);
}
