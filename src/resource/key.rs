//! What is polled: two clients share a poll only if their keys are equal (contract §11).
//!
//! Whatever may change the upstream's answer is in the key; this is the security boundary.
//! Must not know: how a key is made from a request (front does), or whether it is polled.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};

use super::digest::{Digest, Digester};

/// Everything that names a resource.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyParts {
    /// Index of the route.
    pub route: usize,
    /// `http` or `https`: the scheme of the listener, since polls say it in X-Forwarded-Proto.
    pub proto: &'static str,
    /// Lower-case authority; none when the upstream fixes it.
    pub host: Option<String>,
    /// Canonical path.
    pub path: String,
    /// Canonical query, without the question mark; `None` if there is no question mark either.
    pub query: Option<String>,
    /// The class: request headers that are sent on the polls of this key, cookies joined in one.
    pub class: Vec<(HeaderName, HeaderValue)>,
    /// Values of the fields the upstream's `Vary` names; `None` where the client sent no such field.
    pub vary: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// A cheap handle to the parts, with their hash made once.
#[derive(Clone)]
pub struct ResourceKey(Arc<Keyed>);

struct Keyed {
    hash: u64,
    parts: KeyParts,
}

impl ResourceKey {
    /// A key of these parts, with its hash.
    pub fn new(parts: KeyParts) -> ResourceKey {
        let mut hasher = std::hash::DefaultHasher::new();
        parts.hash(&mut hasher);
        ResourceKey(Arc::new(Keyed { hash: hasher.finish(), parts }))
    }

    /// The parts of the key.
    pub fn parts(&self) -> &KeyParts {
        &self.0.parts
    }

    /// Path and query as polled.
    pub fn target(&self) -> String {
        match &self.0.parts.query {
            Some(query) => format!("{}?{query}", self.0.parts.path),
            None => self.0.parts.path.clone(),
        }
    }

    /// Path and query for people to read: without the values of parameters that look like a user's key.
    pub fn shown(&self) -> String {
        shown_target(&self.target())
    }

    /// A name of fixed length for the key, which no other program can make.
    pub fn digest(&self, digester: &Digester) -> Digest {
        let parts = &self.0.parts;
        let lines = |fields: usize| (fields as u64).to_le_bytes();
        let (route, class, vary) = (lines(parts.route), lines(parts.class.len()), lines(parts.vary.len()));
        // An absent part is none, and no empty one.
        let optional = |part: &'_ Option<String>| -> [u8; 1] { [u8::from(part.is_some())] };
        let (has_host, has_query) = (optional(&parts.host), optional(&parts.query));
        let mut bytes: Vec<&[u8]> = vec![
            &route,
            parts.proto.as_bytes(),
            &has_host,
            parts.host.as_deref().unwrap_or_default().as_bytes(),
            parts.path.as_bytes(),
            &has_query,
            parts.query.as_deref().unwrap_or_default().as_bytes(),
            &class,
        ];
        for (name, value) in &parts.class {
            bytes.extend([name.as_str().as_bytes(), value.as_bytes()]);
        }
        bytes.push(&vary);
        for (name, value) in &parts.vary {
            bytes.extend([name.as_str().as_bytes(), value.as_ref().map_or(&b""[..], |v| v.as_bytes())]);
            bytes.push(if value.is_some() { b"1" } else { b"0" });
        }
        digester.of(bytes)
    }

    /// Bytes that the key holds in memory, roughly.
    pub fn weight(&self) -> usize {
        let parts = &self.0.parts;
        let class: usize = parts.class.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let vary: usize = parts
            .vary
            .iter()
            .map(|(name, value)| name.as_str().len() + value.as_ref().map_or(0, |value| value.len()))
            .sum();
        let texts = [parts.host.as_deref(), Some(&parts.path), parts.query.as_deref()];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        size_of::<Keyed>() + texts + class + vary
    }

    /// Whether the polls of this key carry a client's credentials.
    pub fn is_private(&self) -> bool {
        !self.0.parts.class.is_empty()
    }
}

/// Parts of the names of query parameters that are credentials in many an API.
const CREDENTIALS: [&str; 12] =
    ["token", "secret", "passw", "pwd", "key", "auth", "sig", "jwt", "session", "credential", "sid", "code"];

/// Path and query for people to read: without the values of parameters that look like a user's key.
pub fn shown_target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let pairs: Vec<_> = query.split('&').map(shown_pair).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn shown_pair(pair: &str) -> Cow<'_, str> {
    let Some((name, _)) = pair.split_once('=') else { return pair.into() };
    let plain = percent_encoding::percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    let is_credential = CREDENTIALS.iter().any(|part| plain.contains(part));
    if is_credential { format!("{name}=…").into() } else { pair.into() }
}

impl PartialEq for ResourceKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.hash == other.0.hash && self.0.parts == other.0.parts)
    }
}

impl Eq for ResourceKey {}

impl Hash for ResourceKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl fmt::Debug for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.parts.fmt(f)
    }
}

/// Tells classes apart in the logs of this process, and is worth nothing anywhere else.
fn digester() -> &'static Digester {
    static DIGESTER: OnceLock<Digester> = OnceLock::new();
    DIGESTER.get_or_init(Digester::default)
}

/// Class values are secrets, and queries carry the keys of many an API: neither is printed.
impl fmt::Debug for KeyParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.proto, self.host.as_deref().unwrap_or("*"), self.path)?;
        if self.query.is_some() {
            f.write_str("?…")?;
        }
        if !self.class.is_empty() {
            let names: Vec<&str> = self.class.iter().map(|(name, _)| name.as_str()).collect();
            let parts =
                self.class.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
            write!(f, " by {} #{}", names.join(", "), digester().of(parts))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
        (prop_oneof!["authorization", "x-tenant"], "[ab]{0,2}").prop_map(|(name, value)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        })
    }

    fn parts() -> impl Strategy<Value = KeyParts> {
        (
            0..2usize,
            prop_oneof![Just("http"), Just("https")],
            proptest::option::of("[ab]"),
            "/[ab]{0,2}",
            proptest::option::of("[ab]=?"),
            proptest::collection::vec(field(), 0..2),
            proptest::collection::vec(field().prop_map(|(n, v)| (n, (!v.is_empty()).then_some(v))), 0..2),
        )
            .prop_map(|(route, proto, host, path, query, class, vary)| KeyParts {
                route,
                proto,
                host,
                path,
                query,
                class,
                vary,
            })
    }

    proptest! {
        #[test]
        fn keys_are_equal_only_if_every_part_is(a in parts(), b in parts()) {
            let equal = a == b;
            let (a, b) = (ResourceKey::new(a), ResourceKey::new(b));
            prop_assert_eq!(a == b, equal);
            prop_assert_eq!(a.digest(digester()) == b.digest(digester()), equal);
        }
    }

    #[test]
    fn a_key_never_prints_its_credentials() {
        let key = ResourceKey::new(KeyParts {
            route: 0,
            proto: "http",
            host: None,
            path: "/a".into(),
            query: Some("x=1".into()),
            class: vec![(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer hunter2"))],
            vary: Vec::new(),
        });
        let text = format!("{key:?}");
        let (start, digest) = text.split_once('#').unwrap();
        assert_eq!(start, "http://*/a?… by authorization ");
        assert_eq!(digest.len(), 12);
    }

    #[test]
    fn what_looks_like_a_key_in_a_query_is_not_shown() {
        for (query, shown) in [
            ("page=2&q=tea", "/a?page=2&q=tea"),
            ("access_token=hunter2&page=2", "/a?access_token=…&page=2"),
            ("X-Amz-Signature=hunter2", "/a?X-Amz-Signature=…"),
            ("api%5Fkey=hunter2&flag", "/a?api%5Fkey=…&flag"),
            ("=hunter2", "/a?=hunter2"),
        ] {
            let key = ResourceKey::new(KeyParts {
                route: 0,
                proto: "http",
                host: None,
                path: "/a".into(),
                query: Some(query.into()),
                class: Vec::new(),
                vary: Vec::new(),
            });
            assert_eq!(key.shown(), shown);
        }
    }
}
