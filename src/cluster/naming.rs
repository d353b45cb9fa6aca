//! What names a resource on all nodes: its key, with the route's fingerprint instead of its place in one node's file.
//!
//! Two nodes whose configuration would give other bodies or versions have other fingerprints: while a new configuration is
//! rolled out they share nothing. Must not know: how names are made of parts.

use std::fmt::Write as _;

use crate::config::{Auth, Route, Secret};
use crate::resource::ResourceKey;

/// A digest of all that shapes the polls of a route and what becomes of their answers.
pub(super) type Fingerprint = [u8; 32];

/// The fingerprint of a route. `version_key` names what all routes give.
pub(super) fn fingerprint(route: &Route, version_key: Option<&Secret>) -> Fingerprint {
    let mut hasher = blake3::Hasher::new_derive_key("pollcast 2026 cluster route");
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let (upstream, poll) = (&route.upstream, &route.poll);
    let mut text = format!("{:?}", (&route.path, &route.hosts, route.exact_spelling, &route.query));
    // What prints itself as it is written. Times and limits of clients are none of it: they may differ.
    let _ = write!(
        text,
        "{:?}",
        (
            (
                &upstream.name,
                &upstream.host,
                upstream.tls.is_some(),
                &upstream.forwarded,
                &upstream.proxy.is_some()
            ),
            (route.upstream_path.as_ref().map(|path| &path.text), &route.share, &route.credentials),
            (&route.keep_fields, &route.headers, &route.ignore_cookies, &route.change, &route.feed),
            (&poll.accept, poll.accept_codings, &poll.expect, poll.follow_redirects, poll.cookie_jar),
            (poll.ignore_cache_control, poll.allow_close_delimited, &poll.batch, route.base64),
        )
    );
    part(text.as_bytes());
    for (name, value) in &poll.headers {
        part(name.as_str().as_bytes());
        part(value.as_bytes());
    }
    for (name, file) in &poll.header_files {
        part(name.as_str().as_bytes());
        part(file.path.to_string_lossy().as_bytes());
    }
    match &poll.auth {
        None => part(b"none"),
        Some(Auth::Static(value)) => part(value.as_bytes()),
        Some(Auth::File(file)) => part(format!("{:?} {:?}", file.path, file.form).as_bytes()),
        Some(Auth::Digest(digest)) => {
            part(digest.username.as_bytes());
            part(digest.file.as_ref().map_or(digest.password.0.as_bytes(), |_| b"file"));
        }
        Some(Auth::ClientCredentials(client)) => {
            let texts =
                (&client.server.name, &client.path, &client.client_id, &client.scope, &client.audience);
            part(format!("{texts:?}").as_bytes());
            part(client.secret_file.as_ref().map_or(client.client_secret.0.as_bytes(), |_| b"file"));
        }
    }
    part(version_key.map_or(&b""[..], |key| key.0.as_bytes()));
    *hasher.finalize().as_bytes()
}

/// The parts that name a resource.
pub(super) fn parts(key: &ResourceKey, fingerprint: &Fingerprint) -> Vec<Vec<u8>> {
    let key = key.parts();
    let optional = |part: Option<&[u8]>| match part {
        // An absent part is none, and no empty one.
        None => vec![0],
        Some(part) => [&[1], part].concat(),
    };
    let mut parts = vec![
        fingerprint.to_vec(),
        key.proto.as_bytes().to_vec(),
        optional(key.host.as_ref().map(String::as_bytes)),
        key.path.as_bytes().to_vec(),
        optional(key.query.as_ref().map(String::as_bytes)),
        (key.class.len() as u64).to_le_bytes().to_vec(),
    ];
    for (name, value) in &key.class {
        parts.extend([name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()]);
    }
    for (name, value) in &key.vary {
        let value = value.as_ref().map(http::HeaderValue::as_bytes);
        parts.extend([name.as_str().as_bytes().to_vec(), optional(value)]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::load_str;
    use crate::resource::KeyParts;

    fn of(settings: &str, version_key: Option<&str>) -> Fingerprint {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             upstreams: {{ api: {{ servers: [127.0.0.1:1], host: api.test }} }}\n\
             routes: [{{ path: /x, upstream: api, {settings} }}]\n"
        );
        let config =
            load_str(&text, "naming.yaml", Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
        fingerprint(&config.routes[0], version_key.map(|key| Secret(key.to_owned())).as_ref())
    }

    #[test]
    fn what_shapes_the_content_is_in_the_name_and_what_does_not_is_not() {
        let plain = of("", None);
        assert_eq!(of("", None), plain, "the same on every node");
        for same in ["poll: { interval: 9s }", "heartbeat: 9s", "max_clients: 9", "stale_after: 9s"] {
            assert_eq!(of(same, None), plain, "{same}");
        }
        for other in [
            "spelling: exact",
            "share: public",
            "poll: { accept: text/plain }",
            "poll: { headers: { x-one: \"1\" } }",
            "poll: { headers: { x-one: \"2\" } }",
            "poll: { auth: { bearer: one } }",
            "poll: { auth: { bearer: two } }",
            "poll: { auth: { basic: { user: ann, password: one } } }",
            "poll: { auth: { digest: { username: ann, password: one } } }",
            "poll: { auth: { digest: { username: ann, password: two } } }",
            "change: { ignore: [/a] }",
            "feed: { items: /items, id: /id }",
            "hosts: [a.example]",
            "keep_fields: [x-token]",
        ] {
            let found = of(other, None);
            assert_ne!(found, plain, "{other}");
        }
        let pair = |one, two| assert_ne!(of(one, None), of(two, None), "{one}, {two}");
        pair("poll: { auth: { bearer: one } }", "poll: { auth: { bearer: two } }");
        pair("poll: { headers: { x-one: \"1\" } }", "poll: { headers: { x-one: \"2\" } }");
        let digest =
            |password| format!("poll: {{ auth: {{ digest: {{ username: ann, password: {password} }} }} }}");
        pair(&digest("one"), &digest("two"));
        assert_ne!(of("", Some("0123456789abcdef")), plain);
    }

    #[test]
    fn no_two_keys_have_the_same_parts() {
        let key = |query: Option<&str>,
                   class: &[(&'static str, &'static str)],
                   vary: &[(&'static str, Option<&'static str>)]| {
            let name = HeaderName::from_static;
            let value = HeaderValue::from_static;
            let key = ResourceKey::new(KeyParts {
                route: 0,
                proto: "http",
                host: None,
                path: "/a".into(),
                query: query.map(str::to_owned),
                class: class.iter().map(|(field, said)| (name(field), value(said))).collect(),
                vary: vary.iter().map(|(field, said)| (name(field), said.map(value))).collect(),
            });
            parts(&key, &[0; 32])
        };
        let keys = [
            key(None, &[], &[]),
            key(Some(""), &[], &[]),
            key(None, &[("a", "1")], &[]),
            key(None, &[], &[("a", Some("1"))]),
            key(None, &[], &[("a", None)]),
            key(None, &[], &[("a", Some(""))]),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys[..at].iter().all(|other| other != one), "{one:?}");
        }
    }
}
