//! `POST /-/reload`: an operator has the configuration read again, or asks what that would change.
//!
//! Must not know: how it is done.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::Context;
use super::response::{arguments, problem, typed};

/// Answers 200 with what has changed, route by route, or 422 with every problem. With `only_look=true` nothing is changed.
pub(super) async fn call(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let only_look = match arguments(request, ["only_look"]) {
        Ok([None]) => false,
        Ok([Some(said)]) => match said.as_str() {
            "true" => true,
            "false" => false,
            _ => return problem(StatusCode::BAD_REQUEST, "only_look is one of true, false"),
        },
        Err(response) => return *response,
    };
    match (context.reload)(only_look).await {
        Some((is_good, report)) => {
            let status = if is_good { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
            typed(status, "application/json", format!("{report}\n").into())
        }
        None => problem(StatusCode::NOT_FOUND, "this process was started without a configuration file"),
    }
}
