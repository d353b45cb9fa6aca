//! One successful poll: content, type, headers that belong to it, and the upstream's validators.
//!
//! Must not know: when it was fetched (equal content is equal at any time), or by which poll.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::text::decoded;
use super::{Content, Json, Version};
use super::{MediaType, Validators};

/// One successful poll, immutable.
#[derive(Debug)]
pub struct Snapshot {
    /// The name of the content (contract §2).
    pub version: Version,
    /// The upstream's status.
    pub status: StatusCode,
    /// The upstream's Content-Type.
    pub content_type: Option<HeaderValue>,
    /// The same, reduced to what names content. `None` if it cannot be read.
    pub media_type: Option<MediaType>,
    /// The upstream's end-to-end headers that belong to the content (contract §3).
    pub headers: HeaderMap,
    /// What the next poll asks conditionally with.
    pub validators: Validators,
    /// Lower-case names of `Vary` that are not the same on every poll.
    pub vary: Vec<HeaderName>,
    /// The body that clients get.
    pub body: Bytes,
    /// The upstream forbids to change the content on its way.
    no_transform: bool,
    /// See [`Snapshot::form`].
    form: u64,
    /// Values that do not count, so that the same version may stand for other ones elsewhere.
    ignored: Ignored,
    /// The body as UTF-8, converted at most once; `None` if it is not text.
    text: Arc<OnceLock<Option<Bytes>>>,
    /// The body's values, found at most once; `None` if it is not JSON.
    json: Arc<OnceLock<Option<Arc<Json>>>>,
}

impl Content {
    /// Returns the content under its name.
    pub fn into_snapshot(self, version: Version) -> Snapshot {
        Snapshot::new(
            version,
            self.status,
            self.content_type,
            self.headers,
            self.validators,
            self.vary,
            self.body,
        )
    }
}

/// The values of a body that a rule ignores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignored {
    /// The bytes they start at, in order.
    pub starts: Arc<[u32]>,
    /// Whether the names on the way to a value alone say that it is ignored, so that a value that is missing would be
    /// ignored too. False if indices or other values say it as well.
    pub by_name: bool,
}

/// Returns a field's value in memory of its own. A value that was read is a part of the whole head, which stays in
/// memory for as long as any part of it does.
pub fn detached(value: &HeaderValue) -> HeaderValue {
    let mut own = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    own.set_sensitive(value.is_sensitive());
    own
}

impl Snapshot {
    /// Returns a snapshot that holds no more memory than its parts need: header values are copied out of the head
    /// they were read in.
    pub fn new(
        version: Version,
        status: StatusCode,
        content_type: Option<HeaderValue>,
        mut headers: HeaderMap,
        validators: Validators,
        vary: Vec<HeaderName>,
        body: Bytes,
    ) -> Snapshot {
        headers.values_mut().for_each(|value| *value = detached(value));
        let content_type = content_type.as_ref().map(detached);
        let validators = Validators {
            etag: validators.etag.as_ref().map(detached),
            last_modified: validators.last_modified.as_ref().map(detached),
        };
        let media_type = content_type.as_ref().and_then(|v| MediaType::parse(v.to_str().ok()?));
        // A snapshot has the part of `Cache-Control` that goes on to clients, with `no-transform` last.
        let said = headers.get(header::CACHE_CONTROL);
        let no_transform = said.is_some_and(|said| said.as_bytes().ends_with(b"no-transform"));
        let mut form = DefaultHasher::new();
        (status, &content_type, no_transform).hash(&mut form);
        Snapshot {
            no_transform,
            form: form.finish(),
            version,
            status,
            content_type,
            media_type,
            headers,
            validators,
            vary,
            body,
            ignored: Ignored::default(),
            text: Arc::default(),
            json: Arc::default(),
        }
    }

    /// The same content in which some values do not count.
    #[must_use]
    pub fn ignoring(self, ignored: Ignored) -> Snapshot {
        Snapshot { ignored, json: Arc::default(), ..self }
    }

    /// This body with what else a newer poll of the same content brought.
    #[must_use]
    pub fn renewed(&self, newer: Content) -> Snapshot {
        let body = self.body.clone();
        let fresh = Content { body, ..newer }.into_snapshot(self.version);
        Snapshot { ignored: self.ignored.clone(), text: self.text.clone(), json: self.json.clone(), ..fresh }
    }

    /// Returns this poll over the content of an equal one, so that both hold it once. Returns `None` if they are not
    /// equal.
    pub fn over(&self, held: &Snapshot) -> Option<Snapshot> {
        let equal = self.version == held.version
            && self.status == held.status
            && self.content_type == held.content_type
            && self.ignored == held.ignored
            && self.body == held.body;
        equal.then(|| Snapshot {
            version: self.version,
            status: self.status,
            content_type: self.content_type.clone(),
            media_type: self.media_type.clone(),
            headers: self.headers.clone(),
            validators: self.validators.clone(),
            vary: self.vary.clone(),
            no_transform: self.no_transform,
            form: self.form,
            body: held.body.clone(),
            ignored: held.ignored.clone(),
            text: held.text.clone(),
            json: held.json.clone(),
        })
    }

    /// The values of the body. Returns `None` if it is not JSON, or not text.
    pub fn json(&self) -> Option<&Json> {
        let read = || {
            let json = Json::parse(self.text()?.clone()).ok()?;
            Some(Arc::new(json.ignoring(&self.ignored.starts)))
        };
        self.json.get_or_init(read).as_deref()
    }

    /// Whether the upstream forbids to change the content on its way (`no-transform`, RFC 9111 §5.2.2.6).
    pub fn forbids_transformation(&self) -> bool {
        self.no_transform
    }

    /// A number for what decides whether a client takes the content, beside its version: status, type, and whether it may
    /// be changed on its way. Snapshots that differ in these have different numbers, most likely.
    pub fn form(&self) -> u64 {
        self.form
    }

    /// Returns the values of the body that a rule ignores.
    pub fn ignored(&self) -> &Ignored {
        &self.ignored
    }

    /// The body as UTF-8 without a byte order mark: as it is, or converted from its charset. Returns `None` if it is
    /// not text.
    pub fn text(&self) -> Option<&Bytes> {
        self.text.get_or_init(|| decoded(self.media_type.as_ref(), &self.body)).as_ref()
    }

    /// Bytes that this snapshot holds in memory beside its content, roughly.
    pub fn own_weight(&self) -> usize {
        size_of::<Snapshot>() + fields_weight(&self.headers)
    }

    /// Bytes of the content, roughly: equal ones may be held once.
    pub fn content_weight(&self) -> usize {
        let converted = match self.text.get() {
            Some(Some(text)) if text.as_ptr() != self.body.as_ptr() => text.len(),
            _ => 0,
        };
        let json = self.json.get().and_then(Option::as_ref).map_or(0, |json| json.weight());
        self.body.len() + converted + json + self.ignored.starts.len() * size_of::<u32>()
    }
}

/// Bytes that fields hold, roughly.
pub fn fields_weight(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::VersionNamer;

    fn snapshot(content_type: &'static str, body: &'static [u8]) -> Snapshot {
        Snapshot::new(
            VersionNamer::new(None).name(200, None, body),
            StatusCode::OK,
            Some(HeaderValue::from_static(content_type)),
            HeaderMap::new(),
            Validators::default(),
            Vec::new(),
            Bytes::from_static(body),
        )
    }

    #[test]
    fn a_declared_charset_is_converted() {
        let text = snapshot("text/plain; charset=ISO-8859-1", b"caf\xe9").text().cloned();
        assert_eq!(text.as_deref(), Some("café".as_bytes()));
    }

    #[test]
    fn bytes_that_are_no_text_are_none() {
        assert_eq!(snapshot("image/png", b"\x89PNG\xff").text(), None);
        assert_eq!(snapshot("text/plain; charset=nonsense", b"a").text(), None);
    }

    #[test]
    fn a_date_alone_is_a_validator_once_its_second_is_over() {
        const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let of = |fields: &[(HeaderName, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            Validators::of(&fields.collect())
        };
        let dated =
            |date| of(&[(header::LAST_MODIFIED, MODIFIED), (header::DATE, date)]).last_modified.is_some();
        assert!(dated("Sun, 06 Nov 1994 08:49:38 GMT"));
        assert!(!dated(MODIFIED), "it may change again in this second");
        assert!(!dated("Sun, 06 Nov 1994 08:49:36 GMT"));
        assert!(!dated("now"));
        assert_eq!(
            of(&[(header::LAST_MODIFIED, MODIFIED)]),
            Validators::default(),
            "nothing says when it was sent"
        );
        let tagged =
            of(&[(header::LAST_MODIFIED, MODIFIED), (header::DATE, MODIFIED), (header::ETAG, "\"a\"")]);
        assert!(tagged.etag.is_some() && tagged.last_modified.is_some(), "the tag is what counts");
    }

    #[test]
    fn a_media_type_is_reduced_to_essence_and_charset() {
        let parsed = MediaType::parse("Application/Problem+JSON ; v=1; Charset=\"UTF-8\"").unwrap();
        assert_eq!(parsed.essence, "application/problem+json");
        assert_eq!(parsed.charset.as_deref(), Some("utf-8"));
        assert!(parsed.is_json());
    }
}
