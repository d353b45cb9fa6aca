//! An answer of the upstream that is no snapshot, given to a client as it came (contract §3): to all who ask, or to the
//! one request whose poll took it.
//!
//! Must not know: why it is no snapshot, what is remembered of it.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::front::covered_request::CoveredRequest;
use crate::front::decision::{Answer, Decision};
use crate::front::passthrough::bypass;
use crate::front::request::transport_choice::Accept;
use crate::front::request::{accept, cors};
use crate::hub::{Audience, Claim, Relayed};
use crate::resource::MediaType;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

impl CoveredRequest<'_> {
    /// Answers an ordinary poll with it. Returns `None` if this request asks for itself.
    pub(super) fn relay(&mut self, relayed: &Relayed) -> Option<Decision> {
        if relayed.audience != Audience::All || !self.is_answered_by(relayed) {
            return None;
        }
        Some(self.pass_on(relayed))
    }

    /// Answers a push form with it. Returns `None` if this request asks for itself.
    pub(in crate::front) fn relay_to_push(&mut self, relayed: &Relayed) -> Option<Decision> {
        if !matches!(relayed.audience, Audience::All | Audience::Push) {
            return None;
        }
        Some(self.pass_on(relayed))
    }

    /// Answers with what the poll took that this request caused. Returns `None` if there is nothing of the kind, or
    /// nothing for this request.
    pub(super) fn take_claimed(&mut self, claim: Option<Claim>) -> Option<Decision> {
        match claim.and_then(Claim::take) {
            Some(relayed) if self.is_answered_by(&relayed) => Some(self.pass_on(&relayed)),
            _ => None,
        }
    }

    /// Whether this request would have got the same: its type is admitted, and it says the same as the poll in what the
    /// answer was chosen by. Failures are one for all.
    fn is_answered_by(&self, relayed: &Relayed) -> bool {
        let says_the_same = |(name, said): &(HeaderName, Option<HeaderValue>)| {
            let own = value_of(&self.headers, name);
            // A request without Accept takes any type.
            let any = || (*name == header::ACCEPT).then(|| b"*/*".to_vec());
            let said = said.as_ref().map(|said| said.as_bytes().to_vec());
            own.or_else(any) == said.or_else(any)
        };
        let admits = || {
            let content_type =
                relayed.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let essence = content_type.and_then(MediaType::parse).map(|found| found.essence);
            let prefers_another = accept::prefers_another(
                &self.route,
                &self.headers,
                relayed.headers.get(header::CONTENT_TYPE),
            );
            !prefers_another && essence.is_none_or(|essence| Accept::of(&self.headers).admits(&essence))
        };
        // What the upstream says of itself rather than of the resource. Redirects and refusals are answers.
        let is_failing = relayed.status.is_server_error() || relayed.status == StatusCode::TOO_MANY_REQUESTS;
        is_failing || (relayed.said.iter().all(says_the_same) && admits())
    }

    /// Gives the answer as it came, this request's conditions counted.
    fn pass_on(&mut self, relayed: &Relayed) -> Decision {
        let mut headers = relayed.headers.clone();
        headers.append(CACHE_STATUS, HeaderValue::from_static("pollcast; fwd=miss; detail=relayed"));
        cors::add(&mut headers, &self.route, &self.headers);
        if self.route.authenticate.is_some() {
            bypass::keep_relay_private(&mut headers);
        }
        self.ctx.answer = "relayed";
        let (mut status, mut phrase, mut body) =
            (relayed.status, relayed.phrase.clone(), relayed.body.clone());
        if status.is_success() && is_known_by(&self.headers, &headers) {
            let describes_content: Vec<HeaderName> =
                headers.keys().filter(|name| name.as_str().starts_with("content-")).cloned().collect();
            for name in describes_content {
                headers.remove(name);
            }
            (status, phrase, body) = (StatusCode::NOT_MODIFIED, None, bytes::Bytes::new());
        } else if status != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Decision::Answer(Answer { status, phrase, headers, body })
    }
}

/// What a request says in a field, all its lines together.
fn value_of(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii()).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// Whether a client has what an answer with these fields gives, by the upstream's own validators (RFC 9110 §13.2.2).
fn is_known_by(request: &HeaderMap, answer: &HeaderMap) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        let tag = answer.get(header::ETAG).map(|tag| opaque(tag.as_bytes().trim_ascii()));
        let lines = request.get_all(header::IF_NONE_MATCH).iter();
        return lines
            .flat_map(|line| tags(line.as_bytes()))
            .any(|named| named == b"*" || tag.as_ref().is_some_and(|tag| *tag == opaque(named)));
    }
    let date = |headers: &HeaderMap, name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok();
    let since = date(request, header::IF_MODIFIED_SINCE);
    since.zip(date(answer, header::LAST_MODIFIED)).is_some_and(|(since, modified)| modified <= since)
}

/// The tags of a list; a comma within quotes is a part of one.
fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    line.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn conditions_are_held_against_the_upstreams_own_validators() {
        const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
        let answer = headers(&[("etag", "\"a,b\""), ("last-modified", OLD)]);
        let cases: [(&[(&str, &str)], bool); 9] = [
            (&[], false),
            (&[("if-none-match", "\"a,b\"")], true),
            (&[("if-none-match", "\"x\", W/\"a,b\"")], true),
            (&[("if-none-match", "*")], true),
            (&[("if-none-match", "\"a\"")], false),
            (&[("if-none-match", "\"x\""), ("if-modified-since", OLD)], false),
            (&[("if-modified-since", OLD)], true),
            (&[("if-modified-since", NEW)], true),
            (&[("if-modified-since", "soon")], false),
        ];
        for (request, wanted) in cases {
            let request: HeaderMap = request
                .iter()
                .map(|(name, value)| {
                    (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
                })
                .collect();
            assert_eq!(is_known_by(&request, &answer), wanted, "{request:?}");
        }
    }
}
