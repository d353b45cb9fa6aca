//! Tokens (RFC 7519) against the rules of a route: algorithm, key, time, issuer, audience, claims.
//!
//! The algorithm is one that the operator named and that the key is made for: a token cannot choose how it is checked.
//! Must not know: where a token came from, where keys come from.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Map, Value};

use super::jwks::KeySet;
use super::jwt_crypto;
use super::key::{Candidate, Family};
use super::{Asking, Denied, Identity, Principal, Way};
use crate::config::identity::{Algorithm, Issuer, Jwt, KeyMaterial};

/// Longest token that is looked at, bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Checks the tokens of one set of rules.
pub(super) struct Verifier {
    rules: Arc<Jwt>,
    /// The issuers' keys, in the order of the rules' issuers.
    issuers: Vec<IssuerKeys>,
}

/// The keys of one issuer.
struct IssuerKeys {
    fixed: Vec<Candidate>,
    set: Option<Arc<KeySet>>,
}

impl IssuerKeys {
    fn new(rules: &Issuer, set: Option<Arc<KeySet>>) -> IssuerKeys {
        let candidate = |key: &crate::config::identity::StaticKey| {
            // Keys were tried when the configuration was validated: one that fails now is left out.
            let (families, key_of): (&'static [Family], _) = match &key.material {
                KeyMaterial::Secret(secret) => {
                    (&[Family::Secret], DecodingKey::from_secret(secret.0.as_bytes()))
                }
                KeyMaterial::Rsa(pem) => (&[Family::Rsa], DecodingKey::from_rsa_pem(pem).ok()?),
                KeyMaterial::Ec(pem) => {
                    (&[Family::Ec256, Family::Ec384], DecodingKey::from_ec_pem(pem).ok()?)
                }
                KeyMaterial::Ed(pem) => (&[Family::Ed], DecodingKey::from_ed_pem(pem).ok()?),
            };
            Some(Candidate { id: key.id.clone(), families, algorithm: None, key: key_of })
        };
        jwt_crypto::install();
        IssuerKeys { fixed: rules.keys.iter().filter_map(candidate).collect(), set }
    }

    fn candidates(&self, algorithm: &str, family: Family, id: Option<&str>) -> Vec<Candidate> {
        let set = self.set.as_ref().map(|set| set.keys());
        let all = self.fixed.iter().chain(set.iter().flat_map(|set| set.iter()));
        let fits = |candidate: &&Candidate| {
            candidate.families.contains(&family)
                && candidate.algorithm.as_deref().is_none_or(|only| only == algorithm)
                && match (candidate.id.as_deref(), id) {
                    (Some(has), Some(wants)) => has == wants,
                    _ => true,
                }
        };
        all.filter(fits).cloned().collect()
    }
}

impl Verifier {
    /// `sets` are those of the rules' issuers, in their order.
    pub(super) fn new(rules: Arc<Jwt>, sets: Vec<Option<Arc<KeySet>>>) -> Verifier {
        let keys = |(issuer, set): (&Issuer, _)| IssuerKeys::new(issuer, set);
        let issuers = rules.issuers.iter().zip(sets).map(keys).collect();
        Verifier { rules, issuers }
    }

    /// What it checks tokens by.
    pub(super) fn rules(&self) -> &Jwt {
        &self.rules
    }

    /// The key sets of its issuers.
    pub(super) fn sets(&self) -> impl Iterator<Item = &Arc<KeySet>> {
        self.issuers.iter().filter_map(|issuer| issuer.set.as_ref())
    }

    /// Returns a number that changes with the keys: an identity that other keys proved has to be proved anew.
    pub(super) fn generation(&self) -> u64 {
        self.issuers.iter().filter_map(|issuer| issuer.set.as_ref()).map(|set| set.generation()).sum()
    }

    /// The subject of a token, by keys that are read anew where the token names one that is not known.
    ///
    /// # Errors Why the token is refused.
    #[cfg(any(test, fuzzing))]
    pub(super) async fn verify(&self, token: &str) -> Result<Identity, Denied> {
        self.verified(token, Asking::Allowed).await
    }

    /// The subject of a token.
    ///
    /// # Errors Why the token is refused.
    pub(super) async fn verified(&self, token: &str, asking: Asking) -> Result<Identity, Denied> {
        let head = Head::of(token)?;
        let (rules, keys) = self.issuer(token)?;
        let named = Algorithm::ALL.iter().find(|(name, _)| *name == head.algorithm);
        let Some((name, algorithm)) = named.filter(|(_, algorithm)| rules.algorithms.contains(algorithm))
        else {
            return Err(Denied::unproven("algorithm", "the token's algorithm is not accepted here"));
        };
        let family = Family::of(*algorithm);
        let mut candidates = keys.candidates(name, family, head.key.as_deref());
        if candidates.is_empty()
            && let Some(set) = &keys.set
        {
            if asking == Asking::Forbidden {
                return Err(Denied::unasked());
            }
            set.renew().await;
            candidates = keys.candidates(name, family, head.key.as_deref());
            if candidates.is_empty() && !set.is_loaded() {
                return Err(Denied::unknown("keys", "the keys of tokens cannot be had now"));
            }
        }
        let mut denied = Denied::unproven("key", "no key here is the one that the token names");
        for key in candidates {
            match self.check(token, rules, *algorithm, &key) {
                Ok(identity) => return Ok(identity),
                Err(error) => denied = error,
            }
        }
        Err(denied)
    }

    /// Returns the rules and keys of the issuer that a token names. Nothing is proved by that: the token is checked
    /// with these keys alone.
    fn issuer(&self, token: &str) -> Result<(&Issuer, &IssuerKeys), Denied> {
        let named = named_issuer(token);
        let fits = |issuer: &Issuer| issuer.name.is_none() || issuer.name == named;
        let mut issuers = self.rules.issuers.iter().zip(&self.issuers);
        issuers.find(|(rules, _)| fits(rules)).ok_or_else(|| match named {
            Some(_) => denied(&ErrorKind::InvalidIssuer),
            None => denied(&ErrorKind::MissingRequiredClaim("iss".to_owned())),
        })
    }

    fn check(
        &self,
        token: &str,
        issuer: &Issuer,
        algorithm: Algorithm,
        candidate: &Candidate,
    ) -> Result<Identity, Denied> {
        let rules = &self.rules;
        let mut validation = Validation::new(of(algorithm));
        validation.leeway = rules.leeway.as_secs();
        validation.validate_nbf = true;
        validation.required_spec_claims.clear();
        if rules.require_exp {
            validation.required_spec_claims.insert("exp".to_owned());
        }
        if let Some(name) = &issuer.name {
            validation.set_issuer(&[name]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if !rules.audience.is_empty() {
            validation.set_audience(&rules.audience);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &candidate.key, &validation);
        let claims = decoded.map_err(|error| denied(error.kind()))?.claims;
        let subject = claims.get(&rules.subject);
        let Some(name) = text(subject) else {
            let detail = format!("the token has no claim {:?}, which names its subject", rules.subject);
            return Err(Denied::unproven("claims", detail));
        };
        let expires = claims.get("exp").and_then(Value::as_f64).map(|exp| instant(exp, rules.leeway));
        // The time was checked above, but only to the second.
        if expires.is_some_and(|at| at <= Instant::now()) {
            return Err(denied(&ErrorKind::ExpiredSignature));
        }
        let issuer = match claims.get("iss") {
            None => None,
            Some(Value::String(issuer)) => Some(issuer.as_str()),
            Some(_) => return Err(Denied::unproven("claims", "the token's issuer (iss) is no text")),
        };
        let numeric = subject.is_some_and(Value::is_number);
        let principal = Principal { numeric, ..Principal::of(Way::Jwt, issuer, &name) };
        Ok(Identity { expires, claims: Arc::new(claims), ..Identity::of(principal) })
    }

    /// Whether the claims are those that the path asks for.
    ///
    /// # Errors
    /// 403: the identity is known, and it may not read this resource.
    pub(super) fn admits(&self, identity: &Identity, parameters: &[(String, String)]) -> Result<(), Denied> {
        for (parameter, claim) in &self.rules.claims {
            let wanted = parameters.iter().find(|(name, _)| name == parameter).map(|(_, value)| value);
            let has = identity.what(claim);
            let equal = wanted.zip(has.as_ref()).is_some_and(|(wanted, has)| {
                // The path is in canonical form, its escapes are not resolved.
                percent_encoding::percent_decode_str(wanted).decode_utf8().is_ok_and(|wanted| wanted == *has)
            });
            if !equal {
                let detail = format!("the token's claim {claim:?} is not what {parameter:?} is in this path");
                return Err(Denied::forbidden("claims", detail));
            }
        }
        Ok(())
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() && text.len() <= 1024 => Some(text.clone()),
        // Other numbers may become equal by rounding although tokens have two.
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// The head of a token before anything is checked.
struct Head {
    algorithm: String,
    key: Option<String>,
}

impl Head {
    fn of(token: &str) -> Result<Head, Denied> {
        let bad = |detail: &str| Denied::unproven("malformed", detail);
        if token.len() > TOKEN_BYTES_MAX {
            return Err(bad("the token is longer than 16 KiB"));
        }
        let head = token.split('.').next().unwrap_or_default();
        let head = URL_SAFE_NO_PAD.decode(head).ok();
        let head = head.and_then(|head| serde_json::from_slice::<Map<String, Value>>(&head).ok());
        let head = head.ok_or_else(|| bad("this is no JSON Web Token"))?;
        if head.contains_key("crit") {
            // RFC 7515 §4.1.11: what has to be understood and is not.
            return Err(bad("the token has critical extensions that are not known here"));
        }
        let word = |name: &str| head.get(name).and_then(Value::as_str).map(str::to_owned);
        let algorithm = word("alg").ok_or_else(|| bad("the token names no algorithm"))?;
        Ok(Head { algorithm, key: word("kid") })
    }
}

fn of(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    use jsonwebtoken::Algorithm as To;
    match algorithm {
        Algorithm::Hs256 => To::HS256,
        Algorithm::Hs384 => To::HS384,
        Algorithm::Hs512 => To::HS512,
        Algorithm::Rs256 => To::RS256,
        Algorithm::Rs384 => To::RS384,
        Algorithm::Rs512 => To::RS512,
        Algorithm::Ps256 => To::PS256,
        Algorithm::Ps384 => To::PS384,
        Algorithm::Ps512 => To::PS512,
        Algorithm::Es256 => To::ES256,
        Algorithm::Es384 => To::ES384,
        Algorithm::EdDsa => To::EdDSA,
    }
}

fn denied(kind: &ErrorKind) -> Denied {
    let (reason, detail) = match kind {
        ErrorKind::InvalidSignature => ("signature", "the token's signature is wrong".to_owned()),
        ErrorKind::ExpiredSignature => ("expired", "the token has expired".to_owned()),
        ErrorKind::ImmatureSignature => ("expired", "the token is not good yet".to_owned()),
        ErrorKind::InvalidIssuer => ("claims", "the token's issuer is not known here".to_owned()),
        ErrorKind::InvalidAudience => ("claims", "the token is for another audience".to_owned()),
        ErrorKind::MissingRequiredClaim(name) => ("claims", format!("the token has no claim {name:?}")),
        _ => ("malformed", "the token cannot be read".to_owned()),
    };
    Denied::unproven(reason, detail)
}

/// When a token ends. Times beyond a year count as a year: no process needs to know more.
fn instant(exp: f64, leeway: Duration) -> Instant {
    const YEAR_SECONDS: f64 = 365.0 * 24.0 * 3600.0;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
    let left = (exp + leeway.as_secs_f64() - now).clamp(0.0, YEAR_SECONDS);
    Instant::now() + Duration::from_secs_f64(left)
}

/// Returns when a bearer token says that it ends. It is not checked, which is good enough to stop polling with it.
pub fn expiry_hint(token: &str) -> Option<Instant> {
    let claims = unchecked_claims(token)?;
    claims.get("exp").and_then(Value::as_f64).map(|exp| instant(exp, Duration::ZERO))
}

/// Returns the issuer that a token names, unchecked: good enough to choose the keys that it is checked with. `None`
/// if it names none, or not as text.
fn named_issuer(token: &str) -> Option<String> {
    unchecked_claims(token)?.get("iss")?.as_str().map(str::to_owned)
}

/// Returns what a token says before anything is checked.
fn unchecked_claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
