//! The full name of a client: the way it came in by, the issuer that vouches for it, and its subject.
//!
//! A subject is a name within its issuer only (OpenID Connect Core §5.7), so classes, counts, grants and the
//! operator's calls compare all three (contract §11). Must not know: how a proof is checked.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// The way in by which an identity was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// A signed token (`authenticate.jwt`).
    Jwt,
    /// A fixed key (`authenticate.keys`).
    Keys,
    /// A server that was asked (`authenticate.forward`).
    Forward,
    /// A certificate (`authenticate.client_certificate`).
    Certificate,
}

impl Way {
    /// All ways in.
    pub const ALL: [Way; 4] = [Way::Jwt, Way::Keys, Way::Forward, Way::Certificate];

    /// Returns the key of `authenticate` that allows this way.
    pub fn label(self) -> &'static str {
        match self {
            Way::Jwt => "jwt",
            Way::Keys => "keys",
            Way::Forward => "forward",
            Way::Certificate => "client_certificate",
        }
    }
}

/// The full name of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// How the identity was proved.
    pub way: Way,
    /// The token's issuer, the certificate's authority, or the URL of the server that was asked. `None` for fixed
    /// keys, and for tokens that name no issuer where none is asked for.
    pub issuer: Option<Arc<str>>,
    /// The name of the subject, unique for its issuer only.
    pub subject: Arc<str>,
    /// The token says its subject as a number.
    pub numeric: bool,
}

impl Principal {
    /// Returns the name of a client whose subject is text.
    pub fn of(way: Way, issuer: Option<&str>, subject: &str) -> Principal {
        Principal { way, issuer: issuer.map(Arc::from), subject: subject.into(), numeric: false }
    }
}

impl Principal {
    /// Returns the members that name a client in JSON: its subject, `type` if that is a number, and the origin of it
    /// unless `is_bare` says that the subject alone tells it from every other client of its route.
    pub fn named(&self, is_bare: bool) -> Map<String, Value> {
        let mut said = Map::new();
        let mut say = |name: &str, value: &str| said.insert(name.to_owned(), Value::from(value));
        say("subject", &self.subject);
        if self.numeric {
            say("type", "number");
        }
        if !is_bare {
            say("way", self.way.label());
            self.issuer.iter().for_each(|issuer| drop(say("issuer", issuer)));
        }
        said
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subject={:?} way={}", self.subject, self.way.label())?;
        if let Some(issuer) = &self.issuer {
            write!(f, " issuer={issuer:?}")?;
        }
        f.write_str(if self.numeric { " type=number" } else { "" })
    }
}

/// The clients that an operator means: a subject, and as much of its origin as tells it from others of that name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrincipalPattern {
    /// The subject.
    pub subject: String,
    /// The way in. `None` if it does not matter.
    pub way: Option<Way>,
    /// The issuer, empty for clients without one. `None` if it does not matter.
    pub issuer: Option<String>,
    /// Whether the token says the subject as a number. `None` if it does not matter.
    pub numeric: Option<bool>,
}

impl PrincipalPattern {
    /// Returns whether a client is meant.
    pub fn means(&self, principal: &Principal) -> bool {
        let issuer = principal.issuer.as_deref().unwrap_or_default();
        *principal.subject == *self.subject
            && self.way.is_none_or(|way| way == principal.way)
            && self.issuer.as_deref().is_none_or(|wanted| wanted == issuer)
            && self.numeric.is_none_or(|numeric| numeric == principal.numeric)
    }
}

/// The names in a verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName {
    /// The subject, or the first alternative name of a certificate without one.
    pub subject: String,
    /// The name of the authority that it leads to, which the operator trusts.
    pub issuer: String,
}
