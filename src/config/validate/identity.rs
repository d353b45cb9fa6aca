//! `authenticate`: who is let in on a route. Keys are tried here, at load.
//!
//! Must not know: how a token is checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header;
use jsonwebtoken::DecodingKey;

use super::super::identity::{
    Algorithm, ApiKeys, Authenticate, Forward, Jwks, JwksSource, Jwt, KeyMaterial, StaticKey, TokenPlaces,
};
use super::super::problem::{Findings, Place};
use super::super::{Route, Secret, Share, raw};
use super::{DAY, HOUR, MILLISECOND, MINUTE, SECOND, Said, asking, at, tls};

/// Shortest secret of the HS algorithms (RFC 7518 §3.2: as long as the hash).
const SECRET: usize = 32;

pub fn authenticate(
    (place, said): Said<'_, raw::AuthenticateSetting>,
    base_dir: &Path,
    to: &mut Option<Authenticate>,
    findings: &mut Findings,
) {
    let raw = match said {
        Some(raw::AuthenticateSetting::On(raw)) => raw,
        Some(raw::AuthenticateSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::AuthenticateSetting::Word(_)) => {
            return findings
                .problem(&place, "is neither off nor some of jwt, keys, forward, client_certificate");
        }
        None => return,
    };
    let mut who = Authenticate::default();
    if let (place, Some(raw)) = at!(place, raw.jwt) {
        who.jwt = jwt(&place, raw, base_dir, findings).map(Arc::new);
    }
    if let (place, Some(raw)) = at!(place, raw.keys) {
        who.keys = api_keys(&place, raw, findings);
    }
    if let (place, Some(raw)) = at!(place, raw.forward) {
        who.forward = forward(&place, raw, base_dir, findings).map(Arc::new);
    }
    findings.flag(at!(place, raw.client_certificate), &mut who.client_certificate);
    if let (place, Some(raw)) = at!(place, raw.token) {
        token_places(&place, raw, &mut who.token, findings);
    }
    let ways = [raw.jwt.is_some(), raw.keys.is_some(), raw.forward.is_some(), who.client_certificate];
    if !ways.contains(&true) {
        findings.problem(&place, "lets nobody in; name some of jwt, keys, forward, client_certificate");
    }
    *to = Some(who);
}

fn jwt(place: &Place, raw: &raw::Jwt, base_dir: &Path, findings: &mut Findings) -> Option<Jwt> {
    let mut algorithms = Vec::new();
    let choose = |findings: &mut Findings, place: &Place, said: &str| {
        findings.read_choice(place, said, &Algorithm::ALL)
    };
    findings.list(at!(place, raw.algorithms), choose, &mut algorithms);
    let mut keys = Vec::new();
    let (keys_place, said) = at!(place, raw.keys);
    for (index, said) in said.into_iter().flatten().enumerate() {
        if let Some(said) = said {
            keys.extend(key(&keys_place.index(index), said, base_dir, findings));
        }
    }
    let mut refresh = 10 * MINUTE;
    findings.time(at!(place, raw.refresh), 10 * SECOND..=DAY, &mut refresh);
    let jwks = jwks(place, raw, base_dir, refresh, findings);
    if raw.jwks.is_none() && raw.keys.as_ref().is_none_or(Vec::is_empty) {
        findings.problem(place, "has neither keys nor jwks to check a token with");
    }
    if raw.algorithms.is_none() {
        // Secrets and public keys never mix by a default.
        algorithms = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].to_vec();
    }
    // Of a list that is not read as it stands nothing more is said.
    let is_read = raw.algorithms.as_ref().is_none_or(|said| said.len() == algorithms.len());
    if algorithms.is_empty() && is_read {
        findings.problem(&place.key("algorithms"), "is empty: no token would be accepted");
    }
    let symmetric = algorithms.iter().any(|algorithm| algorithm.is_symmetric());
    if symmetric && raw.jwks.is_some() {
        let message =
            "has an HS algorithm beside jwks: what is published is no secret; use keys with a secret";
        findings.problem(&place.key("algorithms"), message);
    }
    if !symmetric && is_read && keys.iter().any(|key| matches!(key.material, KeyMaterial::Secret(_))) {
        let message = "has a secret, and algorithms names none that uses it; say algorithms: [HS256]";
        findings.problem(&keys_place, message);
    }
    let mut jwt = Jwt {
        algorithms,
        keys,
        jwks,
        issuer: Vec::new(),
        audience: Vec::new(),
        leeway: 30 * SECOND,
        subject: "sub".to_owned(),
        claims: Vec::new(),
        require_exp: true,
    };
    let some = |_: &mut Findings, _: &Place, said: &str| Some(said.to_owned());
    findings.list(at!(place, raw.issuer), some, &mut jwt.issuer);
    findings.list(at!(place, raw.audience), some, &mut jwt.audience);
    findings.time(at!(place, raw.leeway), Duration::ZERO..=10 * MINUTE, &mut jwt.leeway);
    if let Some(subject) = &raw.subject {
        jwt.subject = subject.0.clone();
    }
    for (parameter, claim) in raw.claims.iter().flatten() {
        jwt.claims.push((parameter.clone(), claim.0.clone()));
    }
    findings.flag(at!(place, raw.require_exp), &mut jwt.require_exp);
    if jwt.issuer.is_empty() && raw.jwks.is_some() {
        let message = "names no issuer: any token that these keys signed is accepted";
        findings.warning(place, message);
    }
    Some(jwt)
}

fn jwks(
    place: &Place,
    raw: &raw::Jwt,
    base_dir: &Path,
    refresh: Duration,
    findings: &mut Findings,
) -> Option<Jwks> {
    let ca = tls::authorities(at!(place, raw.ca), base_dir, findings);
    let (place, said) = at!(place, raw.jwks);
    let said = &said?.0;
    let source = if said.contains("://") {
        let risk = "whoever is on the way can put their keys in place of these";
        let (server, path) = asking::server(&place, said, ca, risk, findings)?;
        JwksSource::Url { server: Arc::new(server), path }
    } else {
        let bytes = tls::file(&place, said, base_dir, findings)?;
        if let Err(error) = serde_json::from_slice::<jsonwebtoken::jwk::JwkSet>(&bytes) {
            findings.bad(&place, said, &format!("is not a key set (RFC 7517): {error}"));
        }
        JwksSource::File(base_dir.join(said))
    };
    Some(Jwks { source, refresh })
}

fn key(place: &Place, raw: &raw::Key, base_dir: &Path, findings: &mut Findings) -> Option<StaticKey> {
    let material = match (at!(place, raw.secret), at!(place, raw.pem)) {
        ((place, Some(secret)), (_, None)) => {
            if secret.0.len() < SECRET {
                findings.problem(&place, "is too short for a secret key; at least 32 characters");
            }
            KeyMaterial::Secret(Secret(secret.0.clone()))
        }
        ((_, None), (place, Some(said))) => {
            let bytes = tls::file(&place, &said.0, base_dir, findings)?;
            let Some(material) = public_key(bytes) else {
                findings.bad(&place, &said.0, "is not a public key of RSA, EC or Ed25519 in PEM");
                return None;
            };
            material
        }
        _ => {
            findings.problem(place, "wants exactly one of secret and pem");
            return None;
        }
    };
    Some(StaticKey { id: raw.id.as_ref().map(|id| id.0.clone()), material })
}

fn public_key(bytes: Vec<u8>) -> Option<KeyMaterial> {
    if DecodingKey::from_rsa_pem(&bytes).is_ok() {
        Some(KeyMaterial::Rsa(bytes))
    } else if DecodingKey::from_ec_pem(&bytes).is_ok() {
        Some(KeyMaterial::Ec(bytes))
    } else if DecodingKey::from_ed_pem(&bytes).is_ok() {
        Some(KeyMaterial::Ed(bytes))
    } else {
        None
    }
}

fn api_keys(place: &Place, raw: &raw::ApiKeys, findings: &mut Findings) -> Option<ApiKeys> {
    let mut header = http::HeaderName::from_static("x-api-key");
    if let (place, Some(said)) = at!(place, raw.header) {
        header = findings.header_name(&place, &said.0)?;
    }
    let (place, said) = at!(place, raw.clients);
    let clients: BTreeMap<_, _> = said?.clone();
    if clients.is_empty() {
        findings.problem(&place, "is empty; write the clients' keys by their names");
    }
    for (name, key) in &clients {
        if key.0.len() < 16 {
            findings.problem(&place.key(name), "is too short for a key; at least 16 characters");
        }
    }
    let clients = clients.into_iter().map(|(name, key)| (name, Secret(key.0))).collect();
    Some(ApiKeys { header, clients })
}

fn forward(place: &Place, raw: &raw::Forward, base_dir: &Path, findings: &mut Findings) -> Option<Forward> {
    let ca = tls::authorities(at!(place, raw.ca), base_dir, findings);
    let mut headers = Vec::new();
    let (headers_place, said) = at!(place, raw.headers);
    match said {
        None => headers = vec![header::AUTHORIZATION, header::COOKIE],
        said => findings.list(
            (headers_place, said),
            |findings, place, said| findings.header_name(place, said),
            &mut headers,
        ),
    }
    let mut subject = http::HeaderName::from_static("x-auth-request-user");
    if let (place, Some(said)) = at!(place, raw.subject) {
        subject = findings.header_name(&place, &said.0)?;
    }
    let (mut timeout, mut cache) = (2 * SECOND, 30 * SECOND);
    findings.time(at!(place, raw.timeout), 10 * MILLISECOND..=MINUTE, &mut timeout);
    findings.time(at!(place, raw.cache), SECOND..=HOUR, &mut cache);
    let (place, said) = at!(place, raw.url);
    let risk = "clients' credentials go over the network in clear";
    let (server, path) = asking::server(&place, &said?.0, ca, risk, findings)?;
    Some(Forward { server: Arc::new(server), path, headers, subject, timeout, cache })
}

fn token_places(place: &Place, raw: &raw::TokenPlaces, to: &mut TokenPlaces, findings: &mut Findings) {
    let said = [(at!(place, raw.cookie), &mut to.cookie), (at!(place, raw.query), &mut to.query)];
    for ((place, said), to) in said {
        let Some(said) = said.map(|said| said.0.as_str()).filter(|said| *said != "off") else { continue };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if said.is_empty() || said.len() > 64 || !said.bytes().all(plain) {
            findings.bad(&place, said, "is not a name: 1 to 64 of letters, digits, \"-\", \"_\" and \".\"");
        }
        *to = Some(said.to_owned());
    }
}

pub fn recheck((place, said): Said<'_, raw::Authorize>, to: &mut Duration, findings: &mut Findings) {
    if let Some(raw) = said {
        findings.time(at!(place, raw.recheck), SECOND..=DAY, to);
    }
}

/// What of all this must fit together.
pub fn together(place: &Place, route: &Route, parameters: &[&str], findings: &mut Findings) {
    if let Some(jwt) = route.authenticate.as_ref().and_then(|who| who.jwt.as_ref()) {
        let place = place.key("authenticate").key("jwt").key("claims");
        for (parameter, _) in &jwt.claims {
            if !parameters.contains(&parameter.as_str()) {
                findings.bad(&place, parameter, "is not a parameter of the route's path");
            }
        }
    }
    let (route_place, place) = (place, place.key("share"));
    if route.share == Share::Authorize {
        if route.poll.batch.is_some() {
            findings.problem(&place, "cannot be authorize beside poll.batch: no client asks for a batch");
        }
        if route.feed.as_ref().is_some_and(|feed| feed.cursor.is_some()) {
            findings.problem(&place, "cannot be authorize beside feed.cursor: no two answers are the same");
        }
    }
    let is_everybodys = route.authenticate.is_none() && matches!(route.share, Share::Public | Share::Unset);
    let says_private = |said: &http::HeaderValue| {
        said.to_str().is_ok_and(|said| said.contains("private") || said.contains("no-store"))
    };
    if !is_everybodys && route.downstream_cache.as_ref().is_some_and(|said| !says_private(said)) {
        let message = "does not say private, and not everybody may read this route: caches on the way may hand \
                       it to others";
        findings.warning(&route_place.key("downstream_cache"), message);
    }
    let by_identity = matches!(&route.share, Share::By(by) if by.iter().any(|value| matches!(value, super::super::ClassValue::Identity { .. })));
    if by_identity && route.authenticate.is_none() {
        findings.problem(&place, "is by identity, and nothing says who that is; add authenticate");
    }
}
