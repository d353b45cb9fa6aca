//! Names of header fields that say that their value is a credential (contract §11).
//!
//! Must not know: what a route lists besides.

use std::borrow::Cow;

/// Parts of the names of fields whose values identify or authenticate a user.
const CREDENTIAL_PARTS: [&str; 17] = [
    "token",
    "key",
    "secret",
    "auth",
    "session",
    "password",
    "csrf",
    "user",
    "email",
    "group",
    "subject",
    "principal",
    "identity",
    "jwt",
    "oidc",
    "saml",
    "cert",
];

/// Names that contain such a part by accident: `User-Agent`, and the names that only browsers write.
const ACCIDENTAL: &str = "user-agent";
const ACCIDENTAL_PREFIX: &str = "sec-";

/// Whether the name of a header field says that its value is a credential, also where a proxy adds the field.
pub fn says_credential(name: &str) -> bool {
    let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    };
    let by_accident = name == ACCIDENTAL || name.starts_with(ACCIDENTAL_PREFIX);
    name == "cookie" || (!by_accident && CREDENTIAL_PARTS.iter().any(|part| name.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::says_credential;

    #[test]
    fn names_say_what_they_carry() {
        for name in ["authorization", "cookie", "x-api-key", "Api_Key", "access_token", "x-forwarded-user"] {
            assert!(says_credential(name), "{name}");
        }
        for name in ["user-agent", "Sec-WebSocket-Key", "accept-language", "x-service", "x-request-id"] {
            assert!(!says_credential(name), "{name}");
        }
    }
}
