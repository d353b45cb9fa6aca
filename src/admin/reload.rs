//! `POST /-/reload`: an operator has the configuration read again, or asks what that would change.
//!
//! Must not know: how it is done.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::Context;
use super::response::{arguments, problem, text, typed};

/// Answers 200 with what has changed, route by route, or 422 with every problem. With `only_look=true` nothing is changed;
/// `format=text` asks for words.
pub(super) async fn call(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let [only_look, format] = match arguments(request, ["only_look", "format"]) {
        Ok(said) => said,
        Err(response) => return *response,
    };
    let only_look = match only_look.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "only_look is one of true, false"),
    };
    let in_words = match format.as_deref() {
        None | Some("json") => false,
        Some("text") => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "format is one of json, text"),
    };
    match (context.reload)(only_look).await {
        Some(reloaded) => {
            let status = if reloaded.is_good { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
            match in_words {
                true => text(status, &reloaded.text),
                false => typed(status, "application/json", format!("{}\n", reloaded.json).into()),
            }
        }
        None => problem(StatusCode::NOT_FOUND, "this process was started without a configuration file"),
    }
}
