//! The content-addressed name of a snapshot (contract §2) and the entity tags that carry it.
//!
//! Must not know: where the content came from.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::media_type::MediaType;

/// The name of a snapshot's content: the same bytes have the same version on every node and after
/// every restart. Shown as 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u8; 16]);

/// Length of a version as text.
const TEXT_BYTES: usize = 22;

impl Version {
    /// Reads a version as a client sends it back; anything else is no version.
    pub fn parse(text: &str) -> Option<Version> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Version)
    }

    /// Its first six bytes: enough to tell the states of one resource apart.
    pub fn tag(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.0;
        [a, b, c, d, e, f]
    }

    /// The strong entity tag, quotes included (RFC 9110 §8.8.3).
    pub fn etag(&self) -> String {
        format!("\"{self}\"")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_BYTES];
        // 16 bytes are always 22 characters.
        let written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).unwrap_or(0);
        f.write_str(std::str::from_utf8(&text[..written]).unwrap_or_default())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names contents. Keyed with `version_key` where one is set, so that versions of private content
/// cannot be guessed; else with a fixed context, so that all nodes agree.
#[derive(Clone)]
pub struct VersionNamer(Arc<blake3::Hasher>);

impl VersionNamer {
    /// Names versions with this key (`version_key`), or with the fixed context.
    pub fn new(key: Option<&str>) -> Self {
        let hasher = match key {
            Some(key) => {
                let key = blake3::derive_key("pollcast 2026 content version, keyed", key.as_bytes());
                blake3::Hasher::new_keyed(&key)
            }
            None => blake3::Hasher::new_derive_key("pollcast 2026 content version"),
        };
        VersionNamer(Arc::new(hasher))
    }

    /// The version of this content. Every part is length-prefixed, so that no two contents can
    /// run together. The charset of JSON is no part of it as long as the body is the UTF-8 that JSON has to be
    /// (RFC 8259 §8.1): some servers write the parameter on one node and not on the other.
    pub fn name(&self, status: u16, media_type: Option<&MediaType>, body: &[u8]) -> Version {
        let mut hasher = (*self.0).clone();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        match status {
            // 200, the status of most states, has its own short form: clients keep these names over upgrades.
            200 => part(&[2]),
            other => part(&other.to_be_bytes()),
        }
        part(media_type.map(|t| t.essence.as_bytes()).unwrap_or_default());
        let counts = |media_type: &&MediaType| !media_type.is_json() || str::from_utf8(body).is_err();
        let charset = media_type.filter(counts).and_then(|media_type| media_type.charset.as_deref());
        part(charset.unwrap_or_default().as_bytes());
        part(body);
        let mut name = [0; 16];
        hasher.finalize_xof().fill(&mut name);
        Version(name)
    }
}

/// An `If-None-Match` field (RFC 9110 §13.1.2), weakly compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfNoneMatch {
    /// `*`: any current representation.
    Any,
    /// The versions in the list; tags that are no versions of ours are left out.
    Versions(Vec<Version>),
}

/// Endings that servers and proxies in between add to a tag when they compress (contract §2).
const CODING_SUFFIXES: [&str; 8] = ["-gzip", "-br", "-zstd", "-deflate", ";gzip", ";br", "--gzip", "--br"];

/// Most tags read from one field: a longer list only costs a full answer.
const TAGS_MAX: usize = 64;

impl IfNoneMatch {
    /// Reads all field lines, joined. Never fails: what cannot be read matches nothing.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<IfNoneMatch> {
        let mut versions = Vec::new();
        let mut seen = false;
        for line in lines {
            seen = true;
            let Ok(text) = std::str::from_utf8(line) else {
                continue;
            };
            if text.trim() == "*" {
                return Some(IfNoneMatch::Any);
            }
            for tag in text.split(',').take(TAGS_MAX - versions.len().min(TAGS_MAX)) {
                versions.extend(version_of_tag(tag));
            }
        }
        seen.then_some(IfNoneMatch::Versions(versions))
    }

    /// Whether the condition names the current version.
    pub fn matches(&self, current: Version) -> bool {
        match self {
            IfNoneMatch::Any => true,
            IfNoneMatch::Versions(versions) => versions.contains(&current),
        }
    }

    /// The state the client says it has: the first version of the list.
    pub fn first(&self) -> Option<Version> {
        match self {
            IfNoneMatch::Any => None,
            IfNoneMatch::Versions(versions) => versions.first().copied(),
        }
    }
}

/// The version an entity tag carries: `W/` and coding suffixes do not count, quotes are forgiven.
pub fn version_of_tag(tag: &str) -> Option<Version> {
    str::from_utf8(opaque_tag(tag.as_bytes())).ok().and_then(Version::parse)
}

/// Returns the opaque part of a tag, without `W/`, quotes and the suffixes of codings.
pub fn opaque_tag(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
    let tag = tag.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\"")).unwrap_or(tag);
    let plain = CODING_SUFFIXES.iter().find_map(|suffix| tag.strip_suffix(suffix.as_bytes()));
    // A tag that is nothing but a suffix is a tag.
    plain.filter(|plain| !plain.is_empty()).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn namer() -> VersionNamer {
        VersionNamer::new(None)
    }

    #[test]
    fn a_version_survives_text_and_tag() {
        let version = namer().name(200, None, b"{}");
        assert_eq!(Version::parse(&version.to_string()), Some(version));
        let weak = format!("W/\"{version}-gzip\"");
        assert_eq!(version_of_tag(&weak), Some(version));
    }

    #[test]
    fn a_key_changes_every_version() {
        let keyed = VersionNamer::new(Some("secret"));
        assert_ne!(namer().name(200, None, b"x"), keyed.name(200, None, b"x"));
    }

    #[test]
    fn versions_do_not_depend_on_the_build() {
        // Clients keep versions over restarts and upgrades: a new name for the same content is a
        // broken promise.
        assert_eq!(namer().name(200, None, b"{}").to_string(), "1OFxHFoXy_B04sX6D8aGgQ");
    }

    #[test]
    fn each_status_is_a_state_of_its_own() {
        let names = [200, 201, 202, 204, 404].map(|status| namer().name(status, None, b""));
        assert!(names.iter().enumerate().all(|(at, name)| !names[..at].contains(name)));
    }

    #[test]
    fn a_list_matches_any_of_its_tags() {
        let version = namer().name(200, None, b"1");
        let field = format!("\"abc\", W/\"{version}\"");
        let parsed = IfNoneMatch::parse([field.as_bytes()]).unwrap();
        assert!(parsed.matches(version));
        assert!(!parsed.matches(namer().name(200, None, b"2")));
        assert_eq!(IfNoneMatch::parse([b" * ".as_slice()]), Some(IfNoneMatch::Any));
        assert_eq!(IfNoneMatch::parse([]), None);
    }

    #[test]
    fn the_charset_of_json_is_no_part_of_its_name_and_that_of_text_is() {
        let name =
            |media_type: &str, body: &[u8]| namer().name(200, MediaType::parse(media_type).as_ref(), body);
        let plain = name("application/json", "{\"é\":1}".as_bytes());
        for charset in ["utf-8", "ISO-8859-1", "binary", "UTF8"] {
            let said = format!("application/json; charset={charset}");
            assert_eq!(name(&said, "{\"é\":1}".as_bytes()), plain, "{charset}");
        }
        assert_ne!(name("text/plain", b"a"), name("text/plain; charset=utf-8", b"a"));
        // The body is not UTF-8: the parameter says which letters these are.
        let latin = name("application/json; charset=ISO-8859-1", b"{\"\xe9\":1}");
        assert_ne!(latin, name("application/json; charset=windows-1251", b"{\"\xe9\":1}"));
    }

    proptest! {
        #[test]
        fn parts_never_run_together(a in proptest::collection::vec(any::<u8>(), 0..20),
                                    b in proptest::collection::vec(any::<u8>(), 0..20),
                                    ta in "[a-z]{1,4}/[a-z]{1,4}", tb in "[a-z]{1,4}/[a-z]{1,4}") {
            let (ta, tb) = (MediaType::parse(&ta).unwrap(), MediaType::parse(&tb).unwrap());
            let same = a == b && ta == tb;
            prop_assert_eq!(namer().name(200, Some(&ta), &a) == namer().name(200, Some(&tb), &b), same);
        }

        #[test]
        fn no_field_panics(field in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = IfNoneMatch::parse([field.as_slice()]);
        }
    }
}
