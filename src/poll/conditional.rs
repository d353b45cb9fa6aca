//! What a poll says it already has, and what a 304 says about it.
//!
//! Must not know: topics, schedules, time.

use http::{HeaderMap, HeaderValue, header};

use crate::resource::{Validators, opaque_tag};

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
