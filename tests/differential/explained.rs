//! What `/-/explain` foresees of each request of a scene, held against what the request gets.
//!
//! Time goes on between the two, so that what is foreseen counts from before and from after the request. An explanation
//! knows no connection: what depends on one is left out. Must not know: the direct way to the API.

use pollcast::app::App;
use pollcast::front::Asked;
use serde_json::Value;

use super::exchange::{Answer, Outcome, Request};

/// What is foreseen of a request.
pub async fn foreseen(app: &App, request: &Request) -> Value {
    let field = |(name, value): &(String, String)| {
        let name = http::HeaderName::try_from(name.as_str()).expect("scenes have good names");
        (name, http::HeaderValue::try_from(value.as_str()).expect("scenes have good values"))
    };
    let mut headers: Vec<_> = request.fields.iter().map(field).collect();
    if !request.body.is_empty() {
        headers.push((http::header::CONTENT_LENGTH, request.body.len().into()));
    }
    let method = request.method.parse().expect("scenes have good methods");
    let asked = Asked { url: request.target.clone(), method, headers, client: Some([127, 0, 0, 1].into()) };
    let explanation = app.explain(&asked).await;
    explanation.map_or_else(|why| panic!("{} cannot be explained: {why}", request.target), |told| told.json())
}

/// What an answer says of how it was come by: the word that explanations have for it, and the reason.
fn came(answer: &Answer) -> (&'static str, Option<String>) {
    let status = answer.line("cache-status").unwrap_or_default();
    let own = status.split(',').map(str::trim).rfind(|member| member.starts_with("pollcast"));
    let detail = own.and_then(|own| own.split("detail=").nth(1)).map(|word| word.trim().to_owned());
    let is_problem = answer.field("content-type").is_some_and(|kind| kind.contains("problem+json"));
    match own {
        Some(own) if own.contains("fwd=bypass") => ("passed-through", detail),
        Some(_) => ("answered", None),
        None if is_problem => ("refused", None),
        None => ("", None),
    }
}

/// Whether an outcome that was foreseen is what came.
fn fits(foreseen: &Value, is_read: bool, answer: &Answer) -> bool {
    let outcome = &foreseen["outcome"];
    if outcome["after"].is_string() || outcome["otherwise"].is_string() {
        // What is awaited decides.
        return true;
    }
    let (does, reason) = came(answer);
    match outcome["does"].as_str().unwrap_or_default() {
        "passed-through" if !is_read || foreseen["route"].is_null() => does != "answered",
        "passed-through" => does == "passed-through" && outcome["reason"].as_str() == reason.as_deref(),
        "refused" => outcome["status"] == answer.status,
        "answered" => does == "answered" && outcome["status"] == answer.status,
        // Streams and held requests say nothing of how they are come by.
        _ => does != "passed-through",
    }
}

/// What differs. Returns `None` if nothing does, or if it depends on the connection.
pub fn difference(before: &Value, after: &Value, request: &Request, came_back: &Outcome) -> Option<String> {
    let answer = came_back.as_ref().ok()?;
    let is_read = matches!(request.method, "GET" | "HEAD");
    let reason = came(answer).1.unwrap_or_default();
    let shows_none = || !before["steps"].to_string().contains(" is credential");
    let depends_on_connection = reason == "pace"
        // A request before it has authenticated the connection.
        || (reason == "credentials" && shows_none())
        || request.fields.iter().any(|(_, value)| value.starts_with("NTLM"));
    if depends_on_connection || [before, after].iter().any(|told| fits(told, is_read, answer)) {
        return None;
    }
    let (does, reason) = came(answer);
    Some(format!(
        "{} {} {:?}\n  came {} {does} {reason:?}\n  foreseen before {}\n  and after {}",
        request.method, request.target, request.fields, answer.status, before["outcome"], after["outcome"]
    ))
}
