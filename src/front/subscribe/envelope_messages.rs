//! Messages to a client of many resources that are about what it said (contract §6): replies and errors.
//!
//! Must not know: resources, how a message is sent.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::transport;

/// Whether a body of this type is JSON as the client sent it.
pub(super) fn is_json(content_type: &HeaderValue) -> bool {
    content_type.to_str().is_ok_and(|text| text.contains("json"))
}

/// What the client said, without what it sent along: enough to answer.
pub(super) fn without_data(said: &Value) -> Value {
    json!({ "op": said["op"], "id": said["id"], "resource": said["resource"] })
}

/// The resource that a message is about, and its fields with those by which the client knows what it answers.
fn about(said: &Value, mut more: Value) -> (String, Value) {
    if let Some(more) = more.as_object_mut() {
        for key in ["op", "id"] {
            if !said[key].is_null()
                && (said[key].is_number() || said[key].as_str().is_some_and(|s| s.len() <= 128))
            {
                more.insert(key.to_owned(), said[key].clone());
            }
        }
    }
    (said["resource"].as_str().unwrap_or_default().to_owned(), more)
}

/// An error about what the client said.
pub(super) fn complaint(said: &Value, status: u16, detail: &str) -> Bytes {
    let (name, said) = about(said, json!({ "status": status, "detail": detail }));
    transport::message("error", &name, said)
}

/// The answer to what the client said.
pub(super) fn reply(said: &Value, more: Value) -> Bytes {
    let (name, said) = about(said, more);
    transport::message("reply", &name, said)
}
