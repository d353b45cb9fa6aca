//! The gate of each route with `authenticate`: the proofs of a request are tried one after the other, and the first
//! that is good is enough.
//!
//! The identity that a token proved is remembered for a moment, by the token's digest. Must not know: connections.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use lru::LruCache;
use parking_lot::Mutex;

use super::forward::Oracle;
use super::jwks::KeySet;
use super::jwt::Verifier;
use super::{Asking, CertificateName, Denied, Identity, Principal, Way, bearer_token};
use crate::config::identity::{Authenticate, Forward, Issuer, JwksSource, Jwt};
use crate::config::{Config, Route};
use crate::resource::{Digest, Digester};
use crate::upstream::Client;

/// Most tokens that are remembered.
const REMEMBERED_TOKENS_MAX: usize = 16 * 1024;

/// Most bytes of these tokens together: the issuer of a client decides how long one is.
const REMEMBERED_BYTES_MAX: usize = 16 << 20;

/// How long the identity of a token is remembered.
const REMEMBERED_TIME_MAX: Duration = Duration::from_secs(60);

/// The proofs that a request may carry.
pub struct Proof<'a> {
    /// The fields of the request.
    pub headers: &'a HeaderMap,
    /// The raw query.
    pub query: Option<&'a str>,
    /// The names in a certificate that the listener verified.
    pub certificate: Option<&'a CertificateName>,
}

/// The gates of all routes; those that say the same share keys and memory.
#[derive(Default)]
pub struct Gates {
    by_route: HashMap<usize, Arc<Gate>>,
    sets: Vec<Arc<KeySet>>,
}

/// One way in.
pub struct Gate {
    rules: Authenticate,
    tokens: Option<Arc<Tokens>>,
    /// Names by the digests of their keys.
    keys: HashMap<Digest, Arc<str>>,
    oracle: Option<Arc<Oracle>>,
    digester: Digester,
    /// Whether there is one way in with one issuer, so that subjects alone tell clients apart.
    bare: bool,
}

/// The tokens of one set of rules.
struct Tokens {
    verifier: Verifier,
    digester: Digester,
    proven: Mutex<Memory>,
}

/// The identities of tokens. Those unused for longest are forgotten.
struct Memory {
    entries: LruCache<Digest, Proven>,
    /// Bytes of all their tokens.
    bytes: usize,
}

impl Memory {
    fn put(&mut self, digest: Digest, proven: Proven) {
        self.bytes += proven.bytes;
        // The entry of the same token, or the one that had to make room.
        if let Some((_, gone)) = self.entries.push(digest, proven) {
            self.bytes -= gone.bytes;
        }
        while self.bytes > REMEMBERED_BYTES_MAX
            && let Some((_, gone)) = self.entries.pop_lru()
        {
            self.bytes -= gone.bytes;
        }
    }
}

struct Proven {
    identity: Identity,
    until: Instant,
    generation: u64,
    /// Bytes of its token.
    bytes: usize,
}

impl Gates {
    /// `clients` has the clients of upstreams by name, those of [`servers`](Gates::servers) among them. What `before` knows
    /// by the same rules is taken over: keys that were read, tokens that were proven, answers that were given.
    pub fn new(config: &Config, clients: &HashMap<String, Arc<Client>>, before: &Gates) -> Gates {
        let mut gates = Gates::default();
        let (mut tokens, mut oracles) = (Vec::<(_, Arc<Tokens>)>::new(), Vec::<Arc<Oracle>>::new());
        for route in &config.routes {
            let Some(rules) = &route.authenticate else { continue };
            let token = rules.jwt.as_ref().map(|jwt| {
                // Routes that take the rules of `defaults` have the same value.
                let known =
                    tokens.iter().find(|(known, _)| Arc::ptr_eq(known, jwt)).map(|(_, same)| same.clone());
                known.unwrap_or_else(|| {
                    if let Some(same) = before.tokens_of(jwt, clients) {
                        gates.sets.extend(same.verifier.sets().cloned());
                        tokens.push((jwt.clone(), same.clone()));
                        return same;
                    }
                    let set = |issuer: &Issuer| {
                        let jwks = issuer.jwks.as_ref()?;
                        let client = match &jwks.source {
                            JwksSource::Url { server, .. } => clients.get(&server.name).cloned(),
                            JwksSource::File(_) => None,
                        };
                        Some(Arc::new(KeySet::new(jwks.clone(), client)))
                    };
                    let sets: Vec<_> = jwt.issuers.iter().map(set).collect();
                    gates.sets.extend(sets.iter().flatten().cloned());
                    let made = Arc::new(Tokens::new(Verifier::new(jwt.clone(), sets)));
                    tokens.push((jwt.clone(), made.clone()));
                    made
                })
            });
            let oracle = rules.forward.as_ref().map(|forward| {
                let known = oracles.iter().find(|known| Arc::ptr_eq(&known.rules, forward)).cloned();
                known.unwrap_or_else(|| {
                    let client = clients.get(&forward.server.name).cloned();
                    let made = before.oracle_of(forward, client.as_ref());
                    let made = made.unwrap_or_else(|| Arc::new(Oracle::new(forward.clone(), client)));
                    oracles.push(made.clone());
                    made
                })
            });
            gates.by_route.insert(route.index, Arc::new(Gate::new(rules.clone(), token, oracle)));
        }
        gates
    }

    fn tokens_of(&self, jwt: &Jwt, clients: &HashMap<String, Arc<Client>>) -> Option<Arc<Tokens>> {
        let is_same = |tokens: &&Arc<Tokens>| {
            tokens.verifier.rules() == jwt && tokens.verifier.sets().all(|set| set.is_asked_by(clients))
        };
        self.by_route.values().filter_map(|gate| gate.tokens.as_ref()).find(is_same).cloned()
    }

    fn oracle_of(&self, forward: &Forward, client: Option<&Arc<Client>>) -> Option<Arc<Oracle>> {
        let is_same = |oracle: &&Arc<Oracle>| *oracle.rules == *forward && oracle.is_asked_by(client);
        self.by_route.values().filter_map(|gate| gate.oracle.as_ref()).find(is_same).cloned()
    }

    /// Returns the servers that are asked for key sets and about clients. They have names of their own.
    pub fn servers(config: &Config) -> Vec<Arc<crate::config::Upstream>> {
        let rules = config.routes.iter().filter_map(|route| route.authenticate.as_ref());
        let of = |rules: &Authenticate| {
            let issuers = rules.jwt.iter().flat_map(|jwt| &jwt.issuers);
            let jwks = issuers.filter_map(|issuer| match &issuer.jwks.as_ref()?.source {
                JwksSource::Url { server, .. } => Some(server.clone()),
                JwksSource::File(_) => None,
            });
            let forward = rules.forward.as_ref().map(|forward| forward.server.clone());
            jwks.chain(forward).collect::<Vec<_>>()
        };
        rules.flat_map(of).collect()
    }

    /// The gate of a route; `None` if all clients are let in.
    pub fn of(&self, route: &Route) -> Option<&Arc<Gate>> {
        self.by_route.get(&route.index)
    }

    /// Reads the key sets that are files, once.
    pub async fn read_files(&self) {
        for set in &self.sets {
            set.read_file().await;
        }
    }

    /// Keeps the key sets new, but for those that `before` keeps, with tasks of the current runtime. It must be called
    /// inside one. A task ends with the last gate that needs its set.
    pub fn keep(&self, before: &Gates) {
        let is_kept = |set: &Arc<KeySet>| before.sets.iter().any(|kept| Arc::ptr_eq(kept, set));
        for set in self.sets.iter().filter(|set| !is_kept(set)) {
            tokio::spawn(KeySet::keep(Arc::downgrade(set)));
        }
    }
}

impl Gate {
    fn new(rules: Authenticate, tokens: Option<Arc<Tokens>>, oracle: Option<Arc<Oracle>>) -> Gate {
        let digester = Digester::default();
        let clients = rules.keys.iter().flat_map(|keys| &keys.clients);
        let keys =
            clients.map(|(name, key)| (digester.of([key.0.as_bytes()]), name.as_str().into())).collect();
        let bare = rules.is_bare();
        Gate { rules, tokens, keys, oracle, digester, bare }
    }

    /// The client that a request is from. `parameters` are those of the route's path, as the request has them.
    ///
    /// # Errors
    /// Nothing that it shows proves an identity, or the identity may not have this.
    pub async fn identify(
        &self,
        proof: &Proof<'_>,
        parameters: &[(String, String)],
        asking: Asking,
    ) -> Result<Identity, Denied> {
        let identity = self.prove(proof, parameters, asking).await?;
        Ok(Identity { bare: self.bare, ..identity })
    }

    async fn prove(
        &self,
        proof: &Proof<'_>,
        parameters: &[(String, String)],
        asking: Asking,
    ) -> Result<Identity, Denied> {
        let mut denied = None;
        if self.rules.client_certificate
            && let Some(name) = proof.certificate
        {
            return Ok(Identity::of(Principal::of(Way::Certificate, Some(&name.issuer), &name.subject)));
        }
        if let Some(identity) = self.by_key(proof.headers, &mut denied) {
            return Ok(identity);
        }
        if let Some(tokens) = &self.tokens
            && let Some(token) = bearer_token::token(&self.rules.token, proof.headers, proof.query)
        {
            match tokens.identify(&token, asking).await {
                Ok(identity) => match tokens.verifier.admits(&identity, parameters) {
                    Ok(()) => return Ok(identity),
                    Err(error) => denied = Some(error),
                },
                Err(error) => denied = Some(error),
            }
        }
        if let Some(oracle) = &self.oracle {
            match oracle.ask(proof.headers, asking).await {
                Some(Ok(identity)) => return Ok(identity),
                // One way that was not tried to its end may still let the client in.
                Some(Err(error)) if !denied.as_ref().is_some_and(Denied::is_unasked) => denied = Some(error),
                Some(Err(_)) | None => {}
            }
        }
        Err(denied.unwrap_or_else(|| {
            Denied::unproven("nothing", "this route wants to know who asks, and the request does not say it")
        }))
    }

    fn by_key(&self, headers: &HeaderMap, denied: &mut Option<Denied>) -> Option<Identity> {
        let rules = self.rules.keys.as_ref()?;
        let mut sent = headers.get_all(&rules.header).iter();
        let key = sent.next()?;
        let known = match sent.next() {
            None => self.keys.get(&self.digester.of([key.as_bytes()])),
            Some(_) => None,
        };
        if known.is_none() {
            *denied = Some(Denied::unproven("api-key", "the key is not known here"));
        }
        known.map(|name| Identity::of(Principal::of(Way::Keys, None, name)))
    }
}

impl Tokens {
    fn new(verifier: Verifier) -> Tokens {
        let size = NonZeroUsize::new(REMEMBERED_TOKENS_MAX).unwrap_or(NonZeroUsize::MIN);
        Tokens {
            verifier,
            digester: Digester::default(),
            proven: Mutex::new(Memory { entries: LruCache::new(size), bytes: 0 }),
        }
    }

    async fn identify(&self, token: &str, asking: Asking) -> Result<Identity, Denied> {
        let digest = self.digester.of([token.as_bytes()]);
        let generation = self.verifier.generation();
        if let Some(proven) = self.proven.lock().entries.get(&digest)
            && proven.generation == generation
            && Instant::now() < proven.until
        {
            return Ok(proven.identity.clone());
        }
        let identity = self.verifier.verified(token, asking).await?;
        if asking == Asking::Forbidden {
            return Ok(identity);
        }
        let until = Instant::now() + REMEMBERED_TIME_MAX;
        let until = identity.expires.map_or(until, |expires| expires.min(until));
        let generation = self.verifier.generation();
        let proven = Proven { identity: identity.clone(), until, generation, bytes: token.len() };
        self.proven.lock().put(digest, proven);
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tokens_proved_takes_no_more_bytes_than_there_may_be() {
        let mut memory = Memory { entries: LruCache::new(NonZeroUsize::new(4).unwrap()), bytes: 0 };
        let digester = Digester::default();
        let identity = Identity::of(Principal::of(Way::Jwt, None, "ann"));
        let mut put = |name: &str, bytes| {
            let proven = Proven { identity: identity.clone(), until: Instant::now(), generation: 0, bytes };
            memory.put(digester.of([name.as_bytes()]), proven);
            (memory.entries.len(), memory.bytes)
        };
        assert_eq!(put("a", 10), (1, 10));
        assert_eq!(put("a", 20), (1, 20), "the same token again");
        for name in ["b", "c", "d", "e"] {
            put(name, 10);
        }
        assert_eq!(put("f", 10), (4, 40), "as many as there may be");
        assert_eq!(put("g", REMEMBERED_BYTES_MAX), (1, REMEMBERED_BYTES_MAX));
        assert_eq!(put("h", 1), (1, 1));
    }
}
