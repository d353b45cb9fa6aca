//! What a client can decompress: `Accept-Encoding` (RFC 9110 §12.5.3), and the offers of WebSocket
//! extensions (RFC 7692).
//!
//! Must not know: how anything is compressed.

use http::{HeaderMap, HeaderValue, header};

use crate::config::Route;
use crate::frame::Coding;
use crate::resource::ResourceKey;
use crate::transport::answer;

/// How an answer or stream of a resource goes out to this client.
pub(in crate::front) fn coding(route: &Route, key: &ResourceKey, headers: &HeaderMap) -> Coding {
    if answer::is_compressed(key, route) && takes_gzip(headers) { Coding::Deflated } else { Coding::Plain }
}

/// Whether gzip is welcome: named or by `*`, with a weight above zero. Without the field it is not: many
/// clients that send none read none.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    for coding in lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let welcome = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        match name {
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => return welcome,
            "*" => any = welcome,
            _ => {}
        }
    }
    any
}

/// What was agreed on for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) struct Deflate {
    /// Base-two logarithm of the largest window that the client's decoder has.
    pub(in crate::front) window: u8,
    /// It keeps its window from message to message.
    pub(in crate::front) keeps_window: bool,
    /// It wants to be told the window's size.
    tells_window: bool,
}

/// The first offer of permessage-deflate that can be met; others are left out of the answer.
pub(in crate::front) fn deflate(headers: &HeaderMap) -> Option<Deflate> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).find_map(offer)
}

fn offer(offer: &str) -> Option<Deflate> {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next()? != "permessage-deflate" {
        return None;
    }
    let mut deflate = Deflate { window: 15, keeps_window: true, tells_window: false };
    let mut seen: Vec<&str> = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        // Twice is an error of the offer (RFC 7692 §7.1), and so is any other value.
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        let bits = |value: &str| value.parse::<u8>().ok().filter(|bits| (8..=15).contains(bits));
        match (name, value) {
            ("server_no_context_takeover", None) => deflate.keeps_window = false,
            ("server_max_window_bits", Some(value)) => {
                deflate.window = bits(value)?;
                deflate.tells_window = true;
            }
            ("client_no_context_takeover" | "client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(value)) => drop(bits(value)?),
            _ => return None,
        }
    }
    Some(deflate)
}

impl Deflate {
    /// The answer. The client never keeps its window: each of its messages is read alone.
    pub(in crate::front) fn answer(self) -> HeaderValue {
        let mut text = "permessage-deflate; client_no_context_takeover".to_owned();
        if !self.keeps_window {
            text.push_str("; server_no_context_takeover");
        }
        if self.tells_window {
            text.push_str(&format!("; server_max_window_bits={}", self.window));
        }
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("permessage-deflate"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_clients_that_take_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for welcome in ["gzip", "GZIP", "br, gzip;q=0.1", "deflate, *;q=0.5", "gzip, *;q=0", "x-gzip"] {
            assert!(takes(welcome), "{welcome}");
        }
        for not in ["", "br", "identity", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "gzip;q=x", "gzipped"] {
            assert!(!takes(not), "{not}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    fn answered(offer: &'static str) -> Option<String> {
        let headers =
            HeaderMap::from_iter([(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer))]);
        deflate(&headers).map(|deflate| deflate.answer().to_str().unwrap().to_owned())
    }

    #[test]
    fn the_first_acceptable_offer_is_answered() {
        let plain = "permessage-deflate; client_no_context_takeover";
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; unknown, permessage-deflate",
            "permessage-deflate; server_max_window_bits=7, permessage-deflate; client_max_window_bits",
        ] {
            assert_eq!(answered(offer).as_deref(), Some(plain), "{offer}");
        }
        assert_eq!(
            answered("permessage-deflate; server_no_context_takeover; server_max_window_bits=\"10\"")
                .unwrap(),
            format!("{plain}; server_no_context_takeover; server_max_window_bits=10")
        );
        for bad in [
            "",
            "deflate",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_max_window_bits=16",
        ] {
            assert_eq!(answered(bad), None, "{bad}");
        }
    }
}
