//! `GET /-/explain`: what becomes of a request and why, as JSON or in words.
//!
//! Must not know: how it is found out.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::Context;
use super::context::Question;
use super::response::{problem, text, typed};
use crate::resource::header_field;

/// Most fields that one question may name.
const FIELDS_COUNT_MAX: usize = 256;

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Words,
}

/// Answers 200 with the explanation, or 400 where what is asked is no request.
pub(super) async fn answer(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (question, form) = match asked(request.uri().query().unwrap_or_default(), request.headers()) {
        Ok(asked) => asked,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, &detail),
    };
    match ((context.explain)(question).await, form) {
        (Ok(explained), Form::Json) => {
            typed(StatusCode::OK, "application/json", format!("{:#}\n", explained.json).into())
        }
        (Ok(explained), Form::Words) => text(StatusCode::OK, &explained.text),
        (Err(detail), _) => problem(StatusCode::BAD_REQUEST, &detail),
    }
}

/// What a query asks for.
///
/// # Errors
/// What is wrong with it, without the values of fields: they are likely to be secrets.
fn asked(query: &str, headers: &HeaderMap) -> Result<(Question, Form), String> {
    let mut url = None;
    let mut question =
        Question { url: String::new(), method: Method::GET, headers: Vec::new(), client: None };
    let mut form = if wants_words(headers) { Form::Words } else { Form::Json };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
        match name {
            "url" if url.is_some() => return Err("url is there twice".to_owned()),
            "url" => url = Some(value.into_owned()),
            "method" => {
                let method = Method::from_bytes(value.as_bytes());
                question.method = method.map_err(|_| "method is none".to_owned())?;
            }
            "header" if question.headers.len() >= FIELDS_COUNT_MAX => {
                return Err(format!("there are more than {FIELDS_COUNT_MAX} fields"));
            }
            "header" => question.headers.push(header_field(&value)?),
            "client" => {
                let address = value.parse::<IpAddr>();
                question.client = Some(address.map_err(|_| "client is no IP address".to_owned())?);
            }
            "format" => {
                form = match &*value {
                    "json" => Form::Json,
                    "text" => Form::Words,
                    _ => return Err("format is one of json, text".to_owned()),
                };
            }
            _ => {
                return Err(format!(
                    "{name} is no parameter of this call (url, method, header, client, format): a URL with a query has \
                     its & and # percent-encoded"
                ));
            }
        }
    }
    question.url = url.ok_or("say what to explain: /-/explain?url=/path or an absolute URL")?;
    Ok((question, form))
}

/// Whether the operator's program asks for words.
fn wants_words(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/plain") && !accept.contains("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_with_its_fields_in_their_order() {
        let query =
            "url=%2Fa%3Fb=1%26c=2&method=PUT&header=X-A:%201&header=x-b:2&client=192.0.2.7&format=text";
        let (question, form) = asked(query, &HeaderMap::new()).expect("a good question");
        assert_eq!((question.url.as_str(), question.method, form), ("/a?b=1&c=2", Method::PUT, Form::Words));
        let names: Vec<&str> = question.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-a", "x-b"]);
        assert_eq!(question.headers[0].1, "1");
        assert_eq!(question.client, Some("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn what_is_no_question_is_said_without_its_secrets() {
        for (query, told) in [
            ("", "say what to explain"),
            ("url=/a&url=/b", "twice"),
            ("url=/a?b=1&c=2", "c is no parameter"),
            ("url=/a&header=hunter2", "no colon"),
            ("url=/a&header=x%20y:hunter2", "no name"),
            ("url=/a&header=x:hunter2%0d%0ay", "x has characters"),
            ("url=/a&client=here", "no IP address"),
            ("url=/a&format=xml", "json, text"),
            ("url=/a&method=G%20T", "method is none"),
        ] {
            let error = asked(query, &HeaderMap::new()).map(drop).unwrap_err();
            assert!(error.contains(told) && !error.contains("hunter2"), "{query}: {error}");
        }
    }
}
