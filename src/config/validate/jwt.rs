//! `authenticate.jwt`: the issuers of tokens, each with keys of its own. Keys are tried here, at load.
//!
//! Must not know: how a token is checked.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::DecodingKey;

use super::super::identity::{Algorithm, Issuer, Jwks, JwksSource, Jwt, KeyMaterial, StaticKey};
use super::super::problem::{Findings, Place};
use super::super::{Secret, raw};
use super::context::Context;
use super::units::{DAY, MINUTE, SECOND};
use super::value::at;
use super::{server, tls};

/// Shortest secret of the HS algorithms (RFC 7518 §3.2: as long as the hash).
const SECRET_BYTES_MIN: usize = 32;

/// The settings of one issuer: in `issuers`, or beside it where there is only one.
struct IssuerSaid<'a> {
    algorithms: Option<&'a raw::List<raw::Text>>,
    keys: Option<&'a raw::List<raw::Key>>,
    jwks: Option<&'a raw::Text>,
    ca: Option<&'a raw::Text>,
    upstream: Option<&'a raw::Text>,
    refresh: Option<&'a raw::Time>,
}

/// Copies the fields that an issuer of `issuers` and `jwt` itself have both.
macro_rules! issuer_said {
    ($raw:expr) => {
        IssuerSaid {
            algorithms: $raw.algorithms.as_ref(),
            keys: $raw.keys.as_ref(),
            jwks: $raw.jwks.as_ref(),
            ca: $raw.ca.as_ref(),
            upstream: $raw.upstream.as_ref(),
            refresh: $raw.refresh.as_ref(),
        }
    };
}

/// Reads `authenticate.jwt`: the issuers with their keys, and what is asked of a token.
pub fn jwt(place: &Place, raw: &raw::Jwt, context: &Context<'_>, findings: &mut Findings) -> Option<Jwt> {
    let mut jwt = Jwt {
        issuers: Vec::new(),
        audience: Vec::new(),
        leeway: 30 * SECOND,
        subject: "sub".to_owned(),
        claims: Vec::new(),
        require_exp: true,
    };
    match at!(place, raw.issuers) {
        (place, Some(said)) => several(&place, said, context, &mut jwt.issuers, findings),
        (_, None) => jwt.issuers.push(alone(place, raw, context, findings)),
    }
    if raw.issuers.is_some() {
        none_beside_issuers(place, raw, findings);
    }
    let some = |_: &mut Findings, _: &Place, said: &str| Some(said.to_owned());
    findings.list(at!(place, raw.audience), some, &mut jwt.audience);
    findings.time(at!(place, raw.leeway), Duration::ZERO..=10 * MINUTE, &mut jwt.leeway);
    if let Some(subject) = &raw.subject {
        jwt.subject = subject.0.clone();
    }
    for (parameter, claim) in raw.claims.iter().flatten() {
        jwt.claims.push((parameter.clone(), claim.0.clone()));
    }
    findings.flag(at!(place, raw.require_exp), &mut jwt.require_exp);
    Some(jwt)
}

/// Reads `issuers`: each has a name of its own, and keys of its own.
fn several(
    place: &Place,
    said: &raw::List<raw::Issuer>,
    context: &Context<'_>,
    to: &mut Vec<Issuer>,
    findings: &mut Findings,
) {
    if said.is_empty() {
        findings.problem(place, "is empty: no token would be accepted");
    }
    for (index, raw) in said.iter().enumerate() {
        let (place, Some(raw)) = (place.index(index), raw) else { continue };
        let (name_place, name) = at!(place, raw.issuer);
        let is_said = name.is_some();
        let name = name.map(|name| name.0.clone()).filter(|name| !name.is_empty());
        match &name {
            // A key that is missing is a problem of its own.
            None if !is_said => {}
            None => findings.problem(&place, "names no issuer: say what iss is in its tokens"),
            Some(name) if to.iter().any(|other| other.name.as_ref() == Some(name)) => {
                findings.bad(&name_place, name, "is there twice");
            }
            Some(_) => {}
        }
        let read = issuer(&place, name, &issuer_said!(raw), context, findings);
        if let Some(other) = to.iter().position(|other| has_keys_of(other, &read)) {
            let message = format!(
                "has keys of issuers[{other}]: a holder of such a key can sign tokens in the name of both"
            );
            findings.warning(&place, message);
        }
        to.push(read);
    }
}

/// Reads the issuer whose keys are said beside `issuer`.
fn alone(place: &Place, raw: &raw::Jwt, context: &Context<'_>, findings: &mut Findings) -> Issuer {
    let mut names: Vec<String> = Vec::new();
    let (names_place, said) = at!(place, raw.issuer);
    findings.list((names_place.clone(), said), |_, _, said| Some(said.to_owned()), &mut names);
    if names.len() > 1 {
        let list: Vec<String> =
            names.iter().map(|name| format!("{{ issuer: {name:?}, jwks or keys: … }}")).collect();
        let message = format!(
            "names {} issuers that share one set of keys, so that each could sign tokens in the name of the others; \
             write issuers: [{}], each with its own keys",
            names.len(),
            list.join(", ")
        );
        findings.problem(&names_place, message);
    }
    let read = issuer(place, names.into_iter().next(), &issuer_said!(raw), context, findings);
    if read.name.is_none() && (raw.jwks.is_some() || read.keys.len() > 1) {
        let message = "names no issuer: any token that these keys signed is accepted";
        findings.warning(place, message);
    }
    read
}

/// Refuses what is said beside `issuers` and belongs to one of them.
fn none_beside_issuers(place: &Place, raw: &raw::Jwt, findings: &mut Findings) {
    let said = issuer_said!(raw);
    for (name, is_there) in [
        ("issuer", raw.issuer.is_some()),
        ("algorithms", said.algorithms.is_some()),
        ("keys", said.keys.is_some()),
        ("jwks", said.jwks.is_some()),
        ("ca", said.ca.is_some()),
        ("upstream", said.upstream.is_some()),
        ("refresh", said.refresh.is_some()),
    ] {
        if is_there {
            findings.problem(&place.key(name), "is beside issuers: say it for each issuer it is of");
        }
    }
}

/// Reads one issuer.
fn issuer(
    place: &Place,
    name: Option<String>,
    raw: &IssuerSaid<'_>,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Issuer {
    let mut algorithms = Vec::new();
    let choose = |findings: &mut Findings, place: &Place, said: &str| {
        findings.read_choice(place, said, &Algorithm::ALL)
    };
    let algorithms_place = place.key("algorithms");
    findings.list((algorithms_place.clone(), raw.algorithms), choose, &mut algorithms);
    let mut keys = Vec::new();
    let keys_place = place.key("keys");
    for (index, said) in raw.keys.into_iter().flatten().enumerate() {
        if let Some(said) = said {
            keys.extend(key(&keys_place.index(index), said, context, findings));
        }
    }
    let mut refresh = 10 * MINUTE;
    findings.time((place.key("refresh"), raw.refresh), 10 * SECOND..=DAY, &mut refresh);
    let jwks = jwks(place, raw, context, refresh, findings);
    if raw.jwks.is_none() && raw.keys.is_none_or(Vec::is_empty) {
        findings.problem(place, "has neither keys nor jwks to check a token with");
    }
    if raw.algorithms.is_none() {
        // Secrets and public keys never mix by a default.
        algorithms = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].to_vec();
    }
    // A list that could not be read is not reported twice.
    let is_read = raw.algorithms.is_none_or(|said| said.len() == algorithms.len());
    if algorithms.is_empty() && is_read {
        findings.problem(&algorithms_place, "is empty: no token would be accepted");
    }
    let symmetric = algorithms.iter().any(|algorithm| algorithm.is_symmetric());
    if symmetric && raw.jwks.is_some() {
        let message =
            "has an HS algorithm beside jwks: what is published is no secret; use keys with a secret";
        findings.problem(&algorithms_place, message);
    }
    if !symmetric && is_read && keys.iter().any(|key| matches!(key.material, KeyMaterial::Secret(_))) {
        let message = "has a secret, and algorithms names none that uses it; say algorithms: [HS256]";
        findings.problem(&keys_place, message);
    }
    Issuer { name, algorithms, keys, jwks }
}

/// Returns whether a key, or the key set, of one issuer is the other's, too.
fn has_keys_of(one: &Issuer, other: &Issuer) -> bool {
    let set = |issuer: &Issuer| {
        issuer.jwks.as_ref().map(|jwks| match &jwks.source {
            JwksSource::File(file) => file.display().to_string(),
            JwksSource::Url { server, path } => {
                let tls = server.tls.is_some();
                format!("{tls} {} {path}", server.host.as_deref().unwrap_or_default())
            }
        })
    };
    let same_set = set(one).is_some_and(|first| set(other).is_some_and(|second| first == second));
    same_set || one.keys.iter().any(|key| other.keys.iter().any(|other| key.material == other.material))
}

fn jwks(
    place: &Place,
    raw: &IssuerSaid<'_>,
    context: &Context<'_>,
    refresh: Duration,
    findings: &mut Findings,
) -> Option<Jwks> {
    let said = &raw.jwks?.0;
    let source = if said.contains("://") {
        let way = server::Said {
            place,
            key: "jwks",
            url: raw.jwks,
            ca: raw.ca,
            upstream: raw.upstream,
            risk: "a machine on the way can put other keys in place of these",
        };
        let (server, path) = server::server(&way, context, findings)?;
        JwksSource::Url { server: Arc::new(server), path }
    } else {
        if raw.upstream.is_some() {
            findings.problem(&place.key("upstream"), "has no effect: jwks is a file");
        }
        let place = place.key("jwks");
        let bytes = tls::file(&place, said, context.base_dir, findings)?;
        if let Err(error) = serde_json::from_slice::<jsonwebtoken::jwk::JwkSet>(&bytes) {
            findings.bad(&place, said, &format!("is not a key set (RFC 7517): {error}"));
        }
        JwksSource::File(context.base_dir.join(said))
    };
    Some(Jwks { source, refresh })
}

fn key(place: &Place, raw: &raw::Key, context: &Context<'_>, findings: &mut Findings) -> Option<StaticKey> {
    let material = match (at!(place, raw.secret), at!(place, raw.pem)) {
        ((place, Some(secret)), (_, None)) => {
            if secret.0.len() < SECRET_BYTES_MIN {
                findings.problem(&place, "is too short for a secret key; at least 32 characters");
            }
            KeyMaterial::Secret(Secret(secret.0.clone()))
        }
        ((_, None), (place, Some(said))) => {
            let bytes = tls::file(&place, &said.0, context.base_dir, findings)?;
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
