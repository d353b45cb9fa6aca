//! Messages of the envelope protocol (contract §6, `pollcast.v1`), split where clients differ.
//!
//! A message starts with the part that is the client's own: the type, and the resource as that client spelled it. The
//! rest is the same for all clients, and is made once. Must not know: connections.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use crate::resource::{Snapshot, Version, fitted};

/// The shared part of a `snapshot`: version and data. Data is the JSON itself, another text as a
/// string, and bytes as a string with `"encoding":"base64"`.
pub fn snapshot(snapshot: &Snapshot) -> Bytes {
    let mut tail = BytesMut::with_capacity(snapshot.body.len() + 64);
    tail.put_slice(format!(",\"version\":\"{}\"", snapshot.version).as_bytes());
    let is_json = snapshot.media_type.as_ref().is_some_and(|media_type| media_type.is_json());
    match snapshot.text() {
        Some(text) if is_json && !text.trim_ascii().is_empty() => put_data(&mut tail, text),
        Some(text) => put_data(&mut tail, quoted(&String::from_utf8_lossy(text)).as_bytes()),
        None => {
            tail.put_slice(b",\"encoding\":\"base64\"");
            put_data(&mut tail, quoted(&STANDARD.encode(&snapshot.body)).as_bytes());
        }
    }
    fitted(tail)
}

/// The shared part of a `patch`.
pub fn patch(base: Version, target: Version, text: &[u8]) -> Bytes {
    let mut tail = BytesMut::with_capacity(text.len() + 96);
    tail.put_slice(format!(",\"version\":\"{target}\",\"base\":\"{base}\"").as_bytes());
    put_data(&mut tail, text);
    tail.freeze()
}

/// The shared part of an `item`: its id, and the item as the upstream wrote it.
pub fn item(id: &str, text: &[u8]) -> Bytes {
    let mut tail = BytesMut::with_capacity(text.len() + id.len() + 32);
    tail.put_slice(b",\"version\":");
    tail.put_slice(quoted(id).as_bytes());
    put_data(&mut tail, text);
    tail.freeze()
}

/// The client's own part: everything before the shared one. `kind` is one of the protocol's words.
pub fn head(kind: &str, resource: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"resource\":{}", quoted(resource))
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The data, and the end of the message. A byte order mark belongs to a file, not to a value.
fn put_data(tail: &mut BytesMut, json: &[u8]) {
    tail.put_slice(b",\"data\":");
    tail.put_slice(json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json));
    tail.put_u8(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Validators, VersionNamer};
    use http::{HeaderMap, HeaderValue, StatusCode};
    use serde_json::{Value, json};

    fn of(content_type: &'static str, body: &'static [u8]) -> Snapshot {
        Snapshot::new(
            VersionNamer::new(None).name(200, None, body),
            StatusCode::OK,
            Some(HeaderValue::from_static(content_type)),
            HeaderMap::new(),
            Validators::default(),
            Vec::new(),
            Bytes::from_static(body),
        )
    }

    fn whole(kind: &str, resource: &str, tail: &[u8]) -> Value {
        let text = [head(kind, resource).as_bytes(), tail].concat();
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&text)))
    }

    #[test]
    fn every_message_is_json_whatever_the_body() {
        let bodies: [(&str, &[u8], Value); 5] = [
            ("application/json", b"\xef\xbb\xbf{\"a\": [1,\n2]}", json!({"a": [1, 2]})),
            ("text/plain", b"a \"quoted\"\nline", json!("a \"quoted\"\nline")),
            ("text/plain; charset=iso-8859-1", b"caf\xe9", json!("café")),
            ("application/octet-stream", b"\xff\x00", json!("/wA=")),
            ("application/json", b"", json!("")),
        ];
        for (content_type, body, data) in bodies {
            let snapshot = of(content_type, body);
            let message = whole("snapshot", "/a?b=\"1\"", &super::snapshot(&snapshot));
            assert_eq!(message["data"], data);
            assert_eq!(message["resource"], "/a?b=\"1\"");
            assert_eq!(message["version"], snapshot.version.to_string());
            assert_eq!(message.get("encoding").is_some(), body == b"\xff\x00");
        }
    }

    #[test]
    fn a_patch_names_its_base() {
        let version = VersionNamer::new(None).name(200, None, b"1");
        let message = whole("patch", "/a", &patch(version, version, b"[]"));
        assert_eq!(message["base"], version.to_string());
        assert_eq!(message["data"], json!([]));
        assert_eq!(whole("item", "/a", &item("7\"", b"{}"))["version"], "7\"");
    }
}
