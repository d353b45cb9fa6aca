//! A media type reduced to what names content.
//!
//! Must not know: bodies.

/// A media type reduced to what names content: essence and charset, lower case (RFC 9110 §8.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// `type/subtype`.
    pub essence: String,
    /// The value of `charset`. `None` if it has none.
    pub charset: Option<String>,
}

impl MediaType {
    /// Reads the value of a Content-Type. Returns `None` if it has no `/`.
    pub fn parse(text: &str) -> Option<MediaType> {
        let mut parts = text.split(';');
        let essence = parts.next()?.trim().to_ascii_lowercase();
        if !essence.contains('/') {
            return None;
        }
        let charset = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("charset")
                .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        Some(MediaType { essence, charset })
    }

    /// Returns whether bodies of this type are JSON: `application/json`, or any type with the suffix `+json` (RFC
    /// 6839 §3.1).
    pub fn is_json(&self) -> bool {
        self.essence == "application/json" || self.essence.ends_with("+json")
    }
}
