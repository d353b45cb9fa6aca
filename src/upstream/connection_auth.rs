//! Authentication of a connection rather than of a request (RFC 4559 §6, contract §10): the user who proved an
//! identity on such a connection is taken for the sender of every later request on it.
//!
//! Fails closed: a name in a quoted string counts as well. Must not know: connections, identities.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The schemes of this kind that need no configuration, in lower case.
const ALWAYS: [&str; 3] = ["ntlm", "negotiate", "kerberos"];

/// The field by which a server says that it knows a connection's user, or will (IIS).
static PERSISTENT_AUTH: HeaderName = HeaderName::from_static("persistent-auth");

/// Whether a request authenticates its connection. `more` has further schemes (`connection_auth`), in lower case.
pub fn is_carried<'a>(
    more: &[String],
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> bool {
    fields
        .into_iter()
        .filter(|(name, _)| matches!(**name, header::AUTHORIZATION | header::PROXY_AUTHORIZATION))
        .any(|(_, value)| names_scheme(more, value))
}

/// Whether an answer asks for such a proof, or says that the connection has given one.
pub fn is_answered(more: &[String], headers: &HeaderMap) -> bool {
    // In one pass: next to no answer has one of the fields.
    headers.iter().any(|(name, value)| match *name {
        header::WWW_AUTHENTICATE | header::PROXY_AUTHENTICATE => names_scheme(more, value),
        _ => *name == PERSISTENT_AUTH && affirms(value),
    })
}

/// Whether an answer says that the connection knows its user.
pub fn is_persistent(headers: &HeaderMap) -> bool {
    headers.get_all(&PERSISTENT_AUTH).iter().any(affirms)
}

fn affirms(value: &HeaderValue) -> bool {
    !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"false")
}

/// Whether one of the parts between commas begins with the name of such a scheme.
fn names_scheme(more: &[String], value: &HeaderValue) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|part| {
        let part = part.trim_ascii();
        let end = part.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'=' | b'"'));
        let scheme = &part[..end.unwrap_or(part.len())];
        let is = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
        ALWAYS.into_iter().any(is) || more.iter().any(|name| is(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn a_request_with_a_scheme_of_connections_is_known_in_any_spelling() {
        let more = ["x-winauth".to_owned()];
        let cases = [
            ("authorization", "NTLM TlRMTVNTUAAB", true),
            ("authorization", "ntlm", true),
            ("Authorization", "  Negotiate\tYII=", true),
            ("authorization", "NEGOTIATE YII=", true),
            ("proxy-authorization", "Negotiate YII=", true),
            ("authorization", "X-WinAuth token", true),
            ("authorization", "Bearer NTLM", false),
            ("authorization", "Basic TlRMTQ==", false),
            ("authorization", "NTLMv9 x", false),
            ("cookie", "NTLM", false),
        ];
        for (name, value, wanted) in cases {
            let headers = headers(&[(name, value)]);
            assert_eq!(is_carried(&more, &headers), wanted, "{name}: {value}");
        }
        let twice = headers(&[("authorization", "Bearer x"), ("authorization", "NTLM x")]);
        assert!(is_carried(&[], &twice), "one of several lines");
    }

    #[test]
    fn an_answer_that_speaks_of_its_connection_is_known() {
        let cases: [(&[(&str, &str)], bool); 9] = [
            (&[("www-authenticate", "Negotiate")], true),
            (&[("www-authenticate", "Basic realm=\"a, b\", NTLM")], true),
            (&[("www-authenticate", "Basic realm=\"a\""), ("www-authenticate", "ntlm TlRM")], true),
            (&[("proxy-authenticate", "NTLM")], true),
            (&[("persistent-auth", "true")], true),
            (&[("Persistent-Auth", "")], true),
            (&[("persistent-auth", "False")], false),
            (&[("www-authenticate", "Bearer realm=\"negotiate\"")], false),
            (&[("www-authenticate", "Basic realm=\"x\"")], false),
        ];
        for (fields, wanted) in cases {
            assert_eq!(is_answered(&[], &headers(fields)), wanted, "{fields:?}");
        }
    }
}
