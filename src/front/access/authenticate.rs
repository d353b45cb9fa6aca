//! Which clients are let in, and by what: the route's `authenticate` held against a request, the answer to clients
//! that are not, and the credential by which the others stay (contract §11).
//!
//! Must not know: what they are let in to.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::config::Route;
use crate::front::services::Shared;
use crate::identity::{Asking, Denied, Identity, Principal, PrincipalPattern, Proof};

/// Returns the client's identity, or `None` where the route has no `authenticate`.
///
/// # Errors
/// The request does not prove it, or what it asks for is not for them.
pub(in crate::front) async fn identify(
    shared: &Shared,
    route: &Route,
    path: &str,
    proof: &Proof<'_>,
) -> Result<Option<Identity>, Denied> {
    let Some(gate) = shared.gates.of(route) else {
        return Ok(None);
    };
    let asking = if shared.explains() { Asking::Forbidden } else { Asking::Allowed };
    let result = gate.identify(proof, &shared.routes.parameters(route, path), asking).await;
    let outcome = match &result {
        Ok(_) => "let_in",
        Err(denied) => denied.reason,
    };
    shared.metrics.authentications.with_label_values(&[route.path.as_str(), outcome]).inc();
    result.map(Some)
}

/// The fields of a refusal (RFC 6750 §3).
pub(in crate::front) fn challenge(denied: &Denied) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match denied.status {
        StatusCode::UNAUTHORIZED => {
            let error = match denied.reason {
                // RFC 6750 §3.1: a request without a token gets a challenge without an error.
                "nothing" => "Bearer".to_owned(),
                _ => {
                    let detail: String = denied.detail.chars().filter(|c| *c != '"' && *c != '\\').collect();
                    format!("Bearer error=\"invalid_token\", error_description=\"{detail}\"")
                }
            };
            let plain = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::try_from(error).unwrap_or(plain));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    headers
}

/// Ends all streams of a client and returns how many there were. A client that comes again has to authenticate again.
///
/// # Errors
/// Several clients are meant: some of their full names. None of their streams has ended.
pub fn end_subject(shared: &Shared, call: &PrincipalPattern) -> Result<usize, Vec<Arc<Principal>>> {
    let ended = shared.subjects.end(call)?;
    if ended > 0 {
        shared.fanout.expel();
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_what_is_wrong_with_a_token_and_nothing_else() {
        let denied = |reason, detail: &str| Denied {
            status: StatusCode::UNAUTHORIZED,
            detail: detail.to_owned(),
            reason,
        };
        let said = |denied| challenge(&denied)[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        assert_eq!(said(denied("nothing", "x")), "Bearer");
        let wanted = "Bearer error=\"invalid_token\", error_description=\"no iss\"";
        assert_eq!(said(denied("claims", "no \"iss\"")), wanted);
    }
}
