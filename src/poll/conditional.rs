//! What a poll says it already has, and what a 304 says about it.
//!
//! Must not know: topics, schedules, time.

use http::{HeaderMap, HeaderValue, header};

use crate::resource::{Validators, opaque_tag};

/// What the polls of one resource say that they already have.
#[derive(Debug, Default)]
pub(super) struct Conditional {
    /// The validators that the poll in flight carries: a 304 is an answer to them.
    asked: Option<Validators>,
    /// Newer validators for the content held, which a 304 brought.
    renewed: Option<Validators>,
    /// The last 304 was about another version: the next poll asks for the whole content.
    is_distrusted: bool,
}

impl Conditional {
    /// Returns the validators of the next poll, for what is `held`. Returns `None` if that asks for the whole content.
    pub(super) fn ask(&mut self, held: Option<&Validators>, is_whole: bool) -> Option<&Validators> {
        let is_whole = std::mem::take(&mut self.is_distrusted) || is_whole;
        self.asked = held
            .map(|held| self.renewed.as_ref().unwrap_or(held).clone())
            .filter(|sent| !is_whole && (sent.etag.is_some() || sent.last_modified.is_some()));
        self.asked.as_ref()
    }

    /// Notes what the request that was answered carried: a redirect may have dropped the validators, and an item is
    /// asked for by its batch's.
    pub(super) fn answered(&mut self, was_conditional: bool, is_item: bool) {
        self.asked = match (was_conditional, is_item) {
            (false, _) => None,
            (true, true) => Some(Validators::default()),
            (true, false) => self.asked.take(),
        };
    }

    /// Takes in a 304. Returns the validators to send next.
    ///
    /// # Errors
    /// Why it says nothing about the content held.
    pub(super) fn not_modified(&mut self, headers: &HeaderMap) -> Result<Validators, &'static str> {
        let Some(asked) = &self.asked else {
            return Err("the upstream answered 304 to an unconditional request");
        };
        let Some(renewed) = renewed(asked, headers) else {
            self.is_distrusted = true;
            return Err("the upstream answered 304 with the ETag of another version than asked for");
        };
        self.renewed = Some(renewed.clone());
        Ok(renewed)
    }

    /// What a 304 brought is of another content than the one held.
    pub(super) fn forget_renewed(&mut self) {
        self.renewed = None;
    }
}

/// The validators to send next after a 304 to a poll that sent `asked`: a 304 may bring newer ones
/// (RFC 9111 §4.3.4). Returns `None` if its ETag names another version than the one asked for, so that it says
/// nothing about the content held. Quotes that are missing and what a server adds to the tag of a coded body
/// are forgiven (contract §2); the tag that was understood is sent again then.
pub(super) fn renewed(asked: &Validators, headers: &HeaderMap) -> Option<Validators> {
    let answered = Validators::of(headers);
    let etag = match (&asked.etag, &answered.etag) {
        (Some(asked), Some(answered)) if opaque(asked) == opaque(answered) => Some(answered),
        (Some(asked), Some(answered)) if opaque_tag(asked.as_bytes()) == opaque_tag(answered.as_bytes()) => {
            Some(asked)
        }
        (Some(_), Some(_)) => return None,
        (asked, answered) => answered.as_ref().or(asked.as_ref()),
    };
    let last_modified = match headers.get(header::LAST_MODIFIED) {
        // As it was asked for, or not a word: what was good enough to ask with still is.
        said if said.is_none() || said == asked.last_modified.as_ref() => asked.last_modified.clone(),
        Some(said) if etag.is_some() => Some(said.clone()),
        _ => answered.last_modified,
    };
    Some(Validators { etag: etag.cloned(), last_modified })
}

/// If-None-Match compares weakly (RFC 9110 §13.1.2).
fn opaque(tag: &HeaderValue) -> &[u8] {
    let tag = tag.as_bytes();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators(etag: Option<&'static str>, last_modified: Option<&'static str>) -> Validators {
        Validators {
            etag: etag.map(HeaderValue::from_static),
            last_modified: last_modified.map(HeaderValue::from_static),
        }
    }

    fn answered(
        asked: (Option<&'static str>, Option<&'static str>),
        answer: (Option<&'static str>, Option<&'static str>),
    ) -> Option<(Option<HeaderValue>, Option<HeaderValue>)> {
        let mut headers = HeaderMap::new();
        let answer = validators(answer.0, answer.1);
        answer.etag.map(|tag| headers.insert(header::ETAG, tag));
        answer.last_modified.map(|date| headers.insert(header::LAST_MODIFIED, date));
        renewed(&validators(asked.0, asked.1), &headers).map(|v| (v.etag, v.last_modified))
    }

    fn sent(
        etag: Option<&'static str>,
        last_modified: Option<&'static str>,
    ) -> Option<(Option<HeaderValue>, Option<HeaderValue>)> {
        let validators = validators(etag, last_modified);
        Some((validators.etag, validators.last_modified))
    }

    #[test]
    fn a_304_without_validators_keeps_what_was_asked() {
        assert_eq!(answered((Some("\"a\""), Some("Mon")), (None, None)), sent(Some("\"a\""), Some("Mon")));
    }

    #[test]
    fn newer_validators_of_a_304_are_sent_next() {
        assert_eq!(
            answered((Some("\"a\""), Some("Mon")), (None, Some("Tue"))),
            sent(Some("\"a\""), Some("Tue"))
        );
        assert_eq!(
            answered((None, Some("Mon")), (Some("W/\"b\""), None)),
            sent(Some("W/\"b\""), Some("Mon"))
        );
        assert_eq!(answered((Some("\"a\""), None), (Some("W/\"a\""), None)), sent(Some("W/\"a\""), None));
    }

    #[test]
    fn quotes_and_coding_suffixes_do_not_make_another_version() {
        for (asked, answered_tag) in [
            ("\"x-gzip\"", "\"x\""),
            ("\"x\"", "\"x-gzip\""),
            ("W/\"x;gzip\"", "\"x\""),
            ("\"x\"", "x"),
            ("x", "W/\"x\""),
            ("\"x-br\"", "\"x-gzip\""),
        ] {
            let kept = answered((Some(asked), None), (Some(answered_tag), None));
            assert_eq!(
                kept,
                sent(Some(asked), None),
                "{answered_tag} to {asked}: what was understood is sent again"
            );
        }
        assert_eq!(answered((Some("\"x-gzip\""), None), (Some("\"y\""), None)), None);
        assert_eq!(answered((Some("\"\""), None), (Some("\"-gzip\""), None)), None);
    }

    #[test]
    fn a_date_that_a_304_brings_counts_once_its_second_is_over() {
        // This 304 has no Date.
        assert_eq!(answered((None, Some("Mon")), (None, Some("Tue"))), sent(None, None));
        assert_eq!(answered((None, Some("Mon")), (None, Some("Mon"))), sent(None, Some("Mon")));
    }

    #[test]
    fn a_304_about_another_version_confirms_nothing() {
        assert_eq!(answered((Some("\"a\""), None), (Some("\"b\""), None)), None);
        assert_eq!(answered((Some("W/\"a\""), Some("Mon")), (Some("W/\"b\""), Some("Mon"))), None);
    }
}
