//! What a poll says it already has, and what a 304 says about it.
//!
//! Must not know: topics, schedules, time.

use http::{HeaderMap, HeaderValue, header};

use crate::resource::Validators;

/// The validators to send next after a 304 to a poll that sent `asked`: a 304 may bring newer ones
/// (RFC 9111 §4.3.4). None: its ETag names another version than the one asked for, so that it says
/// nothing about the content held.
pub(super) fn renewed(asked: &Validators, headers: &HeaderMap) -> Option<Validators> {
    let etag = headers.get(header::ETAG);
    if let (Some(asked), Some(answered)) = (&asked.etag, etag)
        && opaque(asked) != opaque(answered)
    {
        return None;
    }
    let last_modified = headers.get(header::LAST_MODIFIED);
    Some(Validators {
        etag: etag.or(asked.etag.as_ref()).cloned(),
        last_modified: last_modified.or(asked.last_modified.as_ref()).cloned(),
    })
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
    fn a_304_about_another_version_confirms_nothing() {
        assert_eq!(answered((Some("\"a\""), None), (Some("\"b\""), None)), None);
        assert_eq!(answered((Some("W/\"a\""), Some("Mon")), (Some("W/\"b\""), Some("Mon"))), None);
    }
}
