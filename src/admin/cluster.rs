//! What operators see of the cluster, and the calls by which a node leaves it for maintenance and joins it again
//! (contract §13).
//!
//! Must not know: engines, how nodes tell each other anything.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Context;
use super::response::{arguments, problem, typed};
use crate::cluster::Others;
use crate::cluster::view::{ClusterView, MemberView, ResourceView};

/// What an operator asks a node to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// The other nodes are to poll what it holds.
    Leave,
    /// It takes its part again.
    Join,
}

/// Does what was asked, and says how many resources the node holds now.
pub(super) async fn call(
    context: &Context,
    request: &Request<Incoming>,
    call: Call,
) -> Response<Full<Bytes>> {
    if let Err(response) = arguments(request, []) {
        return *response;
    }
    let Some(cluster) = &context.cluster else {
        return problem(StatusCode::NOT_FOUND, "this node's configuration has no `cluster`");
    };
    let (done, verb) = match call {
        Call::Leave => (cluster.leave().await, "leaves"),
        Call::Join => (cluster.join().await, "joins"),
    };
    tracing::info!("this node {verb} the cluster: an operator said so");
    match done {
        Ok(()) => {
            let view = cluster.view();
            let body = format!("{}\n", json!({ "node": view.node, "left": view.has_left }));
            typed(StatusCode::OK, "application/json", body.into())
        }
        Err(failed) => {
            let detail =
                format!("noted, and done as soon as the engine is back, which cannot be had now: {failed}");
            problem(StatusCode::SERVICE_UNAVAILABLE, &detail)
        }
    }
}

/// The nodes, for the top of `/resources`.
pub(in crate::admin) fn describe(cluster: &Others) -> Value {
    let ClusterView { node, members, alone_for, has_left } = cluster.view();
    let alone_since = alone_for.and_then(|time| SystemTime::now().checked_sub(time));
    json!({
        "node": node,
        "members": members.iter().map(member).collect::<Vec<_>>(),
        "connected": alone_for.is_none(),
        "alone_since": alone_since.map(|at| humantime::format_rfc3339_millis(at).to_string()),
        "left": has_left,
    })
}

fn member(member: &MemberView) -> Value {
    json!({
        "node": member.node,
        "build": member.build,
        "seats": member.seats,
        "beat_ms_ago": member.beat_ago.map(milliseconds),
        "leaving": member.is_leaving,
    })
}

/// What this node is for one resource, member by member.
pub(super) fn members_of(view: &ResourceView) -> [(&'static str, Value); 5] {
    let order = view.order.map(|order| format!("{}-{}", order.fence, order.sequence));
    [
        ("role", json!(view.role)),
        ("holder", json!(view.holder)),
        ("content_order", json!(order)),
        ("behind_ms", json!(view.behind.map(milliseconds))),
        ("shared", view.unshared.map_or(json!(true), |why| json!(why.word()))),
    ]
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
