//! Tokens of clients, signed by another library than the one that the product checks them with.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// A token. The process's provider of cryptography is the product's, which signs nothing.
pub fn encode<T: Serialize>(header: &Header, claims: &T, key: &EncodingKey) -> String {
    let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&header.alg, key).expect("a key of the algorithm");
    let part = |json: Result<Vec<u8>, _>| URL_SAFE_NO_PAD.encode::<Vec<u8>>(json.expect("JSON"));
    let signed = format!("{}.{}", part(serde_json::to_vec(header)), part(serde_json::to_vec(claims)));
    let signature = signer.try_sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
