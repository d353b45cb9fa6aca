//! `poll.auth`: the credentials that an upstream is asked with.
//!
//! Must not know: when it is asked.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};

use super::super::environment::file_of;
use super::super::problem::{Findings, Place};
use super::super::{
    Auth, ClassValue, ClientCredentials, DigestCredentials, Route, Secret, SecretFile, SecretForm, Share, raw,
};
use super::context::Context;
use super::server;
use super::units::{HOUR, MINUTE, SECOND};
use super::value::{Said, at};

/// Reads `poll.auth`: one kind of credentials, or `off`.
pub fn auth(
    (place, said): Said<'_, raw::AuthSetting>,
    context: &Context<'_>,
    to: &mut Option<Auth>,
    findings: &mut Findings,
) {
    let raw = match said {
        Some(raw::AuthSetting::On(raw)) => raw,
        Some(raw::AuthSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::AuthSetting::Word(_)) => {
            // The value is not quoted: an operator may have written a password here.
            return findings
                .problem(&place, "is neither off nor one of basic, bearer, header_file, digest and oauth2");
        }
        None => return,
    };
    let said = [
        raw.basic.is_some(),
        raw.bearer.is_some(),
        raw.oauth2.is_some(),
        raw.digest.is_some(),
        raw.header_file.is_some(),
    ];
    if said.into_iter().filter(|said| *said).count() != 1 {
        return findings
            .problem(&place, "wants exactly one of basic, bearer, header_file, digest and oauth2");
    }
    if let (place, Some(raw)) = at!(place, raw.basic) {
        *to = basic(&place, raw, context, findings);
    }
    if let (place, Some(said)) = at!(place, raw.header_file) {
        *to = watched(secret_file(&place, &said.0, SecretForm::Field, context.base_dir, findings));
    }
    if let (place, Some(said)) = at!(place, raw.bearer) {
        *to = match file_of(&said.0) {
            Some(path) => watched(secret_file(&place, path, SecretForm::Bearer, context.base_dir, findings)),
            None => bearer(&place, said.0.trim(), findings),
        };
    }
    if let (place, Some(raw)) = at!(place, raw.digest) {
        *to = digest(&place, raw, context, findings);
    }
    if let (place, Some(raw)) = at!(place, raw.oauth2) {
        *to = client_credentials(&place, raw, context, findings)
            .map(|of| Auth::ClientCredentials(Arc::new(of)));
    }
}

fn watched(file: Option<SecretFile>) -> Option<Auth> {
    file.map(|file| Auth::File(Arc::new(file)))
}

fn bearer(place: &Place, token: &str, findings: &mut Findings) -> Option<Auth> {
    if token.is_empty() {
        findings.problem(place, "is empty");
    } else if token.contains(char::is_whitespace) {
        findings.problem(place, "has a space, which no token has; write only the token, without \"Bearer\"");
    }
    authorization(place, &format!("Bearer {token}"), findings)
}

fn basic(place: &Place, raw: &raw::Basic, context: &Context<'_>, findings: &mut Findings) -> Option<Auth> {
    let user = raw.user.as_ref()?.0.clone();
    if user.contains(':') {
        findings.problem(&place.key("user"), "has a \":\", which no name can have (RFC 7617)");
    }
    let form = SecretForm::Basic { user: user.clone() };
    match password(
        place,
        (raw.password.as_ref(), raw.password_file.as_ref()),
        form,
        context.base_dir,
        findings,
    )? {
        Password::Said(password) => {
            let pair = STANDARD.encode(format!("{user}:{}", password.0));
            authorization(place, &format!("Basic {pair}"), findings)
        }
        Password::File(file) => watched(Some(file)),
    }
}

/// A file whose text is a secret.
pub fn secret_file(
    place: &Place,
    path: &str,
    form: SecretForm,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<SecretFile> {
    match SecretFile::load(&base_dir.join(path), form) {
        Ok(file) => Some(file),
        Err(reason) => {
            findings.bad(place, path, &reason);
            None
        }
    }
}

/// A password, or the file that it stands in.
pub enum Password {
    /// The password itself.
    Said(Secret),
    /// The file with it.
    File(SecretFile),
}

impl Password {
    /// Returns the password, and its file if other programs may replace it.
    pub fn parts(self) -> (Secret, Option<Arc<SecretFile>>) {
        match self {
            Password::Said(password) => (password, None),
            Password::File(file) => {
                (Secret(SecretFile::password(&file.first).into_owned()), Some(Arc::new(file)))
            }
        }
    }
}

/// Reads `password` or `password_file`, of which there has to be one.
pub fn password(
    place: &Place,
    said: (Option<&raw::FileText>, Option<&raw::Text>),
    form: SecretForm,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<Password> {
    match said {
        (Some(said), None) => text_or_file(&place.key("password"), said, form, base_dir, findings),
        (None, Some(path)) => {
            secret_file(&place.key("password_file"), &path.0, form, base_dir, findings).map(Password::File)
        }
        (None, None) | (Some(_), Some(_)) => {
            findings.problem(place, "wants exactly one of password and password_file");
            None
        }
    }
}

/// Reads a secret, or the file that `${file:…}` names.
pub fn text_or_file(
    place: &Place,
    said: &raw::FileText,
    form: SecretForm,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<Password> {
    match file_of(&said.0) {
        Some(path) => secret_file(place, path, form, base_dir, findings).map(Password::File),
        None => Some(Password::Said(Secret(said.0.clone()))),
    }
}

fn digest(place: &Place, raw: &raw::Digest, context: &Context<'_>, findings: &mut Findings) -> Option<Auth> {
    let username = raw.username.as_ref()?;
    let said = (raw.password.as_ref(), raw.password_file.as_ref());
    let (password, file) = password(place, said, SecretForm::Password, context.base_dir, findings)?.parts();
    if username.0.is_empty() || username.0.contains(':') {
        findings
            .problem(&place.key("username"), "is empty or has a \":\", which no name can have (RFC 7616)");
    }
    let is_plain = |text: &str| !text.chars().any(char::is_control);
    if !is_plain(&username.0) || !is_plain(&password.0) {
        findings.problem(place, "has a control character in it");
    }
    Some(Auth::Digest(Arc::new(DigestCredentials { username: username.0.clone(), password, file })))
}

fn authorization(place: &Place, value: &str, findings: &mut Findings) -> Option<Auth> {
    let mut value: HeaderValue = findings.header_value(place, value)?;
    value.set_sensitive(true);
    Some(Auth::Static(value))
}

fn client_credentials(
    place: &Place,
    raw: &raw::OAuth,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<ClientCredentials> {
    let mut in_body = false;
    findings.flag(at!(place, raw.in_body), &mut in_body);
    let mut refresh_before = MINUTE;
    findings.time(at!(place, raw.refresh_before), SECOND..=HOUR, &mut refresh_before);
    let way = server::Said {
        place,
        key: "token_url",
        url: raw.token_url.as_ref(),
        ca: raw.ca.as_ref(),
        upstream: raw.upstream.as_ref(),
        risk: "the client's secret goes over the network in clear",
    };
    let (server, path) = server::server(&way, context, findings)?;
    let text = |said: &Option<raw::Text>| said.as_ref().map(|said| said.0.clone());
    // An empty one is what `${NAME:-}` gives when nothing is set.
    let some = |said: &Option<raw::Text>| text(said).filter(|said| !said.is_empty());
    let (secret_place, secret) = at!(place, raw.client_secret);
    let (client_secret, secret_file) =
        text_or_file(&secret_place, secret?, SecretForm::Password, context.base_dir, findings)?.parts();
    let client_id = text(&raw.client_id)?;
    for (key, is_empty) in
        [("client_id", client_id.is_empty()), ("client_secret", client_secret.0.is_empty())]
    {
        if is_empty {
            findings.problem(&place.key(key), "is empty");
        }
    }
    Some(ClientCredentials {
        server: Arc::new(server),
        path,
        says_upstream: raw.upstream.is_some(),
        client_id,
        client_secret,
        secret_file,
        scope: some(&raw.scope),
        audience: some(&raw.audience),
        in_body,
        refresh_before,
    })
}

/// Checks that the settings fit together once all are read.
pub fn together(place: &Place, route: &mut Route, findings: &mut Findings) {
    if route.poll.auth.is_some() {
        let is_header = |(name, _): &(http::HeaderName, HeaderValue)| *name == header::AUTHORIZATION;
        let of_class = matches!(&route.share, Share::By(values)
            if values.contains(&ClassValue::Header(header::AUTHORIZATION)));
        if route.poll.headers.iter().any(is_header) {
            findings.problem(&place.key("auth"), "says Authorization, and so does poll.headers");
        } else if of_class {
            findings.problem(&place.key("auth"), "says Authorization, which share.by takes from the clients");
        }
    }
    // The tokens of an API behind a proxy are behind it, too, unless the file says how their server is reached.
    if let Some(Auth::ClientCredentials(credentials)) = &mut route.poll.auth
        && let Some(proxy) = route.upstream.proxy.as_ref().filter(|_| !credentials.says_upstream)
    {
        let server = server::through(&credentials.server, proxy);
        *credentials = Arc::new(ClientCredentials { server: Arc::new(server), ..(**credentials).clone() });
    }
}
