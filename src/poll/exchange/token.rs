//! Access tokens for polls: OAuth 2.0 client credentials (RFC 6749 §4.4), one token for all polls
//! that have the same credentials.
//!
//! No secret and no token is ever part of a message. Must not know: what is polled.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::Instant;

use super::super::source::Source;
use super::Secrets;
use crate::config::{Auth, ClientCredentials, Config};
use crate::poll::request::USER_AGENT;
use crate::upstream::{Answer, Ask, Class, Document, Priority, WatchedSecret};

/// Most bytes of a token endpoint's answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A poll waits for a token at most as long as for its own turn.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(5);

/// After a failure, or a new token that was refused at once: first and longest wait.
const RETRY_WAIT_MIN: Duration = Duration::from_secs(1);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);

/// What forms leave as it is (RFC 6749 appendix B).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// The grants of all routes.
#[derive(Default)]
pub(in crate::poll) struct Tokens {
    grants: Vec<Arc<Grant>>,
    /// By the number of the route: several may share a grant.
    by_route: HashMap<usize, usize>,
}

/// One set of credentials and the token it has.
pub(super) struct Grant {
    credentials: Arc<ClientCredentials>,
    /// Where the client's secret stands, if others may replace it.
    secret_file: Option<Arc<WatchedSecret>>,
    source: Option<Arc<dyn Source>>,
    held: Mutex<Held>,
    /// The poll that asks for a token holds this; the others wait for it.
    asking: tokio::sync::Mutex<()>,
}

/// What is known of a grant's token.
#[derive(Default)]
struct Held {
    token: Option<Token>,
    /// Why there is no new one, and until when it is not asked for again.
    trouble: Option<(String, Instant)>,
    /// Failures, or refusals of new tokens, in a row.
    in_a_row: u32,
    /// The secret that was used last.
    secret: Option<String>,
}

/// A token as it is sent. `Debug` says nothing of it.
#[derive(Clone)]
pub(super) struct Token {
    /// Sensitive.
    value: HeaderValue,
    /// When the next one is asked for; `None` if only once this one is refused.
    renew_at: Option<Instant>,
    expires_at: Option<Instant>,
}

impl Token {
    pub(super) fn field(&self) -> (HeaderName, HeaderValue) {
        (header::AUTHORIZATION, self.value.clone())
    }

    fn is_good(&self, now: Instant) -> bool {
        self.renew_at.is_none_or(|at| now < at)
    }

    fn is_valid(&self, now: Instant) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Tokens {
    /// `sources`: by name; one for each token server. What `before` knows of the same credentials is taken over.
    pub(in crate::poll) fn new(
        config: &Config,
        sources: &HashMap<String, Arc<dyn Source>>,
        secrets: &Secrets,
        before: &Tokens,
    ) -> Tokens {
        let mut tokens = Tokens::default();
        for route in &config.routes {
            if let Some(Auth::ClientCredentials(credentials)) = &route.poll.auth {
                let file = credentials.secret_file.as_ref().and_then(|file| secrets.of(file));
                let source = sources.get(&credentials.server.name).cloned();
                let known = before.grants.iter().find(|grant| grant.is_of(credentials, source.as_ref()));
                let made = || Arc::new(Grant::new(credentials.clone(), source.clone(), file));
                tokens.add(route.index, credentials, || known.cloned().unwrap_or_else(made));
            }
        }
        tokens
    }

    fn add(&mut self, route: usize, credentials: &Arc<ClientCredentials>, make: impl FnOnce() -> Arc<Grant>) {
        let known = self.grants.iter().position(|grant| same(&grant.credentials, credentials));
        let at = known.unwrap_or_else(|| {
            self.grants.push(make());
            self.grants.len() - 1
        });
        self.by_route.insert(route, at);
    }

    /// The grant of a route, by its number.
    pub(super) fn grant(&self, route: usize) -> Option<Arc<Grant>> {
        self.grants.get(*self.by_route.get(&route)?).cloned()
    }
}

/// Whether two routes say the same.
fn same(a: &ClientCredentials, b: &ClientCredentials) -> bool {
    let of = |c: &ClientCredentials| {
        (c.server.name.clone(), c.path.clone(), c.client_id.clone(), c.scope.clone(), c.audience.clone())
    };
    of(a) == of(b)
        && a.client_secret == b.client_secret
        && a.secret_file == b.secret_file
        && (a.in_body, a.refresh_before) == (b.in_body, b.refresh_before)
}

impl Grant {
    pub(super) fn new(
        credentials: Arc<ClientCredentials>,
        source: Option<Arc<dyn Source>>,
        secret_file: Option<Arc<WatchedSecret>>,
    ) -> Grant {
        let (held, asking) = (Mutex::default(), tokio::sync::Mutex::default());
        Grant { credentials, secret_file, source, held, asking }
    }

    /// Whether it is for these credentials, and asks the same server in the same way.
    fn is_of(&self, credentials: &ClientCredentials, source: Option<&Arc<dyn Source>>) -> bool {
        let is_same_source = match (&self.source, source) {
            (Some(own), Some(source)) => Arc::ptr_eq(own, source),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_same_source && same(&self.credentials, credentials)
    }

    /// The client's secret as it is now.
    async fn secret(&self) -> String {
        match &self.secret_file {
            Some(file) => file.password(false).await,
            None => self.credentials.client_secret.0.clone(),
        }
    }

    /// A token for a poll.
    ///
    /// # Errors
    /// Why there is none; nothing secret stands in it.
    pub(super) async fn token(&self) -> Result<Token, String> {
        let now = Instant::now();
        let held = self.held.lock().token.clone();
        match held {
            Some(token) if token.is_good(now) => return Ok(token),
            // Another poll is at it, and this token still serves.
            Some(token) if token.is_valid(now) && self.asking.try_lock().is_err() => return Ok(token),
            _ => {}
        }
        let _asking = self.asking.lock().await;
        let now = Instant::now();
        let (held, trouble) = {
            let held = self.held.lock();
            (held.token.clone(), held.trouble.clone())
        };
        if let Some(token) = held.as_ref().filter(|token| token.is_good(now)) {
            return Ok(token.clone());
        }
        let secret = self.secret().await;
        // Another secret is none that was refused.
        let is_another = self.held.lock().secret.as_ref().is_some_and(|used| *used != secret);
        let renewed = match trouble {
            Some((reason, until)) if now < until && !is_another => Err(reason),
            _ => self.renew(secret).await,
        };
        let old = held.filter(|token| token.is_valid(Instant::now()));
        renewed.or_else(|reason| old.ok_or(reason))
    }

    /// A token in the place of one that the upstream refused. Returns `None` if it would not help to ask again,
    /// since the last new one was refused as well.
    ///
    /// # Errors
    /// See [`Grant::token`].
    pub(super) async fn token_instead_of(&self, refused: &Token) -> Result<Option<Token>, String> {
        let _asking = self.asking.lock().await;
        {
            let mut held = self.held.lock();
            if let Some(token) = held.token.as_ref().filter(|token| token.value != refused.value) {
                return Ok(Some(token.clone()));
            }
            if let Some((reason, until)) = held.trouble.clone()
                && Instant::now() < until
            {
                return if held.token.is_some() { Ok(None) } else { Err(reason) };
            }
            // No other poll is to be refused with it.
            held.token = None;
        }
        self.renew(self.secret().await).await.map(|token| {
            // Until it is accepted it counts as one that helps no poll.
            self.held.lock().note("the upstream refuses new tokens".to_owned());
            Some(token)
        })
    }

    /// The upstream took a token.
    pub(super) fn accepted(&self, token: &Token) {
        let mut held = self.held.lock();
        if held.in_a_row > 0 && held.token.as_ref().is_some_and(|own| own.value == token.value) {
            held.trouble = None;
            held.in_a_row = 0;
        }
    }

    /// Asks for a token. Only the holder of `asking` calls it.
    async fn renew(&self, secret: String) -> Result<Token, String> {
        let result = self.ask(&secret).await;
        let mut held = self.held.lock();
        held.secret = Some(secret);
        match &result {
            Ok(token) => {
                held.token = Some(token.clone());
                held.trouble = None;
            }
            Err(reason) => held.note(reason.clone()),
        }
        result
    }

    async fn ask(&self, secret: &str) -> Result<Token, String> {
        let Some(source) = &self.source else {
            return Err("nothing was started for the token server".to_owned());
        };
        let priority = Priority { class: Class::Interactive, weight: 1, patience: Some(TOKEN_WAIT_MAX) };
        // The server's address stays out of what clients may see.
        let unreachable = |error: crate::upstream::FetchError| format!("the token server: {}", error.failure);
        let _turn = source.turn(priority).await.map_err(unreachable)?;
        let began = Instant::now();
        let answer = source.fetch(&request(&self.credentials, secret)).await.map_err(unreachable)?;
        read(&answer, began, self.credentials.refresh_before)
            .map_err(|reason| format!("the token server {reason}"))
    }
}

impl Held {
    fn note(&mut self, reason: String) {
        let wait = RETRY_WAIT_MIN.saturating_mul(1 << self.in_a_row.min(10)).min(RETRY_WAIT_MAX);
        self.in_a_row += 1;
        self.trouble = Some((reason, Instant::now() + wait));
    }
}

fn request(credentials: &ClientCredentials, secret: &str) -> Ask {
    let encoded = |text: &str| utf8_percent_encode(text, FORM).to_string();
    let mut form = "grant_type=client_credentials".to_owned();
    let more = [("scope", &credentials.scope), ("audience", &credentials.audience)];
    for (name, value) in more {
        if let Some(value) = value {
            form += &format!("&{name}={}", encoded(value));
        }
    }
    let (id, secret) = (encoded(&credentials.client_id), encoded(secret));
    let mut headers = vec![
        (header::ACCEPT, HeaderValue::from_static("application/json")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
        (header::USER_AGENT, HeaderValue::from_static(USER_AGENT)),
    ];
    if credentials.in_body {
        form += &format!("&client_id={id}&client_secret={secret}");
    } else if let Ok(mut basic) =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
    {
        basic.set_sensitive(true);
        headers.push((header::AUTHORIZATION, basic));
    }
    let server = &credentials.server;
    Ask {
        method: Method::POST,
        path_and_query: credentials.path.clone(),
        host: crate::poll::host(server, None),
        headers,
        body: Bytes::from(form),
        timeout: server.total_timeout,
        max_body: ANSWER_BYTES_MAX,
        class: None,
        document: Document::Any,
        claim: None,
    }
}

/// The token of an answer that was asked for at `began`.
fn read(answer: &Answer, began: Instant, refresh_before: Duration) -> Result<Token, String> {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != StatusCode::OK {
        // Only the code: a description may repeat what was sent.
        let code = said["error"].as_str().filter(|code| is_code(code));
        let code = code.map_or(String::new(), |code| format!(": {code}"));
        return Err(format!("answered {}{code}", answer.status));
    }
    let kind = said["token_type"].as_str().unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("gave a token that is no bearer token".to_owned());
    }
    let value = said["access_token"].as_str().filter(|token| !token.is_empty());
    let value = value.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
    let Some(mut value) = value else {
        return Err("gave no access_token".to_owned());
    };
    value.set_sensitive(true);
    let lifetime = match &said["expires_in"] {
        Value::Number(seconds) => seconds.as_f64(),
        // Some write it as text.
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let lifetime = lifetime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // A century is as good as for ever, and no sum of it overflows.
    let lifetime = lifetime.map(|lifetime| lifetime.min(Duration::from_secs(100 * 365 * 86_400)));
    let renew_after = lifetime.map(|lifetime| lifetime - refresh_before.min(lifetime / 2));
    Ok(Token {
        value,
        renew_at: renew_after.map(|after| began + after),
        expires_at: lifetime.map(|lifetime| began + lifetime),
    })
}

/// A code of RFC 6749 §5.2.
fn is_code(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
