//! The kind of an answer: its type by what is accepted, its form, and whether it is a document at all.
//!
//! Must not know: how it was asked.

use http::header;

use super::destination::Destination;
use super::findings::media_type;
use super::polls::{Observed, Said};
use crate::resource::{MediaType, decoded};
use crate::upstream::classify::{Terms, Verdict, judge};
use crate::upstream::{Answer, Failure};

/// Returns what the API does with this URL if its answer is no document.
pub(super) fn no_document(failure: &Failure) -> String {
    match failure {
        Failure::FirstByteTimeout { limit } | Failure::HeldBack { limit } => format!(
            "no first byte within {limit:?}: the API is slow, or holds its answer back (a long-poll of its own). Such an \
             answer is no document: requests of it are the API's own, and no route is suggested"
        ),
        Failure::NoDocument { found } => format!(
            "a stream or media of the API's own ({}): nothing to poll. Requests of it are the API's own, and no route is \
             suggested",
            found.word()
        ),
        other => format!("{other}: too large to be pushed, and no route is suggested"),
    }
}

/// Returns what the last answer is, and how pollcast would publish it.
pub(super) fn content(destination: &Destination, last: &Answer, private: bool) -> String {
    let said = last.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type(last);
    let body = last.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&last.body);
    let parses = serde_json::from_slice::<serde::de::IgnoredAny>(body);
    let is_json = media_type.as_ref().is_some_and(MediaType::is_json);
    let json = match (is_json, parses) {
        _ if last.body.is_empty() => "no body".to_owned(),
        (true, Ok(_)) if body.len() < last.body.len() => "parses, behind a byte order mark".to_owned(),
        (true, Ok(_)) => "parses".to_owned(),
        (true, Err(error)) => format!("says it is JSON but does not parse: {error}"),
        (false, Ok(_)) => "it is JSON all the same".to_owned(),
        (false, Err(_)) => format!("compared as bytes{}", declared(media_type.as_ref(), last)),
    };
    let verdict = match judge(last, &Terms { route: &destination.route, private, known_type: None }) {
        Verdict::Data(_) => String::new(),
        Verdict::NotModified => "; not modified, though nothing was asked for".to_owned(),
        Verdict::Gone => "; pollcast would take it for gone".to_owned(),
        Verdict::Denied => "; access is denied: --header 'Name: value' tries it with credentials".to_owned(),
        Verdict::Refused => "; the request is refused".to_owned(),
        Verdict::Failed { reason: why, .. } | Verdict::Unfit { reason: why, .. } => {
            format!("; not usable: {why}")
        }
        Verdict::Uncoverable(why) => format!("; not for a route: {why}"),
        Verdict::NotShareable(sign) => format!("; not shared as the route is now ({sign}): see `share`"),
        Verdict::SessionRotated => "; it replaces the session's cookie".to_owned(),
    };
    format!("{}, {json}{verdict}", said.unwrap_or("no type"))
}

/// The encoding that XML says in its declaration, and whether the body can be sent as text.
fn declared(media_type: Option<&MediaType>, last: &Answer) -> String {
    let head = String::from_utf8_lossy(last.body.get(..200).unwrap_or(&last.body)).into_owned();
    let declaration = head.trim_start().strip_prefix("<?xml").and_then(|rest| rest.split("?>").next());
    let encoding = declaration.and_then(|text| {
        let value = text.split("encoding").nth(1)?.trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        value.get(1..)?.split(quote).next().map(str::to_owned)
    });
    let said = encoding.map_or(String::new(), |encoding| format!(", XML in {encoding} by its declaration"));
    let text = match decoded(media_type, &last.body) {
        Some(_) => "",
        None => ", no text: event streams get 406 without `encoding: base64`",
    };
    format!("{said}{text}")
}

/// The types by what a request accepts, where they differ.
pub(super) fn types(observed: &Observed, last: &Answer) -> Option<String> {
    let essence = |answer: &Answer| media_type(answer).map_or("no type".to_owned(), |found| found.essence);
    let usual = essence(last);
    let others = observed.trials.iter().filter_map(|trial| match &trial.said {
        Said::With(name, value) if *name == header::ACCEPT => Some((value, &trial.answer)),
        _ => None,
    });
    let told = others.filter_map(|(accept, answer)| {
        let found = match answer.status.is_success() {
            true => essence(answer),
            false => answer.status.as_str().to_owned(),
        };
        let accept = if accept.starts_with("text/html") { "a browser's" } else { accept };
        (found != usual).then(|| format!("{found} for Accept: {accept}"))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| format!("{usual} for polls; {}", told.join("; ")))
}
