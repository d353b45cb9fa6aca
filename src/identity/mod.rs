//! Who a client is, where a route asks for it (`authenticate`): tokens, keys, certificates, a server that
//! knows.
//!
//! `gate` asks one way after the other, `places` finds what a request shows, `jwt` checks tokens with the
//! keys of `jwks`, `forward` asks a server. In doubt nobody is let in. Must not know: resources, sharing,
//! how a refusal is told.

mod forward;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod jwks;
mod jwt;
mod places;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

pub use gate::{Gate, Gates, Proof};
pub use jwt::expiry_hint;
pub use places::{bearer, query_token, strip};

/// A client that proved who it is.
#[derive(Clone)]
pub struct Identity {
    /// Its name: unique among all that this way lets in.
    pub subject: Arc<str>,
    /// When the proof is no longer good; none: it stays good.
    pub expires: Option<Instant>,
    claims: Arc<Map<String, Value>>,
}

impl Identity {
    /// One without claims, whose proof stays good.
    pub(crate) fn of(subject: &str) -> Identity {
        Identity { subject: subject.into(), expires: None, claims: Arc::default() }
    }

    /// `subject`, or the value of a claim that has one: text, a number or a truth.
    pub fn what(&self, what: &str) -> Option<String> {
        if what == "subject" {
            return Some(self.subject.to_string());
        }
        match self.claims.get(what)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }

    /// [`Identity::what`] as what a request says to an upstream. None: there is nothing to say, or a header
    /// cannot tell it from another's: space around a value is lost on the way (RFC 9110 §5.5).
    pub fn said(&self, what: &str) -> Option<HeaderValue> {
        let value = self.what(what)?;
        let is_plain = !value.is_empty() && value.trim() == value;
        HeaderValue::try_from(value).ok().filter(|_| is_plain)
    }
}

/// Claims may be anybody's secrets.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.subject)
    }
}

/// Why somebody is not let in; the words go to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// 401: prove who you are; 403: it is known who you are; 503: it cannot be found out now.
    pub status: StatusCode,
    pub detail: String,
    /// A label of metrics.
    pub reason: &'static str,
}

impl Denied {
    fn unproven(reason: &'static str, detail: impl Into<String>) -> Denied {
        Denied { status: StatusCode::UNAUTHORIZED, detail: detail.into(), reason }
    }

    fn forbidden(reason: &'static str, detail: impl Into<String>) -> Denied {
        Denied { status: StatusCode::FORBIDDEN, detail: detail.into(), reason }
    }

    fn unknown(reason: &'static str, detail: impl Into<String>) -> Denied {
        Denied { status: StatusCode::SERVICE_UNAVAILABLE, detail: detail.into(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_what_another_is_called_on_the_wire() {
        for (subject, said) in [
            ("ann", Some("ann")),
            ("ann lee", Some("ann lee")),
            (" ann", None),
            ("ann\t", None),
            ("", None),
            ("a\nb", None),
        ] {
            let value = Identity::of(subject).said("subject");
            assert_eq!(value.as_ref().and_then(|value| value.to_str().ok()), said, "{subject:?}");
        }
    }
}
