//! An event stream of many resources (`/-/pollcast/events`): which ones, which of them may be had, and
//! where each resumes.
//!
//! Must not know: what is sent after the head.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, StatusCode, Version as HttpVersion, header};
use pingora::Result;
use pingora::proxy::Session;
use tokio::task::JoinSet;

use super::envelope::visitor;
use super::sse::{heartbeat, retry};
use crate::config::Switches;
use crate::fanout::{Following, ManyStream, Record, drive_many};
use crate::frame::Format;
use crate::front::access::admit::{Admitted, Refused, Visitor, Way};
use crate::front::access::client_limit::{seat, staying};
use crate::front::application::Front;
use crate::front::context::Context;
use crate::front::decision::Fate;
use crate::front::hand_over::{Departure, depart};
use crate::front::request::body::Body;
use crate::front::request::route::Match;
use crate::front::request::{body, cors, hosts};
use crate::front::{refuse, respond};
use crate::hub::{Resume, Subscription};
use crate::listener::http2;
use crate::resource::resume_switch;
use crate::transport::{Framing, SseMany, Transport, answer, tags};

/// Longest list of resources in a body, bytes.
const LIST_BYTES_MAX: usize = 64 * 1024;

/// The name of a state that the client does not have.
const NOTHING: [u8; 6] = [0; 6];

/// Most resources of one stream, whatever the limits say.
const MOST: usize = 200;

/// Serves the stream.
pub(in crate::front) async fn serve(front: &Front, session: &mut Session, ctx: &mut Context) -> Result<Fate> {
    if cors::asks(session.req_header()) {
        return cors::preflight_of_any(session, ctx, &front.shared.config).await;
    }
    let seat = match seat(&front.shared, ctx, None, true) {
        Ok(seat) => seat,
        Err(reason) => {
            // As the first of them would refuse it, where the head says which that is.
            let first = named(session).into_iter().next();
            let route = first.and_then(|first| {
                let host = hosts::routed(&front.listener, hosts::host(session.req_header()));
                match front.shared.routes.find(host, first.split('?').next()?) {
                    Match::Covered { route, .. } => Some(route),
                    _ => None,
                }
            });
            return refuse::for_now(session, ctx, route.as_deref(), true, reason).await;
        }
    };
    let resources = match asked(session, ctx).await? {
        Ok(resources) => resources,
        Err(fate) => return Ok(fate),
    };
    let most = front.shared.config.limits.resources_per_client.min(MOST);
    if resources.is_empty() || resources.len() > most {
        let detail = format!("{} resources are asked for; 1 to {most} are possible", resources.len());
        return refuse::with(session, ctx, StatusCode::BAD_REQUEST, &detail).await;
    }
    let visitor = visitor(front, session, ctx);
    let pass = visitor.pass.clone();
    let seat = seat.with_pass(pass.clone());
    let admitted = admit_all(visitor, &resources).await;
    let route = admitted.iter().find_map(|one| one.as_ref().ok().map(|one| one.route.clone()));
    let Some(route) = route else {
        let refused = admitted.into_iter().find_map(std::result::Result::err);
        let refused = refused.map(|refused| (refused.status, refused.detail));
        let (status, detail) = refused.unwrap_or((StatusCode::NOT_FOUND, "nothing of it can be had".into()));
        return refuse::with(session, ctx, status, &detail).await;
    };
    let is_http11 = session.req_header().version == HttpVersion::HTTP_11;
    let framing = if is_http11 { Framing::Chunked } else { Framing::Bare };
    let known = known(session, resources.len());
    let many = SseMany::new(framing, heartbeat(&route), retry(&route), known.clone(), Instant::now());
    let mut headers = refuse::event_stream_head();
    let is_http2 = session.is_http2();
    match framing {
        _ if is_http2 => None,
        Framing::Chunked => headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        Framing::Bare => headers.insert(header::CONNECTION, HeaderValue::from_static("close")),
    };
    admit_origin(&mut headers, session, &admitted);
    let mut opening = BytesMut::from(&many.opening()[..]);
    let shard = (!is_http2).then(|| front.shared.fanout.choose());
    let mut following = Vec::new();
    for (index, (name, one)) in resources.into_iter().zip(admitted).enumerate() {
        match one {
            Ok(Admitted { route, attendance, hold, .. }) => {
                pass.add(None, hold);
                let held = attendance.topic().version_of(known[index]);
                let resume = match held {
                    None if known[index] == NOTHING => Resume::Start,
                    None => Resume::Tag(known[index]),
                    Some(version) if route.feed.is_some() => Resume::Item(version.to_string().into()),
                    Some(version) => Resume::From(version),
                };
                let subscription = Subscription::new(attendance, shard, Format::Named, resume);
                following.push((Arc::from(name), index, subscription));
            }
            Err(Refused { status, detail }) => {
                opening.extend_from_slice(&many.error(&name, status.as_u16(), &detail));
            }
        }
    }
    let transport = Transport::SseMany(Box::new(many));
    let Some(shard) = shard else {
        let head = respond::head(StatusCode::OK, &headers)?;
        session.write_response_header(Box::new(head), false).await?;
        ctx.taken = true;
        ctx.answer = transport.name();
        let shared = front.shared.clone();
        let record = Record::new(ctx.client);
        http2::board(session, |session| async move {
            let stream = ManyStream {
                session,
                transport,
                following,
                record,
                metrics: shared.metrics.clone(),
                stall_timeout: shared.config.limits.stall_timeout,
                ending: shared.ending.clone(),
                stay: staying(&shared, &seat),
            };
            drive_many(stream, opening.freeze(), shared.config.log.access).await;
            drop(seat);
        })
        .await?;
        return Ok(Fate::Answered);
    };
    let mut greeting = answer::head_bytes(StatusCode::OK, &headers, b"", !is_http11);
    greeting.extend_from_slice(&opening);
    let departure = Departure {
        shard,
        greeting: greeting.freeze(),
        transport,
        following: Following::Many(following),
        seat: Some(seat),
        messages: None,
    };
    depart(front, session, ctx, departure).await
}

/// The resources that the query names.
fn named(session: &Session) -> Vec<String> {
    let query = session.req_header().uri.query().unwrap_or_default();
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("resource="));
    unique(values.map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()))
}

/// The resources that the request names, in its query or as a JSON list in its body; or what it was told instead.
async fn asked(session: &mut Session, ctx: &mut Context) -> Result<std::result::Result<Vec<String>, Fate>> {
    let (status, detail) = match session.req_header().method.as_str() {
        "GET" => return Ok(Ok(named(session))),
        "POST" | "QUERY" => match body::read(session, ctx, LIST_BYTES_MAX).await? {
            Body::Refused(fate) => return Ok(Err(fate)),
            Body::Whole(body) => match serde_json::from_slice::<Vec<String>>(&body) {
                Ok(resources) => return Ok(Ok(unique(resources.into_iter()))),
                Err(error) => {
                    (StatusCode::BAD_REQUEST, format!("the body is not a JSON list of paths: {error}"))
                }
            },
        },
        _ => (StatusCode::METHOD_NOT_ALLOWED, "GET, POST or QUERY".to_owned()),
    };
    refuse::with(session, ctx, status, &detail).await.map(Err)
}

/// Each once: the order names the states.
fn unique(resources: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    // One more than there may be is enough to refuse it.
    resources.filter(|resource| seen.insert(resource.clone())).take(MOST + 1).collect()
}

/// All at once: a cold one must not hold up the others.
async fn admit_all(visitor: Visitor, resources: &[String]) -> Vec<std::result::Result<Admitted, Refused>> {
    let visitor = Arc::new(visitor);
    let mut tasks = JoinSet::new();
    for (index, resource) in resources.iter().cloned().enumerate() {
        let visitor = visitor.clone();
        tasks.spawn(async move { (index, visitor.admit(&resource, Way::Sse).await) });
    }
    let mut admitted: Vec<Option<std::result::Result<Admitted, Refused>>> =
        resources.iter().map(|_| None).collect();
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
fn known(session: &Session, resources: usize) -> Vec<[u8; 6]> {
    let request = session.req_header();
    let header = request.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let query = || resume_switch(request.uri.query(), &Switches::default());
    let id = header.map(str::to_owned).filter(|id| !id.is_empty()).or_else(query);
    id.and_then(|id| tags(&id, resources)).unwrap_or_else(|| vec![NOTHING; resources])
}

/// Another origin may read the stream if every route on it lets that origin in; the others were
/// refused one by one.
fn admit_origin(
    headers: &mut HeaderMap,
    session: &Session,
    admitted: &[std::result::Result<Admitted, Refused>],
) {
    let routes = admitted.iter().filter_map(|one| one.as_ref().ok()).map(|one| &*one.route);
    cors::add_of_all(headers, routes, &session.req_header().headers);
}
