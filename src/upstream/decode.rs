//! Content codings: what Content-Encoding says is taken off a whole body, within a bound.
//! Must not know: connections, heads, time.

use std::io::{self, Read};

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::failure::Failure;

/// More codings on one body than this are refused: nobody sends them in good faith.
const MAX_CODINGS: usize = 2;

/// Largest zstd window accepted, as a power of two: the 8 MiB that every HTTP client must
/// handle (RFC 9659). A stream decides how much memory its decoder takes, up to this.
const ZSTD_WINDOW_LOG: u32 = 23;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// The codings of a body in the order in which they were applied; `identity` is none.
///
/// # Errors
/// [`Failure::Encoding`] for a coding that is not gzip, deflate, br or zstd, or for too many.
pub(super) fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Failure> {
    let mut found = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = String::from_utf8_lossy(value.as_bytes());
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            found.push(match name.to_ascii_lowercase().as_str() {
                "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => return Err(refused(name, "wanted gzip, deflate, br or zstd")),
            });
            if found.len() > MAX_CODINGS {
                return Err(refused(&text, "more than two codings"));
            }
        }
    }
    Ok(found)
}

fn refused(coding: &str, reason: &str) -> Failure {
    Failure::Encoding { coding: coding.to_owned(), source: reason.into() }
}

/// The content under `codings`, at most `max` bytes at every step.
///
/// # Errors
/// [`Failure::Encoding`] for a body that is not what its coding says, broken off or followed by
/// something else; [`Failure::TooLarge`] for content over `max`.
pub(super) fn decode(codings: &[Coding], body: Vec<u8>, max: usize) -> Result<Vec<u8>, Failure> {
    codings.iter().rev().try_fold(body, |body, coding| decode_one(*coding, &body, max))
}

fn decode_one(coding: Coding, body: &[u8], max: usize) -> Result<Vec<u8>, Failure> {
    // These stop where their stream ends; the others take what follows for one more, broken member.
    let mut rest = if matches!(coding, Coding::Deflate | Coding::Brotli) { body } else { &[] };
    let content = match coding {
        Coding::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(body), max),
        // The name means zlib, but some servers send bare deflate; the zlib header tells them apart.
        Coding::Deflate if is_zlib(body) => read_bounded(flate2::bufread::ZlibDecoder::new(&mut rest), max),
        Coding::Deflate => read_bounded(flate2::bufread::DeflateDecoder::new(&mut rest), max),
        Coding::Brotli => unbrotli(&mut rest, max),
        Coding::Zstd => zstd::stream::read::Decoder::with_buffer(body)
            .and_then(|mut decoder| decoder.window_log_max(ZSTD_WINDOW_LOG).map(|()| decoder))
            .and_then(|decoder| read_bounded(decoder, max)),
    };
    match content {
        Ok(Some(_)) if !rest.is_empty() => Err(refused(coding.name(), "something follows the end")),
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(Failure::TooLarge { part: "decoded body", limit: max }),
        Err(source) => Err(Failure::Encoding { coding: coding.name().to_owned(), source: source.into() }),
    }
}

/// The decoder complains of what follows in its buffer only when it is read once more after the end.
fn unbrotli(rest: &mut &[u8], max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut decoder = brotli::Decompressor::new(rest, 8192);
    let content = read_bounded(&mut decoder, max)?;
    if content.is_some() {
        let _end = decoder.read(&mut [0])?;
    }
    Ok(content)
}

/// Compression method 8 and a header checksum that is a multiple of 31 (RFC 1950 §2.2).
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0)
}

/// All of `content`, or none if there are more than `max` bytes.
fn read_bounded(content: impl Read, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut read = Vec::new();
    content.take((max as u64).saturating_add(1)).read_to_end(&mut read)?;
    Ok((read.len() <= max).then_some(read))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"{\"price\": 12, \"price_was\": 12, \"price_will_be\": 12}";

    fn coded(coding: Coding, text: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match coding {
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Brotli => {
                let mut out = Vec::new();
                brotli::BrotliCompress(&mut &text[..], &mut out, &Default::default()).unwrap();
                out
            }
            Coding::Zstd => zstd::encode_all(text, 0).unwrap(),
        }
    }

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    #[test]
    fn each_coding_gives_the_content_back() {
        for coding in ALL {
            assert_eq!(decode(&[coding], coded(coding, TEXT), 1000).unwrap(), TEXT, "{coding:?}");
        }
    }

    #[test]
    fn bare_deflate_is_understood() {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(TEXT).unwrap();
        assert_eq!(decode(&[Coding::Deflate], encoder.finish().unwrap(), 1000).unwrap(), TEXT);
    }

    #[test]
    fn codings_come_off_in_reverse_order() {
        let body = coded(Coding::Gzip, &coded(Coding::Brotli, TEXT));
        assert_eq!(decode(&[Coding::Brotli, Coding::Gzip], body, 1000).unwrap(), TEXT);
    }

    #[test]
    fn content_of_exactly_the_bound_passes_and_one_more_byte_does_not() {
        for coding in ALL {
            let bomb = coded(coding, &vec![0; 1 << 20]);
            assert!(bomb.len() < 1 << 13, "{coding:?}");
            assert_eq!(decode(&[coding], bomb.clone(), 1 << 20).unwrap().len(), 1 << 20);
            let failure = decode(&[coding], bomb, (1 << 20) - 1).unwrap_err();
            assert_eq!(failure.class(), "too-large", "{coding:?}");
        }
    }

    #[test]
    fn a_broken_off_body_is_no_content() {
        for coding in ALL {
            let mut body = coded(coding, TEXT);
            body.truncate(body.len() - 3);
            assert_eq!(decode(&[coding], body, 1000).unwrap_err().class(), "encoding", "{coding:?}");
        }
    }

    #[test]
    fn plain_text_called_coded_is_refused() {
        for coding in ALL {
            let failure = decode(&[coding], TEXT.to_vec(), 1000).unwrap_err();
            assert_eq!(failure.class(), "encoding", "{coding:?}");
        }
    }

    #[test]
    fn unknown_and_piled_codings_are_refused_by_name() {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_ENCODING, "GZip, identity".parse().unwrap());
        assert_eq!(codings(&headers).unwrap(), [Coding::Gzip]);
        headers.append(CONTENT_ENCODING, "br".parse().unwrap());
        assert_eq!(codings(&headers).unwrap(), [Coding::Gzip, Coding::Brotli]);
        headers.append(CONTENT_ENCODING, "br".parse().unwrap());
        assert_eq!(codings(&headers).unwrap_err().class(), "encoding");
        headers.insert(CONTENT_ENCODING, "compress".parse().unwrap());
        assert!(codings(&headers).unwrap_err().to_string().contains("\"compress\""));
    }

    #[test]
    fn members_in_a_row_are_one_content() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let body = [coded(coding, TEXT), coded(coding, TEXT)].concat();
            assert_eq!(decode(&[coding], body.clone(), 1000).unwrap(), TEXT.repeat(2), "{coding:?}");
            let failure = decode(&[coding], body, TEXT.len() * 2 - 1).unwrap_err();
            assert_eq!(failure.class(), "too-large", "{coding:?}");
        }
    }

    #[test]
    fn something_after_the_end_is_no_content() {
        for coding in ALL {
            let mut body = coded(coding, TEXT);
            body.extend_from_slice(b"garbage");
            assert_eq!(decode(&[coding], body, 1000).unwrap_err().class(), "encoding", "{coding:?}");
        }
    }
}
