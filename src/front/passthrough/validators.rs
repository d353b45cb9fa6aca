//! Entity tags on pass-through (contract §2): clients send back the tags we gave them, and the
//! upstream knows only its own.
//!
//! Must not know: what else is rewritten.

use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::RequestHeader;

use crate::config::Share;
use crate::front::access::admission::Client;
use crate::front::access::authorize;
use crate::front::application::Front;
use crate::front::context::Context;
use crate::front::decision::Decision;
use crate::front::resource_key::full_key;
use crate::hub::Topic;
use crate::metrics::{Bypass, RefusalReason};
use crate::resource::version_of_tag;

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Condition {
    Open,
    /// An If-Match names an older version only, and the upstream has no entity tags to judge by.
    Failed,
}

/// Checks the conditions of a request that passes through: it speaks of the upstream's tags, not of ours.
pub(in crate::front) async fn check(
    front: &Front,
    request: &mut RequestHeader,
    ctx: &Context,
    reason: Bypass,
) -> Result<Decision> {
    Ok(match rewrite(front, request, ctx).await? {
        Condition::Open => Decision::PassThrough(reason),
        Condition::Failed => {
            let detail = "the version in If-Match is not the current one";
            Decision::refuse(RefusalReason::Condition, StatusCode::PRECONDITION_FAILED, detail)
        }
    })
}

/// The conditions that name tags.
const CONDITIONS: [HeaderName; 3] = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_RANGE];

/// Whether what is known of the resource may be used for this client (contract §2): on `share: authorize` only once its
/// own credentials get what is held. It is asked for every tag that looks like one of ours, so that nothing tells whether
/// it is a version that is known.
async fn may_name_versions(front: &Front, request: &RequestHeader, ctx: &Context) -> bool {
    let (Some(base), Some(route)) = (&ctx.key, &ctx.route) else { return false };
    let lines = CONDITIONS.iter().flat_map(|name| request.headers.get_all(name));
    let mut tags = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    if !tags.any(|tag| version_of_tag(tag.trim()).is_some()) {
        return false;
    }
    if route.share != Share::Authorize {
        return true;
    }
    let key = full_key(&front.shared, route, base, &request.headers);
    match front.shared.hub.get(&key) {
        Some(topic) => {
            let (headers, identity) = (&request.headers, ctx.identity.as_ref());
            let client = Client { headers, identity, is_bound: ctx.bond.is_some() };
            Box::pin(authorize::admits(&front.shared, route, &topic, client)).await
        }
        None => false,
    }
}

/// Replaces known versions in If-Match, If-None-Match and If-Range by the upstream's tags.
pub(in crate::front) async fn rewrite(
    front: &Front,
    request: &mut RequestHeader,
    ctx: &Context,
) -> Result<Condition> {
    if !may_name_versions(front, request, ctx).await {
        return Ok(Condition::Open);
    }
    let Some(base) = &ctx.key else {
        return Ok(Condition::Open);
    };
    let Some(route) = &ctx.route else {
        return Ok(Condition::Open);
    };
    let key = full_key(&front.shared, route, base, &request.headers);
    let Some(topic) = front.shared.hub.get(&key) else {
        return Ok(Condition::Open);
    };
    for name in CONDITIONS {
        if field(&topic, request, name)? == Condition::Failed {
            return Ok(Condition::Failed);
        }
    }
    Ok(Condition::Open)
}

fn field(topic: &Topic, request: &mut RequestHeader, name: HeaderName) -> Result<Condition> {
    let lines: Vec<String> = request
        .headers
        .get_all(&name)
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    let mut tags: Vec<String> = Vec::new();
    let (mut known, mut current) = (false, false);
    for tag in lines.iter().flat_map(|line| line.split(',')).map(str::trim) {
        match version_of_tag(tag).and_then(|version| topic.upstream_tag(version)) {
            Some(Some(upstream)) => {
                known = true;
                tags.extend(upstream.to_str().ok().map(str::to_owned));
            }
            // A version we know, of an upstream that gives no tags.
            Some(None) => {
                known = true;
                current |= version_of_tag(tag) == topic.view().frame.as_ref().map(|f| f.version());
            }
            None => tags.push(tag.to_owned()),
        }
    }
    if !known {
        return Ok(Condition::Open);
    }
    let satisfied = name == header::IF_MATCH && current;
    if !tags.is_empty() && !satisfied {
        if let Ok(value) = HeaderValue::try_from(tags.join(", ")) {
            request.insert_header(name, value)?;
        }
        return Ok(Condition::Open);
    }
    if name == header::IF_MATCH && !current {
        return Ok(Condition::Failed);
    }
    request.remove_header(&name);
    Ok(Condition::Open)
}
