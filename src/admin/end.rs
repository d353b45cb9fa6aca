//! `POST /-/end`: an operator ends the streams of a client that is to be let in no longer, or anew.
//!
//! A client is named by its way in, its issuer and its subject (contract §11); a call that leaves out what tells it from
//! others ends nothing. Must not know: streams.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Context;
use super::response::{arguments, problem, typed};
use crate::identity::{Principal, PrincipalPattern, Way};

const USAGE: &str =
    "say whose streams end: /-/end?subject=name, with way, issuer and type where several clients have it";

pub(super) fn end(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let pattern = match arguments(request, ["subject", "way", "issuer", "type"]) {
        Ok(said) => match pattern(said) {
            Ok(pattern) => pattern,
            Err(detail) => return problem(StatusCode::BAD_REQUEST, detail),
        },
        Err(response) => return *response,
    };
    match (context.end_subject)(&pattern) {
        Ok(ended) => {
            let PrincipalPattern { subject, way, issuer, .. } = &pattern;
            let way = way.map(Way::label);
            tracing::info!(subject, way, issuer, ended, "streams ended by an operator");
            let body = format!("{}\n", json!({ "ended": ended }));
            typed(StatusCode::OK, "application/json", body.into())
        }
        Err(candidates) => ambiguous(&candidates),
    }
}

fn pattern([subject, way, issuer, kind]: [Option<String>; 4]) -> Result<PrincipalPattern, &'static str> {
    let subject = subject.ok_or(USAGE)?;
    let known = |said: String| Way::ALL.into_iter().find(|way| way.label() == said);
    let way = way.map(|said| known(said).ok_or("way is one of jwt, keys, forward, client_certificate"));
    let numeric = kind.map(|said| match said.as_str() {
        "number" => Ok(true),
        "text" => Ok(false),
        _ => Err("type is one of text, number"),
    });
    Ok(PrincipalPattern { subject, way: way.transpose()?, issuer, numeric: numeric.transpose()? })
}

/// Several clients are meant: names them, and says how to choose.
fn ambiguous(candidates: &[impl AsRef<Principal>]) -> Response<Full<Bytes>> {
    let full = |principal: &Principal| -> Value {
        json!({
            "subject": &*principal.subject,
            "way": principal.way.label(),
            "issuer": principal.issuer.as_deref(),
            "type": if principal.numeric { "number" } else { "text" },
        })
    };
    let names: Vec<String> = candidates.iter().map(|principal| principal.as_ref().to_string()).collect();
    let body = json!({
        "title": "Conflict",
        "status": 409,
        "detail": format!("several clients are meant, and nothing has ended; say which one: {}", names.join("; ")),
        "candidates": candidates.iter().map(|principal| full(principal.as_ref())).collect::<Vec<_>>(),
    });
    typed(StatusCode::CONFLICT, "application/problem+json", format!("{body}\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_names_a_client_or_says_what_is_wrong() {
        let said = |values: [&str; 4]| pattern(values.map(|value| (value != "-").then(|| value.to_owned())));
        let bare = PrincipalPattern { subject: "ann".to_owned(), ..PrincipalPattern::default() };
        assert_eq!(said(["ann", "-", "-", "-"]), Ok(bare.clone()));
        let full = PrincipalPattern {
            way: Some(Way::Jwt),
            issuer: Some("https://a.test".to_owned()),
            numeric: Some(true),
            ..bare
        };
        assert_eq!(said(["ann", "jwt", "https://a.test", "number"]), Ok(full));
        for wrong in [
            ["-", "jwt", "-", "-"],
            ["ann", "JWT", "-", "-"],
            ["ann", "", "-", "-"],
            ["ann", "-", "-", "int"],
        ] {
            assert!(said(wrong).is_err(), "{wrong:?}");
        }
    }
}
