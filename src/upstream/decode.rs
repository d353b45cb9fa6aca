//! Content codings: decodes a whole body as its Content-Encoding says, within a bound. Must not know: connections,
//! heads, time.

use std::borrow::Cow;
use std::io::{self, Read};

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::failure::Failure;

/// Most codings on one body: no server sends more in good faith.
const CODINGS_MAX: usize = 2;

/// Largest zstd window accepted, as a power of two: the 8 MiB that every HTTP client must
/// handle (RFC 9659). A stream decides how much memory its decoder takes, up to this.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Working space of a brotli decoder beside its window.
const BROTLI_BUFFER_BYTES: usize = 8192;

/// Most characters of an unknown coding that a message shows.
const SHOWN_MAX: usize = 40;

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

    /// Whether a body may be in this coding by its beginning, which not every coding shows.
    fn begins(self, body: &[u8]) -> bool {
        match self {
            Self::Gzip => is_gzip(body),
            Self::Zstd => is_zstd(body),
            Self::Deflate | Self::Brotli => true,
        }
    }
}

/// Words that servers write in place of a coding: then the body has none. A charset or a media type means the same.
const NO_CODINGS: [&str; 18] = [
    "identity",
    "none",
    "no",
    "off",
    "false",
    "null",
    "undefined",
    "default",
    "plain",
    "raw",
    "text",
    "binary",
    "7bit",
    "8bit",
    "quoted-printable",
    "chunked",
    "aws-chunked",
    "*",
];

/// Whether a word in Content-Encoding says nothing about how the body is coded.
fn is_no_coding(name: &str) -> bool {
    let charset = name.strip_prefix("charset=").unwrap_or(name).trim_matches('"');
    NO_CODINGS.contains(&name)
        || name.contains('/')
        || encoding_rs::Encoding::for_label(charset.as_bytes()).is_some()
}

/// The codings of a body in the order in which they were applied. Words that are no coding are skipped.
///
/// # Errors
/// [`Failure::UnknownCoding`] for a coding that is not gzip, deflate, br or zstd, [`Failure::Encoding`] for too many.
pub(super) fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Failure> {
    let mut found = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = String::from_utf8_lossy(value.as_bytes());
        for name in
            text.split([',', ';']).map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty())
        {
            found.push(match name.to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                other if is_no_coding(other) => continue,
                _ => return Err(Failure::UnknownCoding { coding: name.chars().take(SHOWN_MAX).collect() }),
            });
            if found.len() > CODINGS_MAX {
                return Err(refused(&text, "more than two codings"));
            }
        }
    }
    Ok(found)
}

fn refused(coding: &str, reason: &str) -> Failure {
    Failure::Encoding { coding: coding.to_owned(), source: reason.into() }
}

/// The content under `codings`, at most `max` bytes at every step. Bytes behind the end of a coded body (zeros, a line
/// end, all that does not begin like a further member) are dropped.
///
/// # Errors
/// [`Failure::NotCoded`] for a body that does not even begin as its coding does; [`Failure::Encoding`] for one that is
/// not what its coding says, or broken off; [`Failure::TooLarge`] for content over `max`.
pub(super) fn decode(codings: &[Coding], body: impl AsRef<[u8]>, max: usize) -> Result<Vec<u8>, Failure> {
    let mut content = Cow::Borrowed(body.as_ref());
    for coding in codings.iter().rev() {
        content = Cow::Owned(decode_one(*coding, &content, max)?);
    }
    let mut content = content.into_owned();
    // The unused room of the buffer would be held for as long as the content is.
    content.shrink_to_fit();
    Ok(content)
}

fn decode_one(coding: Coding, body: &[u8], max: usize) -> Result<Vec<u8>, Failure> {
    if !coding.begins(body) {
        return Err(Failure::NotCoded { coding: coding.name().to_owned() });
    }
    let content = match coding {
        Coding::Gzip => {
            members(body, max, is_gzip, |rest, max| read_bounded(flate2::bufread::GzDecoder::new(rest), max))
        }
        // The name means zlib, but some servers send bare deflate; the zlib header tells them apart.
        Coding::Deflate if is_zlib(body) => read_bounded(flate2::bufread::ZlibDecoder::new(body), max),
        Coding::Deflate => read_bounded(flate2::bufread::DeflateDecoder::new(body), max),
        Coding::Brotli => read_bounded(brotli::Decompressor::new(body, BROTLI_BUFFER_BYTES), max),
        Coding::Zstd => members(body, max, is_zstd, |rest, max| {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(rest)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            read_bounded(decoder, max)
        }),
    };
    match content {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(Failure::TooLarge { part: "decoded body", limit: max }),
        Err(source) => Err(Failure::Encoding { coding: coding.name().to_owned(), source: source.into() }),
    }
}

/// Reads the members of a body in a row, as long as the rest begins like one. `read` takes one off.
fn members(
    body: &[u8],
    max: usize,
    begins: impl Fn(&[u8]) -> bool,
    read: impl Fn(&mut &[u8], usize) -> io::Result<Option<Vec<u8>>>,
) -> io::Result<Option<Vec<u8>>> {
    let mut rest = body;
    let mut content = Vec::new();
    while begins(rest) {
        let before = rest.len();
        let Some(member) = read(&mut rest, max - content.len())? else {
            return Ok(None);
        };
        if rest.len() == before {
            break;
        }
        if content.is_empty() {
            content = member;
        } else {
            content.extend_from_slice(&member);
        }
    }
    Ok(Some(content))
}

fn is_gzip(body: &[u8]) -> bool {
    body.starts_with(&[0x1f, 0x8b])
}

/// A frame, or one to be skipped (RFC 8878 §3.1).
fn is_zstd(body: &[u8]) -> bool {
    body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || matches!(body, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Compression method 8 and a header checksum that is a multiple of 31 (RFC 1950 §2.2).
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0)
}

/// Reads all of `content`. `None` if there are more than `max` bytes.
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
            let failure = decode(&[coding], TEXT, 1000).unwrap_err();
            let wanted = if matches!(coding, Coding::Gzip | Coding::Zstd) { "coding" } else { "encoding" };
            assert_eq!(failure.class(), wanted, "{coding:?}");
        }
    }

    #[test]
    fn what_is_no_coding_is_read_over_and_unknown_or_piled_ones_are_refused_by_name() {
        let said = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, value.parse().unwrap());
            codings(&headers)
        };
        for value in [
            "utf-8",
            "UTF8",
            "ISO-8859-1",
            "none",
            "None",
            "binary",
            "8bit",
            "identity",
            "aws-chunked",
            "",
            "charset=utf-8",
            "application/json",
            "null",
            "utf-8, identity",
        ] {
            assert_eq!(said(value).unwrap(), [], "{value:?}");
        }
        assert_eq!(said("aws-chunked, gzip").unwrap(), [Coding::Gzip]);
        assert_eq!(said("\"gzip\"").unwrap(), [Coding::Gzip]);
        for value in ["compress", "x-unknown", "lzma", "gzip, sdch"] {
            assert_eq!(said(value).unwrap_err().class(), "coding", "{value:?}");
        }
        assert!(said("compress").unwrap_err().to_string().contains("\"compress\""));
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_ENCODING, "GZip, identity".parse().unwrap());
        assert_eq!(codings(&headers).unwrap(), [Coding::Gzip]);
        headers.append(CONTENT_ENCODING, "br".parse().unwrap());
        assert_eq!(codings(&headers).unwrap(), [Coding::Gzip, Coding::Brotli]);
        headers.append(CONTENT_ENCODING, "br".parse().unwrap());
        assert_eq!(codings(&headers).unwrap_err().class(), "encoding");
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
    fn something_after_the_end_is_no_part_of_the_content() {
        for coding in ALL {
            for more in [b"garbage".as_slice(), b"\r\n", b"\0\0\0\0\0", b"\x1f"] {
                let mut body = coded(coding, TEXT);
                body.extend_from_slice(more);
                assert_eq!(decode(&[coding], body, 1000).unwrap(), TEXT, "{coding:?} {more:?}");
            }
        }
    }

    #[test]
    fn a_second_member_that_is_cut_short_is_no_content() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let mut body = [coded(coding, TEXT), coded(coding, TEXT)].concat();
            body.truncate(body.len() - 3);
            assert_eq!(decode(&[coding], body, 1000).unwrap_err().class(), "encoding", "{coding:?}");
        }
    }
}
