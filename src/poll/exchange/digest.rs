//! Digest authentication of polls (RFC 7616, and RFC 2069's old form): cameras, routers, controllers.
//!
//! One challenge serves all polls with the same credentials until the server wants another one: one 401 a nonce. A
//! refused password is tried again so seldom that no account is locked for it. Must not know: what is polled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use digest_auth::{Algorithm, AlgorithmType, AuthContext, Charset, HttpMethod, Qop, WwwAuthenticateHeader};
use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Secrets;
use crate::config::{Auth, Config, DigestCredentials};
use crate::upstream::{Ask, WatchedSecret};

/// Longest wait after a refused password before it is tried again; the first one is the route's `backoff.max`.
pub(super) const REFUSED_WAIT_MAX: Duration = Duration::from_secs(3600);

/// Repeats of one request: for the nonce, and for one that grew old meanwhile.
pub(super) const REPEATS_MAX: usize = 2;

/// Bytes of the longest challenge that is read.
const CHALLENGE_BYTES_MAX: usize = 4096;

/// The guests of all routes; routes with the same upstream and credentials have one in common.
#[derive(Default)]
pub(in crate::poll) struct Guests {
    guests: Vec<Arc<Guest>>,
    /// By the number of the route.
    by_route: HashMap<usize, usize>,
}

/// One set of credentials and what the server wants to see of them.
pub(super) struct Guest {
    upstream: String,
    credentials: Arc<DigestCredentials>,
    /// Where the password stands, if others may replace it.
    file: Option<Arc<WatchedSecret>>,
    state: Mutex<State>,
    /// Held while the password is unproven: one poll tries it, the others wait.
    trying: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    password: String,
    /// Rises when the password is another one.
    generation: u64,
    challenge: Option<Challenge>,
    /// The last answer was no 401: polls need not wait for each other.
    proven: bool,
    /// Not before then is it tried again.
    refused_until: Option<Instant>,
    /// Refusals in a row.
    in_a_row: u32,
}

struct Challenge {
    prompt: WwwAuthenticateHeader,
    /// The client's nonce: one for the server's, so that servers which keep a session's key (`-sess`) and those which do
    /// not compute the same.
    client_nonce: Option<String>,
    /// It named its algorithm; servers of the old form do not know the parameter.
    names_algorithm: bool,
}

/// A proof as it is sent, and what it answers to.
pub(super) struct Proof {
    /// Sensitive.
    pub(super) value: HeaderValue,
    nonce: String,
    /// Of the password that it was made with.
    generation: u64,
}

/// What a 401 means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The same once more, with a proof for the challenge that is now known.
    Again,
    /// It asks for nothing that could be answered.
    No,
    /// It refuses the password, which is not tried before this time is over.
    Refused(Duration),
}

impl Guests {
    /// What `before` knows of the same credentials is taken over.
    pub(in crate::poll) fn new(config: &Config, secrets: &Secrets, before: &Guests) -> Guests {
        let mut guests = Guests::default();
        for route in &config.routes {
            let Some(Auth::Digest(credentials)) = &route.poll.auth else { continue };
            let upstream = &route.upstream.name;
            let same = |guest: &Arc<Guest>| {
                guest.upstream == *upstream
                    && guest.credentials.username == credentials.username
                    && guest.credentials.password == credentials.password
                    && guest.credentials.file == credentials.file
            };
            let at = guests.guests.iter().position(same).unwrap_or_else(|| {
                let file = credentials.file.as_ref().and_then(|file| secrets.of(file));
                let made = || Arc::new(Guest::new(upstream, credentials.clone(), file));
                let known = before.guests.iter().find(|guest| same(guest)).cloned();
                guests.guests.push(known.unwrap_or_else(made));
                guests.guests.len() - 1
            });
            guests.by_route.insert(route.index, at);
        }
        guests
    }

    /// The guest of a route, by its number.
    pub(super) fn guest(&self, route: usize) -> Option<Arc<Guest>> {
        self.guests.get(*self.by_route.get(&route)?).cloned()
    }
}

impl Guest {
    pub(super) fn new(
        upstream: &str,
        credentials: Arc<DigestCredentials>,
        file: Option<Arc<WatchedSecret>>,
    ) -> Guest {
        let state = State { password: credentials.password.0.clone(), ..State::default() };
        let (state, trying) = (Mutex::new(state), tokio::sync::Mutex::default());
        Guest { upstream: upstream.to_owned(), credentials, file, state, trying }
    }

    /// Takes the password that the file has now, whose refusal is not known yet. Returns whether it is another one.
    /// `at_once`: the file is looked at even if that was done a moment ago.
    pub(super) async fn freshen(&self, at_once: bool) -> bool {
        let Some(file) = &self.file else { return false };
        let password = file.password(at_once).await;
        let mut state = self.state.lock();
        if state.password == password {
            return false;
        }
        // Servers that keep a session's key know the old one by its nonce.
        *state = State { password, generation: state.generation + 1, ..State::default() };
        true
    }

    /// Waits until the password is proven, or this poll is the one that tries it: then what it gets is to be held until
    /// the answer was looked at.
    ///
    /// # Errors
    /// Why nothing is sent: the password was refused a short time ago.
    pub(super) async fn admit(&self) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, String> {
        if self.state.lock().proven {
            return Ok(None);
        }
        let trying = self.trying.lock().await;
        let state = self.state.lock();
        if state.proven {
            return Ok(None);
        }
        match state.refused_for() {
            Some(wait) => Err(refusal(wait)),
            None => Ok(Some(trying)),
        }
    }

    /// The turn to try the password, for a poll that went ahead without and was asked for it.
    ///
    /// # Errors
    /// Another poll's was refused meanwhile.
    pub(super) async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, String> {
        let trying = self.trying.lock().await;
        match self.state.lock().refused_for() {
            Some(wait) => Err(refusal(wait)),
            None => Ok(trying),
        }
    }

    /// What proves the sender of this request, where the server has said what it wants to see.
    pub(super) fn proof(&self, ask: &Ask) -> Option<Proof> {
        self.proof_with(ask, None)
    }

    fn proof_with(&self, ask: &Ask, client_nonce: Option<&str>) -> Option<Proof> {
        let mut state = self.state.lock();
        let State { challenge, password, generation, .. } = &mut *state;
        let challenge = challenge.as_mut()?;
        let (user, password) = (&*self.credentials.username, password.as_str());
        let method = HttpMethod::from(ask.method.as_str());
        // The body counts only where the server takes nothing else.
        let wants_body = challenge.prompt.qop.as_ref().is_some_and(|qop| !qop.contains(&Qop::AUTH));
        let body = wants_body.then_some(&ask.body[..]);
        let mut context = AuthContext::new_with_method(user, password, &*ask.path_and_query, body, method);
        context.cnonce =
            challenge.client_nonce.as_deref().or(client_nonce).map(|nonce| nonce.to_owned().into());
        if !wants_body && challenge.prompt.qop.is_some() {
            challenge.prompt.qop = Some(vec![Qop::AUTH]);
        }
        let answer = challenge.prompt.respond(&context).ok()?;
        let text = answer.to_string();
        challenge.client_nonce = answer.cnonce;
        let text = match challenge.names_algorithm {
            true => &*text,
            false => text.strip_suffix(", algorithm=MD5").unwrap_or(&text),
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(Proof { value, nonce: challenge.prompt.nonce.clone(), generation: *generation })
    }

    /// The server answered something else than 401.
    pub(super) fn accepted(&self, proof: Option<&Proof>, headers: &HeaderMap) {
        let mut state = self.state.lock();
        if proof.is_some_and(|proof| proof.generation != state.generation) {
            return;
        }
        (state.proven, state.refused_until, state.in_a_row) = (true, None, 0);
        let next = headers.get("authentication-info").and_then(|value| value.to_str().ok());
        let next = next.and_then(|text| parameters(text).find(|(name, _)| name == "nextnonce"));
        if let (Some((_, nonce)), Some(challenge)) = (next, &mut state.challenge)
            && proof.is_some_and(|proof| challenge.prompt.nonce == proof.nonce)
        {
            (challenge.prompt.nonce, challenge.prompt.nc) = (nonce, 0);
            challenge.client_nonce = None;
        }
    }

    /// The server answered 401. `proof`: what was sent, if anything; `again`: it was the answer to the last 401. `wait`:
    /// the shortest one before a refused password is tried again.
    pub(super) fn denied(
        &self,
        proof: Option<&Proof>,
        again: bool,
        headers: &HeaderMap,
        wait: Duration,
    ) -> Asked {
        let mut state = self.state.lock();
        let new = challenge(headers);
        // What was made for a fresh nonce can have grown old only where the server says so.
        let is_of_this_password = proof.is_some_and(|proof| proof.generation == state.generation);
        if again && is_of_this_password && !new.as_ref().is_some_and(|new| new.prompt.stale) {
            let wait = wait.saturating_mul(1 << state.in_a_row.min(10)).min(REFUSED_WAIT_MAX.max(wait));
            state.in_a_row += 1;
            state.refused_until = Some(Instant::now() + wait);
            (state.proven, state.challenge) = (false, None);
            return Asked::Refused(wait);
        }
        let Some(new) = new else { return Asked::No };
        let is_another = |nonce: &str| proof.is_none_or(|proof| proof.nonce != nonce);
        // Another poll may have been told a new one meanwhile.
        let is_renewed = state.challenge.as_ref().is_some_and(|known| is_another(&known.prompt.nonce));
        if !is_renewed || proof.is_none() {
            state.challenge = Some(new);
        }
        Asked::Again
    }
}

impl State {
    /// How long the password is not tried yet. Returns `None` if it may be.
    fn refused_for(&self) -> Option<Duration> {
        let left = self.refused_until?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }
}

/// The words for a password that is not tried now.
pub(super) fn refusal(wait: Duration) -> String {
    let seconds = wait.as_secs().max(1);
    format!(
        "the upstream refuses the password of poll.auth.digest; so that no account is locked, it is tried again in \
         {seconds} s, by one poll"
    )
}

/// The strongest challenge for Digest that can be answered.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let lines = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let texts =
        lines.filter_map(|value| value.to_str().ok()).filter(|text| text.len() <= CHALLENGE_BYTES_MAX);
    let challenges = texts.flat_map(digests).filter_map(|text| read(&text));
    challenges.max_by_key(|challenge| match challenge.prompt.algorithm.algo {
        AlgorithmType::MD5 => 0,
        AlgorithmType::SHA2_256 => 2,
        AlgorithmType::SHA2_512_256 => 1,
    })
}

/// The parameters of each Digest challenge of a line, which may hold challenges of other schemes, too.
fn digests(line: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_digest = false;
    for part in parts(line) {
        let first = part.split(['=', '"']).next().unwrap_or_default().trim();
        // A scheme is a word in front of the first parameter, or one alone.
        let (scheme, rest) = match first.split_once([' ', '\t']) {
            Some((scheme, _)) => (Some(scheme), &part[scheme.len()..]),
            None if !part.contains('=') => (Some(first), ""),
            None => (None, part),
        };
        if let Some(scheme) = scheme {
            is_digest = scheme.eq_ignore_ascii_case("digest");
            if is_digest {
                found.push(String::new());
            }
        }
        if let Some(last) = found.last_mut().filter(|_| is_digest) {
            last.push_str(rest);
            last.push(',');
        }
    }
    found
}

/// The parts between commas that stand in no quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|letter: char| {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        letter == ',' && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

/// Names, in lower case, and values without their quotes.
fn parameters(text: &str) -> impl Iterator<Item = (String, String)> {
    parts(text).into_iter().filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim();
        let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = match inside {
            Some(inside) => unescaped(inside),
            None => value.to_owned(),
        };
        Some((name.trim().to_ascii_lowercase(), value))
    })
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

fn read(text: &str) -> Option<Challenge> {
    let said: HashMap<String, String> = parameters(text).collect();
    let algorithm = match said.get("algorithm").map(|name| name.to_ascii_uppercase()) {
        None => Algorithm::new(AlgorithmType::MD5, false),
        Some(name) => {
            let (base, sess) = match name.strip_suffix("-SESS") {
                Some(base) => (base, true),
                None => (&*name, false),
            };
            let algo = match base {
                "MD5" => AlgorithmType::MD5,
                "SHA-256" => AlgorithmType::SHA2_256,
                "SHA-512-256" => AlgorithmType::SHA2_512_256,
                _ => return None,
            };
            Algorithm::new(algo, sess)
        }
    };
    let qop = said.get("qop").filter(|said| !said.trim().is_empty()).map(|said| {
        let is = |word: &str| said.split([',', ' ']).any(|one| one.trim().eq_ignore_ascii_case(word));
        let known = [(Qop::AUTH, is("auth")), (Qop::AUTH_INT, is("auth-int"))];
        known.into_iter().filter_map(|(qop, is)| is.then_some(qop)).collect::<Vec<_>>()
    });
    // A session's key is made of the client's nonce, which the old form does not send.
    if qop.as_ref().is_some_and(Vec::is_empty) || (algorithm.sess && qop.is_none()) {
        return None;
    }
    let prompt = WwwAuthenticateHeader {
        domain: None,
        realm: said.get("realm")?.clone(),
        nonce: said.get("nonce")?.clone(),
        opaque: said.get("opaque").cloned(),
        stale: said.get("stale").is_some_and(|said| said.eq_ignore_ascii_case("true")),
        algorithm,
        qop,
        userhash: said.get("userhash").is_some_and(|said| said.eq_ignore_ascii_case("true")),
        charset: Charset::UTF8,
        nc: 0,
    };
    Some(Challenge { prompt, client_nonce: None, names_algorithm: said.contains_key("algorithm") })
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
