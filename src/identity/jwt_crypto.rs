//! The cryptography of tokens, by ring: the provider that the process uses wherever it does not use OpenSSL.
//!
//! Checks alone; pollcast signs nothing. Must not know: rules, claims, where keys come from.

use jsonwebtoken::crypto::{CryptoProvider, JwkUtils, JwtSigner, JwtVerifier};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::{hmac, signature as by};

/// The provider that checks tokens.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    jwk_utils: JwkUtils::new_unimplemented(),
};

/// Installs the provider for the process. It must be called before a token is checked.
pub(super) fn install() {
    // A provider is installed already, or a test that signs tokens has another one.
    let _ = PROVIDER.install_default();
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

pub(super) fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    match key.family() == family(*algorithm) {
        true => Ok(Box::new(Check { algorithm: *algorithm, key: key.clone() })),
        false => Err(ErrorKind::InvalidKeyFormat.into()),
    }
}

pub(super) fn family(algorithm: Algorithm) -> AlgorithmFamily {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    match algorithm {
        HS256 | HS384 | HS512 => AlgorithmFamily::Hmac,
        RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => AlgorithmFamily::Rsa,
        ES256 | ES384 => AlgorithmFamily::Ec,
        EdDSA => AlgorithmFamily::Ed,
    }
}

/// One algorithm with one key of its family.
struct Check {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Check {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let bad = |_: ring::error::Unspecified| signature::Error::new();
        match (how(self.algorithm), self.key.kind()) {
            (How::Hmac(algorithm), DecodingKeyKind::SecretOrDer(secret)) => {
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).map_err(bad)
            }
            (How::Rsa(algorithm), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = by::RsaPublicKeyComponents { n, e };
                key.verify(algorithm, message, signature).map_err(bad)
            }
            (How::Rsa(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                by::UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(bad)
            }
            (How::Key(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                by::UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(bad)
            }
            _ => Err(signature::Error::new()),
        }
    }
}

enum How {
    Hmac(hmac::Algorithm),
    Rsa(&'static by::RsaParameters),
    Key(&'static dyn by::VerificationAlgorithm),
}

fn how(algorithm: Algorithm) -> How {
    match algorithm {
        Algorithm::HS256 => How::Hmac(hmac::HMAC_SHA256),
        Algorithm::HS384 => How::Hmac(hmac::HMAC_SHA384),
        Algorithm::HS512 => How::Hmac(hmac::HMAC_SHA512),
        Algorithm::RS256 => How::Rsa(&by::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => How::Rsa(&by::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => How::Rsa(&by::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => How::Rsa(&by::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => How::Rsa(&by::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => How::Rsa(&by::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => How::Key(&by::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => How::Key(&by::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => How::Key(&by::ED25519),
    }
}
