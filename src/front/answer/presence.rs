//! Who follows a resource, for a client that asks (`/-/pollcast/presence`): it is let in to the resource as one that wants to
//! follow it, and takes no place among those.
//!
//! Must not know: how followers are counted.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora::http::RequestHeader;

use crate::front::access::admit::{Visitor, Way};
use crate::front::application::Front;
use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::front::decision::Decision;
use crate::front::request::cors;
use crate::metrics::RefusalReason;
use crate::resource::switch;

/// Decides about the question.
pub(in crate::front) async fn serve(
    front: &Front,
    connection: &Connection<'_>,
    ctx: &mut Context,
) -> Decision {
    let request = connection.head();
    if cors::asks(request) {
        ctx.answer = "preflight";
        return cors::preflight_of_any(&request.headers, &front.shared.config);
    }
    if request.method != Method::GET && request.method != Method::HEAD {
        return Decision::refuse(RefusalReason::Method, StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
    }
    let Some(resource) = named(request) else {
        let detail = "resource is missing: ?resource=/path, percent-encoded";
        return Decision::refuse(RefusalReason::NoResource, StatusCode::BAD_REQUEST, detail);
    };
    let visitor = Visitor::of(front, connection, ctx);
    let admitted = match visitor.admit(&resource, Way::Presence).await {
        Ok(admitted) => admitted,
        Err(refused) => return Decision::refuse(RefusalReason::NoResource, refused.status, refused.detail),
    };
    let said = front.shared.hub.presence_of(admitted.attendance.topic());
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    cors::add(&mut headers, &admitted.route, &request.headers);
    ctx.answer = "presence";
    Decision::answer(StatusCode::OK, headers, said.to_string().into())
}

fn named(request: &RequestHeader) -> Option<String> {
    switch(request.uri.query(), Some("resource")).filter(|resource| !resource.is_empty())
}
