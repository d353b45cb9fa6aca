//! Which clients are let in on a route: what proves an identity, and where the proof stands in a request.
//!
//! Must not know: how a proof is checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::{Secret, Upstream};

/// The ways in; one of them is enough. Other clients get nothing of the route, writes included.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Authenticate {
    /// Tokens that an issuer signed. `None` if they are no way in.
    pub jwt: Option<Arc<Jwt>>,
    /// Keys that stay the same. `None` if they are no way in.
    pub keys: Option<ApiKeys>,
    /// The server that is asked about each client. `None` if there is none.
    pub forward: Option<Arc<Forward>>,
    /// A client certificate that the listener verified; its subject is the identity.
    pub client_certificate: bool,
    /// Where a token may stand in a request.
    pub token: TokenPlaces,
}

impl Authenticate {
    /// Returns whether there is one way in with one issuer, so that subjects alone tell clients apart. Behind
    /// `client_ca` there may be any number of authorities.
    pub fn is_bare(&self) -> bool {
        let ways = [self.jwt.is_some(), self.keys.is_some(), self.forward.is_some(), self.client_certificate];
        let has_one_issuer =
            self.jwt.as_ref().is_none_or(|jwt| matches!(&jwt.issuers[..], [issuer] if issuer.name.is_some()));
        ways.iter().filter(|way| **way).count() == 1 && has_one_issuer && !self.client_certificate
    }
}

/// Where a token may stand besides `Authorization: Bearer`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenPlaces {
    /// Name of the cookie in which a token may stand. `None` if cookies are not looked at (default).
    pub cookie: Option<String>,
    /// A query parameter, for those that cannot set headers: EventSource. It goes no further than here.
    pub query: Option<String>,
}

/// Signed tokens (RFC 7519).
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    /// The issuers, at least one. Their names differ; an issuer without a name is the only one.
    pub issuers: Vec<Issuer>,
    /// Audiences, one of which has to be in `aud`. If there are none, a token that names an audience is refused.
    pub audience: Vec<String>,
    /// How far clocks may differ (default: 30 s).
    pub leeway: Duration,
    /// The claim that names the subject (default: `sub`).
    pub subject: String,
    /// Path parameters that have to equal a claim: (parameter, claim).
    pub claims: Vec<(String, String)>,
    /// Whether a token needs `exp`, without which it would be good for ever (default: true).
    pub require_exp: bool,
}

/// An issuer of tokens and the keys that are its own: a key proves nothing in another issuer's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// The value that `iss` must have. `None` if it is not looked at.
    pub name: Option<String>,
    /// The algorithms that its signatures may use (default: RS256, ES256 and EdDSA).
    pub algorithms: Vec<Algorithm>,
    /// Keys that the file itself names.
    pub keys: Vec<StaticKey>,
    /// The key set that the issuer publishes. `None` if `keys` are all there are (default).
    pub jwks: Option<Jwks>,
}

/// Signature algorithms (RFC 7518 §3, RFC 8037). There is no `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on the curve P-256 with SHA-256.
    Es256,
    /// ECDSA on the curve P-384 with SHA-384.
    Es384,
    /// EdDSA on the curve Ed25519 (RFC 8037).
    EdDsa,
}

impl Algorithm {
    /// All algorithms, by their names in a token's head.
    pub const ALL: [(&'static str, Algorithm); 12] = [
        ("HS256", Algorithm::Hs256),
        ("HS384", Algorithm::Hs384),
        ("HS512", Algorithm::Hs512),
        ("RS256", Algorithm::Rs256),
        ("RS384", Algorithm::Rs384),
        ("RS512", Algorithm::Rs512),
        ("PS256", Algorithm::Ps256),
        ("PS384", Algorithm::Ps384),
        ("PS512", Algorithm::Ps512),
        ("ES256", Algorithm::Es256),
        ("ES384", Algorithm::Es384),
        ("EdDSA", Algorithm::EdDsa),
    ];

    /// Whether both sides hold the same secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
    }
}

/// A key of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticKey {
    /// The key's id (`kid`). Tokens that name another one are not tried with this key.
    pub id: Option<String>,
    /// What signatures are checked with.
    pub material: KeyMaterial,
}

/// What signatures are checked with. Its kind decides which algorithms it can check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// A secret, for the HS algorithms.
    Secret(Secret),
    /// A public RSA key, PEM, as read at load; for the RS and PS algorithms.
    Rsa(Vec<u8>),
    /// A public key on an elliptic curve, PEM, as read at load; for the ES algorithms.
    Ec(Vec<u8>),
    /// An Ed25519 public key, PEM, as read at load; for EdDSA.
    Ed(Vec<u8>),
}

/// A set of keys (RFC 7517).
#[derive(Debug, Clone, PartialEq)]
pub struct Jwks {
    /// Where the set is read from.
    pub source: JwksSource,
    /// The set is read again this often, and at once for a token that names an unknown key (default: 10 min).
    pub refresh: Duration,
}

/// Where a key set is read from.
#[derive(Debug, Clone, PartialEq)]
pub enum JwksSource {
    /// A file, by its absolute path.
    File(PathBuf),
    /// A URL that is asked.
    Url {
        /// The server, reached like any upstream.
        server: Arc<Upstream>,
        /// Path and query of the URL.
        path: String,
    },
}

/// Keys that stay the same, one for each client.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKeys {
    /// The request header that carries a client's key (default: `x-api-key`).
    pub header: HeaderName,
    /// The clients: their names, which are the subjects, and their keys.
    pub clients: Vec<(String, Secret)>,
}

/// A server that is asked about each client (the protocol of nginx's `auth_request`): 2xx lets in,
/// 401 and 403 refuse.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The server that is asked, reached like any upstream.
    pub server: Arc<Upstream>,
    /// Path and query of the URL.
    pub path: String,
    /// Request headers that go along. A request with none of them is not asked about (default: Authorization and
    /// Cookie).
    pub headers: Vec<HeaderName>,
    /// The answer's header that names the subject (default: `x-auth-request-user`). Without it the subject is a digest
    /// of what was sent.
    pub subject: HeaderName,
    /// Longest time of the whole exchange (default: 2 s).
    pub timeout: Duration,
    /// How long an answer counts for the same headers, a fifth less or more (default: 30 s).
    pub cache: Duration,
}

impl Forward {
    /// Returns the URL that is asked, without its query: the issuer of the subjects that it names.
    pub fn issuer(&self) -> String {
        let scheme = if self.server.tls.is_some() { "https" } else { "http" };
        let host = self.server.host.as_deref().unwrap_or_default();
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{scheme}://{host}{path}")
    }
}
