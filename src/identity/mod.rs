//! The identity of a client, where a route asks for it (`authenticate`): by tokens, keys, certificates, or a server
//! that is asked.
//!
//! `gate` asks one way after the other, `bearer_token` finds what a request shows, `jwt` checks tokens with the
//! keys of `jwks`, `forward` asks a server; `principal` is the full name of the client that comes of it. In doubt
//! no client is let in. Must not know: resources, sharing, how a refusal is told.

mod bearer_token;
mod forward;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod jwks;
mod jwt;
mod jwt_crypto;
mod key;
mod principal;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

pub use bearer_token::{bearer, query_token, strip};
pub use gate::{Gate, Gates, Proof};
pub use jwt::expiry_hint;
pub use principal::{CertificateName, Principal, PrincipalPattern, Way};

/// A client that proved its identity.
#[derive(Clone)]
pub struct Identity {
    /// Its full name: equal for two requests only if they are from the same client (contract §11).
    pub principal: Arc<Principal>,
    /// When the proof is no longer good. `None` if it stays good.
    pub expires: Option<Instant>,
    claims: Arc<Map<String, Value>>,
    /// Whether the subject alone tells it from every other client of its route.
    bare: bool,
}

impl Identity {
    /// Returns an identity without claims, whose proof stays good.
    pub(crate) fn of(principal: Principal) -> Identity {
        let principal = Arc::new(principal);
        Identity { principal, expires: None, claims: Arc::default(), bare: false }
    }

    /// Returns an identity without claims whose subject alone names it, as on a route with a single way in.
    #[cfg(test)]
    pub(crate) fn named(subject: &str) -> Identity {
        Identity { bare: true, ..Identity::of(Principal::of(Way::Keys, None, subject)) }
    }

    /// Returns `subject`, or the value of a claim that has one: text, a number or a truth.
    pub fn what(&self, what: &str) -> Option<String> {
        if what == "subject" {
            return Some(self.principal.subject.to_string());
        }
        match self.claims.get(what)? {
            Value::String(text) => Some(text.clone()),
            Value::Bool(truth) => Some(truth.to_string()),
            // Other numbers may become equal by rounding although tokens have two.
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
            _ => None,
        }
    }

    /// Returns [`Identity::what`] as a request says it to an upstream, or `None` if there is nothing to say, or a
    /// header cannot tell it from another's: space around a value is lost on the way (RFC 9110 §5.5).
    pub fn said(&self, what: &str) -> Option<HeaderValue> {
        plain(&self.what(what)?)
    }

    /// Returns the fields that say `what` to an upstream under `name`: the value, and, where it is no text, its
    /// type, since the number 1001 and the text "1001" are two. `None` as for [`Identity::said`].
    pub fn fields(&self, what: &str, name: &HeaderName) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let mut fields = vec![(name.clone(), self.said(what)?)];
        let kind = match (what, self.claims.get(what)) {
            ("subject", _) if self.principal.numeric => Some("number"),
            ("subject", _) | (_, None | Some(Value::String(_))) => None,
            (_, Some(Value::Bool(_))) => Some("boolean"),
            (_, Some(_)) => Some("number"),
        };
        if let Some(kind) = kind {
            let name = HeaderName::try_from(format!("{name}-type")).ok()?;
            fields.push((name, HeaderValue::from_static(kind)));
        }
        Some(fields)
    }

    /// Returns the fields that say to an upstream by which way an identity came in and which issuer vouches for it; none
    /// where a route has one way with one issuer and the subject says all (contract §11). `None` if the issuer
    /// cannot be said in a header, so that the client may share with no other and is named to no upstream.
    pub fn origin(&self) -> Option<Vec<(HeaderName, HeaderValue)>> {
        if self.bare {
            return Some(Vec::new());
        }
        let way = HeaderValue::from_static(self.principal.way.label());
        let mut fields = vec![(HeaderName::from_static("x-pollcast-way"), way)];
        if let Some(issuer) = &self.principal.issuer {
            fields.push((HeaderName::from_static("x-pollcast-issuer"), plain(issuer)?));
        }
        Some(fields)
    }
}

/// Returns the fields that name a client to an upstream: its subject and the origin of it, since a subject without its
/// origin would be any client's of that name (contract §11). None if they cannot be said. Requests that pass through
/// carry them, and so does each check of `share: authorize`.
pub fn told(identity: Option<&Identity>) -> Vec<(HeaderName, HeaderValue)> {
    let fields = |identity: &Identity| {
        let subject = identity.fields("subject", &HeaderName::from_static("x-pollcast-subject"))?;
        Some([subject, identity.origin()?].concat())
    };
    identity.and_then(fields).unwrap_or_default()
}

/// Returns a text as a header's value, or `None` if the value would not arrive as it is.
fn plain(text: &str) -> Option<HeaderValue> {
    let arrives = !text.is_empty() && text.trim() == text;
    HeaderValue::try_from(text).ok().filter(|_| arrives)
}

/// Claims may be a user's secrets.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.principal)
    }
}

/// The reason of what was not asked.
const UNASKED: &str = "unasked";

/// Whether a proof may be looked into with the help of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Servers and key sets are asked where that is needed, and what they say is remembered.
    Allowed,
    /// What is known has to do, and nothing is remembered: the request is only explained.
    Forbidden,
}

/// Why a client is not let in; the words go to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// 401 if the client has to prove its identity, 403 if its identity is known and may not read this, 503 if it
    /// cannot be found out now.
    pub status: StatusCode,
    /// What is wrong, in words for the client.
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

    /// What would have to be asked, and was not ([`Asking::Forbidden`]).
    fn unasked() -> Denied {
        Denied::unknown(UNASKED, "the client's identity is not known without asking another server")
    }

    /// Whether nothing was found out as no server might be asked.
    pub fn is_unasked(&self) -> bool {
        self.reason == UNASKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_subject_is_called_what_another_is_called_on_the_wire() {
        for (subject, said) in [
            ("ann", Some("ann")),
            ("ann lee", Some("ann lee")),
            (" ann", None),
            ("ann\t", None),
            ("", None),
            ("a\nb", None),
        ] {
            let value = Identity::named(subject).said("subject");
            assert_eq!(value.as_ref().and_then(|value| value.to_str().ok()), said, "{subject:?}");
        }
    }

    fn lines(fields: Option<Vec<(HeaderName, HeaderValue)>>) -> Vec<String> {
        let line = |(name, value): (HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        fields.unwrap_or_default().into_iter().map(line).collect()
    }

    #[test]
    fn the_wire_tells_ways_issuers_and_types_apart_unless_there_is_one_of_each() {
        let issuer = Some("https://staff.example");
        let ann = Identity::of(Principal::of(Way::Jwt, issuer, "ann"));
        assert_eq!(lines(ann.origin()), ["x-pollcast-way: jwt", "x-pollcast-issuer: https://staff.example"]);
        assert_eq!(lines(Identity { bare: true, ..ann }.origin()), [""; 0]);
        let unsayable = Identity::of(Principal::of(Way::Certificate, Some("CN=a\nb"), "ann"));
        assert_eq!(unsayable.origin(), None);
        let subject = HeaderName::from_static("x-pollcast-subject");
        let number = Identity::of(Principal { numeric: true, ..Principal::of(Way::Jwt, issuer, "1001") });
        let text = Identity::of(Principal::of(Way::Jwt, issuer, "1001"));
        assert_ne!(number.principal, text.principal);
        assert_eq!(
            lines(number.fields("subject", &subject)),
            ["x-pollcast-subject: 1001", "x-pollcast-subject-type: number"]
        );
        assert_eq!(lines(text.fields("subject", &subject)), ["x-pollcast-subject: 1001"]);
        let claims = serde_json::json!({ "org": 7, "paid": true, "name": "7" });
        let claims = Arc::new(claims.as_object().unwrap().clone());
        let of = Identity { claims, ..text };
        let org = HeaderName::from_static("x-pollcast-org");
        assert_eq!(lines(of.fields("org", &org)), ["x-pollcast-org: 7", "x-pollcast-org-type: number"]);
        assert_eq!(lines(of.fields("paid", &org)), ["x-pollcast-org: true", "x-pollcast-org-type: boolean"]);
        assert_eq!(lines(of.fields("name", &org)), ["x-pollcast-org: 7"]);
        assert_eq!(of.fields("none", &org), None);
    }
}
