//! `authenticate`: which clients are let in on a route.
//!
//! Must not know: defaults, bounds, what goes together.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Flag, List, SecretText, Text, Time};

/// `off`, or what lets clients in.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AuthenticateSetting {
    /// `off`.
    Word(Text),
    /// The ways in.
    On(Box<Authenticate>),
}

/// What lets clients in: one of them is enough.
#[derive(Deserialize, JsonSchema)]
pub struct Authenticate {
    /// Signed tokens.
    pub jwt: Option<Jwt>,
    /// Keys that stay the same, one a client.
    pub keys: Option<ApiKeys>,
    /// A server that is asked about each client.
    pub forward: Option<Forward>,
    /// A certificate that the listener's `client_ca` verified.
    pub client_certificate: Option<Flag>,
    /// Where a token may stand besides `Authorization: Bearer`.
    pub token: Option<TokenPlaces>,
}

/// Where a token may stand besides `Authorization: Bearer`.
#[derive(Deserialize, JsonSchema)]
pub struct TokenPlaces {
    /// Name of a cookie, or `off`.
    pub cookie: Option<Text>,
    /// Name of a query parameter, or `off`.
    pub query: Option<Text>,
}

/// Signed tokens (RFC 7519). What an issuer says for itself in `issuers` is said here where there is one alone.
#[derive(Deserialize, JsonSchema)]
pub struct Jwt {
    /// Issuers, each with keys of its own.
    pub issuers: Option<List<Issuer>>,
    /// Algorithms that are accepted.
    pub algorithms: Option<List<Text>>,
    /// Keys that stay the same.
    pub keys: Option<List<Key>>,
    /// File or URL of a key set (RFC 7517).
    pub jwks: Option<Text>,
    /// PEM file of the authorities of that URL; relative to this file; left out: the system's.
    pub ca: Option<Text>,
    /// One of `upstreams`, whose servers, `tls` and `proxy` lead to that URL; left out: the URL.
    pub upstream: Option<Text>,
    /// How often the key set is read again.
    pub refresh: Option<Time>,
    /// The issuer whose tokens are accepted.
    pub issuer: Option<List<Text>>,
    /// The audiences that a token may be for.
    pub audience: Option<List<Text>>,
    /// How far clocks may differ.
    pub leeway: Option<Time>,
    /// The claim that names the subject.
    pub subject: Option<Text>,
    /// Path parameters that have to equal a claim.
    pub claims: Option<BTreeMap<String, Text>>,
    /// Refuse tokens without `exp`.
    pub require_exp: Option<Flag>,
}

/// An issuer of tokens and its own keys.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["issuer"]))]
pub struct Issuer {
    /// Its name in tokens (`iss`).
    pub issuer: Option<Text>,
    /// Algorithms that are accepted.
    pub algorithms: Option<List<Text>>,
    /// Keys that stay the same.
    pub keys: Option<List<Key>>,
    /// File or URL of a key set (RFC 7517).
    pub jwks: Option<Text>,
    /// PEM file of the authorities of that URL; relative to this file; left out: the system's.
    pub ca: Option<Text>,
    /// One of `upstreams`, whose servers, `tls` and `proxy` lead to that URL; left out: the URL.
    pub upstream: Option<Text>,
    /// How often the key set is read again.
    pub refresh: Option<Time>,
}

/// A key: one of secret and pem.
#[derive(Deserialize, JsonSchema)]
pub struct Key {
    /// Its name in tokens (`kid`).
    pub id: Option<Text>,
    /// For the HS algorithms: at least 32 characters.
    pub secret: Option<SecretText>,
    /// PEM file of a public key; relative to this file.
    pub pem: Option<Text>,
}

/// Keys that stay the same.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["clients"]))]
pub struct ApiKeys {
    /// Request header of the key.
    pub header: Option<Text>,
    /// Keys by the names of their clients.
    pub clients: Option<BTreeMap<String, SecretText>>,
}

/// A server that is asked about each client: 2xx lets in, 401 and 403 refuse.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["url"]))]
pub struct Forward {
    /// What is asked: `http://auth.internal/check`.
    pub url: Option<Text>,
    /// PEM file of the server's authorities; relative to this file; left out: the system's.
    pub ca: Option<Text>,
    /// One of `upstreams`, whose servers, `tls` and `proxy` lead to the server; left out: the URL.
    pub upstream: Option<Text>,
    /// Request headers that go along.
    pub headers: Option<List<Text>>,
    /// The answer's header that names the subject.
    pub subject: Option<Text>,
    /// How long it may take.
    pub timeout: Option<Time>,
    /// How long an answer counts for the same headers.
    pub cache: Option<Time>,
}

/// How the subscribers of a shared resource are checked, each with its own credentials.
#[derive(Deserialize, JsonSchema)]
pub struct Authorize {
    /// How long one check counts, a fifth less or more.
    pub recheck: Option<Time>,
}
