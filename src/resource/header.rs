//! A header field as operators write it on a command line or in a call: `Name: value`.
//!
//! Pure. Must not know: what the field is for.

use http::{HeaderName, HeaderValue};

/// Reads `Name: value`.
///
/// # Errors
/// What is wrong, without the value: it is likely to be a secret.
pub fn header_field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written as 'Name: value'; no colon found")?;
    let name = HeaderName::try_from(name.trim())
        .map_err(|_| "a header is written as 'Name: value'; what stands before the colon is no name")?;
    let mut value = HeaderValue::try_from(value.trim())
        .map_err(|_| format!("the value of {name} has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok((name, value))
}
