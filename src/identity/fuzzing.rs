//! Ways in for the fuzz targets (`tests/fuzz`). Must not know: what they check.

use std::sync::{Arc, OnceLock};

use super::jwt::Verifier;
use crate::config::Secret;
use crate::config::identity::{Algorithm, Issuer, Jwt, KeyMaterial, StaticKey};

/// What a server of key sets says.
pub fn key_set(text: &[u8]) {
    let _ = super::jwks::parse(text);
}

/// Whether a token is good: one that was signed with a secret of this process.
pub fn is_let_in(token: &str) -> bool {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    let verifier = VERIFIER.get_or_init(|| {
        let secret = Secret(format!("{:?}", crate::resource::Digester::default().of([b"secret".as_slice()])));
        let issuer = Issuer {
            name: None,
            algorithms: Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect(),
            keys: vec![StaticKey { id: None, material: KeyMaterial::Secret(secret) }],
            jwks: None,
        };
        let rules = Jwt {
            issuers: vec![issuer],
            audience: Vec::new(),
            leeway: std::time::Duration::from_secs(30),
            subject: "sub".to_owned(),
            claims: Vec::new(),
            require_exp: false,
        };
        Verifier::new(Arc::new(rules), vec![None])
    });
    futures_util::FutureExt::now_or_never(verifier.verify(token)).is_some_and(|verified| verified.is_ok())
}
