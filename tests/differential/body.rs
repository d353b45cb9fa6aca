//! The bodies of the generated API: contents in many types and codings.
//!
//! Must not know: paths, fields, states' order.

use std::io::Write as _;

use percent_encoding::percent_decode_str;

use super::scene::Who;
use super::traits::{Body, Coding};

/// What a body tells.
#[derive(Debug, Clone)]
pub struct Content {
    /// What was asked for, as a server reads it.
    pub target: String,
    pub state: usize,
    pub who: Option<Who>,
    pub form: String,
    /// The number of reads before, where they are acts.
    pub acts: Option<usize>,
}

impl Content {
    fn json(&self) -> String {
        let acts = self.acts.map(|acts| format!(",\"acts\":{acts}")).unwrap_or_default();
        format!(
            "{{\"asked\":{},\"state\":{},\"for\":\"{}\",\"form\":\"{}\",\"price\":12.50,\"city\":\"Málaga\"{acts}}}",
            serde_json::to_string(&self.target).expect("text is JSON"),
            self.state,
            self.who.and_then(Who::mark).unwrap_or("all"),
            self.form,
        )
    }
}

/// A target as servers read it: escapes of letters and digits undone, the query as decoded pairs.
pub fn told(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut told = unreserved(path);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        told += &format!(" {}={}", text(name), text(value));
    }
    told
}

/// With escapes of what needs none undone, and the digits of the others in one letter case.
fn unreserved(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        let digits = rest.get(at + 1..at + 3);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match byte {
            Some(b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => {
                out.push(b as char);
                &rest[at + 3..]
            }
            Some(b) => {
                out += &format!("%{b:02X}");
                &rest[at + 3..]
            }
            None => {
                out.push('%');
                &rest[at + 1..]
            }
        };
    }
    out + rest
}

/// Content type and bytes.
pub fn of(kind: Body, content: &Content) -> (&'static str, Vec<u8>) {
    let json = content.json();
    match kind {
        Body::Object => ("application/json", json.into()),
        Body::List => ("application/json", format!("[{json},{{\"id\":2}}]").into()),
        Body::Text => ("text/plain; charset=utf-8", json.into()),
        Body::Html => ("text/html; charset=utf-8", format!("<!doctype html><p>{json}</p>").into()),
        Body::Xml => ("application/xml", format!("<?xml version=\"1.0\"?><a><![CDATA[{json}]]></a>").into()),
        Body::XmlLatin1 => {
            let text = format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a><![CDATA[{json}]]></a>");
            ("text/xml", text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect())
        }
        Body::Csv => ("text/csv", format!("content\r\n\"{}\"\r\n", json.replace('"', "\"\"")).into()),
        Body::Lines => ("application/x-ndjson", format!("{json}\n{{\"id\":2}}\n").into()),
        Body::Binary => {
            ("application/octet-stream", [&[0x89, 0x00, 0xff, 0xfe, 0x0a][..], json.as_bytes()].concat())
        }
        Body::Empty => ("application/json", Vec::new()),
        Body::Guarded => ("application/json", format!(")]}}'\n{json}").into()),
        Body::NotANumber => ("application/json", format!("{{\"t\":nan,\"all\":{json}}}").into()),
        Body::Marked => ("application/json", [b"\xef\xbb\xbf", json.as_bytes()].concat()),
        Body::Large => ("application/json", format!("[{json},\"{}\"]", "x".repeat(1_100_000)).into()),
    }
}

/// The type that a server gives which has JSON, HTML, XML and CSV, and prefers them in this order.
pub fn negotiated(accept: &str) -> &'static str {
    const HAS: [(&str, &str); 4] = [
        ("application/json", "json"),
        ("text/html", "html"),
        ("application/xml", "xml"),
        ("text/csv", "csv"),
    ];
    let mut best = ("json", -1.0);
    for (media, name) in HAS {
        let mut found: Option<(u8, f64)> = None;
        for part in accept.split(',') {
            let mut pieces = part.split(';').map(str::trim);
            let range = pieces.next().unwrap_or_default();
            let q = pieces.find_map(|p| p.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
            let kind = media.split('/').next().unwrap_or_default();
            let rank = match range {
                range if range == media => 3,
                range if range.strip_suffix("/*") == Some(kind) => 2,
                "*/*" => 1,
                _ => continue,
            };
            if found.is_none_or(|(before, _)| rank > before) {
                found = Some((rank, q));
            }
        }
        if let Some((_, q)) = found.filter(|(_, q)| *q > best.1) {
            best = (name, q);
        }
    }
    best.0
}

/// The token and the bytes that it says are coded; `None` if nothing is said.
pub fn coded(coding: Coding, body: &[u8], accepted: &str) -> Option<(&'static str, Vec<u8>)> {
    let asked = |token: &str| accepted.contains(token);
    match coding {
        Coding::GzipIfAsked if asked("gzip") => Some(("gzip", gzip(body))),
        Coding::Gzip => Some(("gzip", gzip(body))),
        Coding::GzipAndMore(more) if asked("gzip") => Some(("gzip", [&gzip(body)[..], more].concat())),
        Coding::GzipThatLies if asked("gzip") => Some(("gzip", body.to_vec())),
        Coding::BrotliIfAsked if asked("br") => {
            let mut out = brotli::CompressorWriter::new(Vec::new(), 4096, 4, 20);
            out.write_all(body).expect("memory takes all");
            Some(("br", out.into_inner()))
        }
        Coding::ZstdIfAsked if asked("zstd") => {
            Some(("zstd", zstd::encode_all(body, 1).expect("memory takes all")))
        }
        Coding::None(token) => Some((token, body.to_vec())),
        _ => None,
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(body).expect("memory takes all");
    out.finish().expect("memory takes all")
}

/// The body as a client reads it, or that it cannot be read. Names that are no codings are read over.
pub fn decoded(token: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut bytes = body.to_vec();
    for token in token.split(',').rev() {
        let read = match token.trim().to_ascii_lowercase().as_str() {
            _ if bytes.is_empty() => continue,
            "gzip" | "x-gzip" => {
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut out)
            }
            "br" => std::io::Read::read_to_end(&mut brotli::Decompressor::new(&bytes[..], 4096), &mut out),
            "zstd" => zstd::stream::copy_decode(&bytes[..], &mut out).map(|()| 0),
            _ => continue,
        };
        read.map_err(|error| format!("{token}: {error}"))?;
        bytes = std::mem::take(&mut out);
    }
    Ok(bytes)
}
