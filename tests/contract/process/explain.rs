//! `/-/explain` and `pollcast explain`: what they foresee is what a request gets, and asking changes nothing.

mod agreement;
mod cases;
mod command;
mod effects;
mod limits;

use pollcast::app::App;
use serde_json::Value;

use crate::contract::edge::support::admin;

/// A request: its method, its path with its query, its fields.
pub type Request<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// The call that asks about a request.
pub fn call((method, path, fields): Request<'_>, more: &str) -> String {
    let escaped = |text: &str| {
        percent_encoding::percent_encode(text.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("&header={}", escaped(&format!("{name}: {value}"))))
        .collect();
    format!("/-/explain?url={}&method={method}{fields}{more}", escaped(path))
}

/// What is said about a request.
pub async fn explained(app: &App, request: Request<'_>) -> Value {
    admin(app).await.get(&call(request, ""), &[]).await.expect(200).json()
}
