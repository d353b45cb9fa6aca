//! As whom polls are made: what stays the same while a password or a token is replaced.
//!
//! Must not know: how credentials are sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::{Auth, SecretForm};

/// The user of these credentials, as far as the file says it, without any secret.
pub fn user(auth: &Auth) -> Vec<String> {
    let words = |kind: &str, words: &[Option<&str>]| {
        let said = words.iter().map(|word| word.map_or_else(String::new, |word| format!("={word}")));
        std::iter::once(kind.to_owned()).chain(said).collect()
    };
    match auth {
        Auth::Static(value) => match value.to_str().unwrap_or_default().split_once(' ') {
            Some(("Basic", encoded)) => words("basic", &[Some(&basic_user(encoded))]),
            _ => words("bearer", &[]),
        },
        Auth::File(file) => match &file.form {
            SecretForm::Basic { user } => words("basic", &[Some(user)]),
            SecretForm::Bearer => words("bearer", &[]),
            SecretForm::Field => words("field", &[]),
            SecretForm::Password => words("password", &[]),
        },
        Auth::Digest(digest) => words("digest", &[Some(&digest.username)]),
        Auth::ClientCredentials(client) => {
            let server = client.server.host.as_deref();
            let said = [server, Some(&client.path), Some(&client.client_id)];
            words("oauth2", &[&said[..], &[client.scope.as_deref(), client.audience.as_deref()]].concat())
        }
    }
}

/// The user of HTTP basic authentication (RFC 7617): it has no `:`.
fn basic_user(encoded: &str) -> String {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let user = bytes.split(|byte| *byte == b':').next().unwrap_or_default();
    String::from_utf8_lossy(user).into_owned()
}
