//! Entity tags on pass-through (contract §2): clients send back the tags we gave them, and the
//! upstream knows only its own.
//!
//! Must not know: what else is rewritten.

use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::visit::full_key;
use super::{Context, Fate, Front, refuse};
use crate::hub::Topic;
use crate::metrics::Bypass;
use crate::resource::version_of_tag;

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Open,
    /// An If-Match names an older version only, and the upstream has no entity tags to judge by.
    Failed,
}

/// Checks the conditions of a request that passes through: it speaks of the upstream's tags, not of ours.
pub(super) async fn check(
    front: &Front,
    session: &mut Session,
    ctx: &mut Context,
    reason: Bypass,
) -> Result<Fate> {
    match rewrite(front, session.req_header_mut(), ctx)? {
        Condition::Open => Ok(Fate::PassThrough(reason)),
        Condition::Failed => {
            let detail = "the version in If-Match is not the current one";
            refuse::with(session, ctx, StatusCode::PRECONDITION_FAILED, detail).await
        }
    }
}

/// Replaces known versions in If-Match, If-None-Match and If-Range by the upstream's tags.
pub(super) fn rewrite(front: &Front, request: &mut RequestHeader, ctx: &Context) -> Result<Condition> {
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
    for name in [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_RANGE] {
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
