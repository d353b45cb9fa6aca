//! Claims about tokens: which are good here, and why the others are not.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::Secret;
use crate::config::identity::StaticKey;

const SECRET: &str = "a secret of more than thirty-two characters";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn issuer(name: Option<&str>, secret: &str) -> Issuer {
    Issuer {
        name: name.map(str::to_owned),
        algorithms: vec![Algorithm::Hs256],
        keys: vec![StaticKey { id: None, material: KeyMaterial::Secret(Secret(secret.into())) }],
        jwks: None,
    }
}

fn rules() -> Jwt {
    Jwt {
        issuers: vec![issuer(Some("https://issuer.test"), SECRET)],
        audience: vec!["pollcast".into()],
        leeway: Duration::from_secs(30),
        subject: "sub".into(),
        claims: vec![("tenant".into(), "org".into())],
        require_exp: true,
    }
}

fn claims() -> Value {
    json!({ "sub": "ann", "iss": "https://issuer.test", "aud": "pollcast", "exp": now() + 600, "org": "acme" })
}

fn with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    all
}

fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).unwrap()
}

/// The rules with other algorithms and keys of their issuer.
fn keyed(algorithms: Vec<Algorithm>, keys: Vec<StaticKey>) -> Jwt {
    let issuers = vec![Issuer { algorithms, keys, ..issuer(Some("https://issuer.test"), SECRET) }];
    Jwt { issuers, ..rules() }
}

fn verifier(rules: Jwt) -> Verifier {
    let sets = rules.issuers.iter().map(|_| None).collect();
    Verifier::new(Arc::new(rules), sets)
}

async fn verify(rules: Jwt, token: &str) -> Result<Identity, Denied> {
    verifier(rules).verify(token).await
}

#[tokio::test]
async fn a_good_token_says_who_it_is_and_until_when() {
    let identity = verify(rules(), &signed(&claims())).await.unwrap();
    assert_eq!(&*identity.principal.subject, "ann");
    assert_eq!(identity.what("org").as_deref(), Some("acme"));
    assert_eq!(identity.what("subject").as_deref(), Some("ann"));
    assert_eq!(identity.what("none"), None);
    let left = identity.expires.unwrap() - Instant::now();
    assert!(left > Duration::from_secs(625) && left <= Duration::from_secs(630), "{left:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_said() {
    let wrong: [(Value, &str); 12] = [
        (json!({ "exp": now() - 31 }), "expired"),
        (json!({ "exp": null }), "claims"),
        (json!({ "exp": "tomorrow" }), ""),
        (json!({ "nbf": now() + 60 }), "expired"),
        (json!({ "nbf": "tomorrow" }), ""),
        (json!({ "iss": "https://other.test" }), "claims"),
        (json!({ "iss": null }), "claims"),
        (json!({ "aud": "others" }), "claims"),
        (json!({ "aud": null }), "claims"),
        (json!({ "sub": null }), "claims"),
        (json!({ "sub": "" }), "claims"),
        (json!({ "sub": { "a": 1 } }), ""),
    ];
    for (change, reason) in wrong {
        let denied = verify(rules(), &signed(&with(change.clone()))).await.unwrap_err();
        assert_eq!(denied.status, http::StatusCode::UNAUTHORIZED);
        assert!(denied.reason.starts_with(reason), "{change}: {denied:?}");
    }
    let right = [
        json!({ "exp": now() - 25 }),
        json!({ "nbf": now() + 25 }),
        json!({ "aud": ["others", "pollcast"] }),
        json!({ "sub": 7 }),
    ];
    for change in right {
        assert!(verify(rules(), &signed(&with(change.clone()))).await.is_ok(), "{change}");
    }
}

#[tokio::test]
async fn no_token_chooses_what_it_is_checked_with() {
    let good = signed(&claims());
    let mut parts = good.split('.');
    let (_, body, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let head = |head: Value| URL_SAFE_NO_PAD.encode(head.to_string());
    let forged = [
        format!("{}.{body}.", head(json!({ "alg": "none" }))),
        format!("{}.{body}.", head(json!({ "alg": "None", "typ": "JWT" }))),
        format!("{}.{body}.{signature}", head(json!({ "alg": "HS512" }))),
        format!("{}.{body}.{signature}", head(json!({ "alg": "RS256" }))),
        format!("{}.{body}.{signature}", head(json!({ "alg": "HS256", "crit": ["b64"], "b64": false }))),
        format!("{}.{body}.{signature}", head(json!({ "typ": "JWT" }))),
        format!("{good}x"),
        format!("{good}.more"),
        good.replacen('.', "..", 1),
        "a.b.c".to_owned(),
        String::new(),
        "x".repeat(20_000),
        signed(&claims()).replace(body, &URL_SAFE_NO_PAD.encode(with(json!({ "sub": "bob" })).to_string())),
    ];
    for token in forged {
        assert!(verify(rules(), &token).await.is_err(), "{token}");
    }
    let other = EncodingKey::from_secret(b"another secret of more than thirty-two chars");
    let token = jsonwebtoken::encode(&Header::default(), &claims(), &other).unwrap();
    assert_eq!(verify(rules(), &token).await.unwrap_err().reason, "signature");
}

/// Key pairs: (private key as PKCS#8 in PEM, public key in PEM).
fn ec() -> (String, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    (pair.serialize_pem(), pair.public_key_pem())
}

fn ed() -> (String, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    (pair.serialize_pem(), pair.public_key_pem())
}

fn rsa() -> (Vec<u8>, String) {
    use aws_lc_rs::encoding::{Pkcs8V1Der, PublicKeyX509Der};
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(aws_lc_rs::signature::KeyPair::public_key(&pair));
    let text = base64::engine::general_purpose::STANDARD.encode(public.unwrap().as_ref());
    (private, format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[tokio::test]
async fn every_algorithm_works_with_its_kind_of_key_and_no_other() {
    use jsonwebtoken::Algorithm as Name;
    let ((ec_private, ec_public), (ed_private, ed_public), (rsa_private, rsa_public)) = (ec(), ed(), rsa());
    let rsa_private = pem("PRIVATE KEY", &rsa_private);
    let rsa_key = || EncodingKey::from_rsa_pem(rsa_private.as_bytes()).unwrap();
    let all = [
        (Algorithm::Es256, Name::ES256, EncodingKey::from_ec_pem(ec_private.as_bytes()).unwrap()),
        (Algorithm::EdDsa, Name::EdDSA, EncodingKey::from_ed_pem(ed_private.as_bytes()).unwrap()),
        (Algorithm::Rs256, Name::RS256, rsa_key()),
        (Algorithm::Rs512, Name::RS512, rsa_key()),
        (Algorithm::Ps256, Name::PS256, rsa_key()),
        (Algorithm::Hs512, Name::HS512, EncodingKey::from_secret(SECRET.as_bytes())),
    ];
    let materials = [
        KeyMaterial::Ec(ec_public.clone().into()),
        KeyMaterial::Ed(ed_public.into()),
        KeyMaterial::Rsa(rsa_public.clone().into()),
        KeyMaterial::Secret(Secret(SECRET.into())),
    ];
    for (algorithm, name, key) in &all {
        let token = jsonwebtoken::encode(&Header::new(*name), &claims(), key).unwrap();
        let mut accepted = 0;
        for material in &materials {
            let keys = vec![StaticKey { id: None, material: material.clone() }];
            let rules = keyed(vec![*algorithm], keys);
            accepted += usize::from(verify(rules, &token).await.is_ok());
        }
        assert_eq!(accepted, 1, "{algorithm:?}");
        let keys = materials.iter().map(|material| StaticKey { id: None, material: material.clone() });
        let every = keyed(vec![*algorithm], keys.clone().collect());
        assert!(verify(every, &token).await.is_ok(), "{algorithm:?} among all keys");
        let others = all.iter().map(|other| other.0).filter(|other| other != algorithm).collect();
        let without = keyed(others, keys.collect());
        assert_eq!(verify(without, &token).await.unwrap_err().reason, "algorithm");
    }
    // The classic: the public key, which all know, as a secret.
    let confused = EncodingKey::from_secret(rsa_public.as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Name::HS256), &claims(), &confused).unwrap();
    let keys = vec![StaticKey { id: None, material: KeyMaterial::Rsa(rsa_public.into()) }];
    let both = keyed(vec![Algorithm::Rs256, Algorithm::Hs256], keys);
    assert_eq!(verify(both, &token).await.unwrap_err().reason, "key");
}

#[tokio::test]
async fn a_token_that_names_a_key_is_checked_with_that_one() {
    let key = |id: &str, secret: &str| StaticKey {
        id: Some(id.to_owned()),
        material: KeyMaterial::Secret(Secret(secret.to_owned())),
    };
    let keys = vec![key("old", "x".repeat(40).as_str()), key("new", SECRET)];
    let rules = keyed(vec![Algorithm::Hs256], keys);
    let named = |id: Option<&str>| {
        let head = Header { kid: id.map(str::to_owned), ..Header::default() };
        jsonwebtoken::encode(&head, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    };
    assert!(verify(rules.clone(), &named(Some("new"))).await.is_ok());
    assert!(verify(rules.clone(), &named(None)).await.is_ok());
    assert_eq!(verify(rules.clone(), &named(Some("old"))).await.unwrap_err().reason, "signature");
    assert_eq!(verify(rules, &named(Some("other"))).await.unwrap_err().reason, "key");
}

#[tokio::test]
async fn a_key_proves_nothing_in_another_issuers_name() {
    const OTHER: &str = "the secret of another issuer, long enough";
    let two = Jwt {
        issuers: vec![issuer(Some("https://issuer.test"), SECRET), issuer(Some("https://other.test"), OTHER)],
        ..rules()
    };
    let by = |secret: &str, iss: Value| {
        let claims = with(json!({ "iss": iss }));
        jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .unwrap()
    };
    let (one, other) = (json!("https://issuer.test"), json!("https://other.test"));
    let ann = verify(two.clone(), &by(SECRET, one.clone())).await.unwrap();
    let namesake = verify(two.clone(), &by(OTHER, other.clone())).await.unwrap();
    assert_eq!(ann.principal.issuer.as_deref(), Some("https://issuer.test"));
    assert_ne!(ann.principal, namesake.principal, "one subject of two issuers is two clients");
    assert_eq!(verify(two.clone(), &by(SECRET, other)).await.unwrap_err().reason, "signature");
    assert_eq!(verify(two.clone(), &by(OTHER, one)).await.unwrap_err().reason, "signature");
    for unnamed in [json!(null), json!(["https://issuer.test"]), json!(1), json!("https://ISSUER.test")] {
        let denied = verify(two.clone(), &by(SECRET, unnamed.clone())).await.unwrap_err();
        assert_eq!(denied.reason, "claims", "{unnamed}");
    }
}

#[tokio::test]
async fn where_no_issuer_is_asked_for_the_token_s_own_word_still_tells_clients_apart() {
    let any = Jwt { issuers: vec![issuer(None, SECRET)], ..rules() };
    let of = |iss: Value| {
        let (any, token) = (any.clone(), signed(&with(json!({ "iss": iss }))));
        async move { verify(any, &token).await.unwrap().principal }
    };
    let (one, other, none) = (of(json!("a")).await, of(json!("b")).await, of(Value::Null).await);
    assert!(one != other && one != none && other != none);
    let number = verify(any.clone(), &signed(&with(json!({ "sub": 1001 })))).await.unwrap();
    let text = verify(any, &signed(&with(json!({ "sub": "1001" })))).await.unwrap();
    assert_ne!(number.principal, text.principal);
}

#[tokio::test]
async fn claims_have_to_be_what_the_path_says() {
    let of_rules = verifier(rules());
    let identity = |org: Value| {
        let token = signed(&with(json!({ "org": org })));
        let verifier = verifier(rules());
        async move { verifier.verify(&token).await.unwrap() }
    };
    let at = |tenant: &str| vec![("tenant".to_owned(), tenant.to_owned())];
    let acme = identity(json!("acme")).await;
    assert_eq!(of_rules.admits(&acme, &at("acme")), Ok(()));
    for other in ["acm", "acme2", "ACME", "", "acme%00"] {
        let denied = of_rules.admits(&acme, &at(other)).unwrap_err();
        assert_eq!(denied.status, http::StatusCode::FORBIDDEN, "{other}");
    }
    assert!(of_rules.admits(&acme, &[]).is_err(), "a path without it");
    assert_eq!(of_rules.admits(&identity(json!("ä b")).await, &at("%C3%A4%20b")), Ok(()));
    assert_eq!(of_rules.admits(&identity(json!(7)).await, &at("7")), Ok(()));
    assert!(of_rules.admits(&identity(json!(["acme"])).await, &at("acme")).is_err(), "a list is no name");
}

#[test]
fn a_hint_is_what_the_token_says_of_itself() {
    let left = |exp: Value| expiry_hint(&signed(&with(json!({ "exp": exp }))));
    let soon = left(json!(now() + 100)).unwrap() - Instant::now();
    assert!(soon > Duration::from_secs(95) && soon <= Duration::from_secs(100));
    assert!(left(json!(now() - 100)).unwrap() <= Instant::now());
    assert_eq!(left(Value::Null), None);
    assert!(left(json!(1e300)).is_some(), "the end of time is bounded");
    for none in ["", "a", "a.b.c", "a.b.c.d", "opaque-token"] {
        assert_eq!(expiry_hint(none), None);
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_is_let_in(token in "[A-Za-z0-9_.-]{0,200}", junk in any::<Vec<u8>>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let text = format!("{}.{token}", URL_SAFE_NO_PAD.encode(&junk));
        let both = [token, text];
        for token in both {
            let verified = runtime.block_on(verify(rules(), &token));
            prop_assert!(verified.is_err());
            let _ = expiry_hint(&token);
        }
    }
}

/// Whatever the tests sign with, what pollcast ships checks it, and nothing that differs by a bit.
#[test]
fn the_shipped_cryptography_takes_what_was_signed_and_nothing_else() {
    use jsonwebtoken::Algorithm as Name;
    let ((ec_private, ec_public), (ed_private, ed_public), (rsa_private, rsa_public)) = (ec(), ed(), rsa());
    let rsa_private = pem("PRIVATE KEY", &rsa_private);
    let rsa_key = || EncodingKey::from_rsa_pem(rsa_private.as_bytes()).unwrap();
    let rsa_public = || DecodingKey::from_rsa_pem(rsa_public.as_bytes()).unwrap();
    let secret =
        || (EncodingKey::from_secret(SECRET.as_bytes()), DecodingKey::from_secret(SECRET.as_bytes()));
    let ec = || {
        let private = EncodingKey::from_ec_pem(ec_private.as_bytes()).unwrap();
        (private, DecodingKey::from_ec_pem(ec_public.as_bytes()).unwrap())
    };
    let ed = || {
        let private = EncodingKey::from_ed_pem(ed_private.as_bytes()).unwrap();
        (private, DecodingKey::from_ed_pem(ed_public.as_bytes()).unwrap())
    };
    let pairs = [
        (Name::HS256, secret()),
        (Name::HS384, secret()),
        (Name::HS512, secret()),
        (Name::RS256, (rsa_key(), rsa_public())),
        (Name::RS384, (rsa_key(), rsa_public())),
        (Name::RS512, (rsa_key(), rsa_public())),
        (Name::PS256, (rsa_key(), rsa_public())),
        (Name::PS384, (rsa_key(), rsa_public())),
        (Name::PS512, (rsa_key(), rsa_public())),
        (Name::ES256, ec()),
        (Name::EdDSA, ed()),
    ];
    for (name, (private, public)) in &pairs {
        let token = jsonwebtoken::encode(&Header::new(*name), &claims(), private).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let check = jwt_crypto::verifier(name, public).unwrap();
        assert!(check.verify(message.as_bytes(), &signature).is_ok(), "{name:?}");
        assert!(check.verify(format!("{message}a").as_bytes(), &signature).is_err(), "{name:?}");
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut other = signature.clone();
            other[at] ^= 1;
            assert!(check.verify(message.as_bytes(), &other).is_err(), "{name:?}");
        }
        assert!(check.verify(message.as_bytes(), &Vec::new()).is_err(), "{name:?}");
    }
    // A key of one family is tried on no algorithm of another.
    for (name, _) in &pairs {
        for (_, (_, public)) in &pairs {
            let fits = jwt_crypto::verifier(name, public).is_ok();
            let is_same = jwt_crypto::family(*name) == public.family();
            assert_eq!(fits, is_same, "{name:?}");
        }
    }
}
