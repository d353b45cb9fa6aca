//! A certificate that was not believed, and why.
//!
//! Must not know: what the operator is told.

use openssl::x509::{X509StoreContextRef, X509VerifyResult};

/// The verdict on a certificate that fits none of the pins.
pub(super) const VERDICT_OF_PINS: X509VerifyResult = X509VerifyResult::APPLICATION_VERIFICATION;

/// A certificate that was not believed, and why.
pub(super) struct Seen {
    /// The server's certificate, DER.
    pub(super) leaf: Vec<u8>,
    /// The certificate that is at fault, DER.
    pub(super) at_fault: Vec<u8>,
    pub(super) result: X509VerifyResult,
}

impl Seen {
    /// Returns the certificate that is at fault now.
    pub(super) fn of(context: &X509StoreContextRef) -> Option<Seen> {
        let at_fault = context.current_cert()?.to_der().ok()?;
        let first = context.chain().and_then(|chain| chain.get(0)).and_then(|leaf| leaf.to_der().ok());
        let leaf = first.unwrap_or_else(|| at_fault.clone());
        Some(Seen { leaf, at_fault, result: context.error() })
    }
}
