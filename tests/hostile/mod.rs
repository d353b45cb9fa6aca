//! Contract §11, §12: what hostile clients and upstreams try, and how each try is answered. The tools and the
//! tables about the framing of requests stand here; one file holds each other topic.
//!
//! Every table prints how many cases it tried and how they were answered (`--nocapture`).

pub mod amplification;
pub mod framing;
pub mod hosts;
pub mod http2;
pub mod injection;
pub mod origins;
pub mod paths;
pub mod secrets;
pub mod sharing;
pub mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pollcast::app::App;

use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};

/// `/open/{name}` is open to all, `/guarded/{name}` authenticates, the rest passes through.
pub fn yaml(legacy: &Legacy, listener: &str, top: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'{listener}}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         defaults: {{poll: {{interval: 1h, backoff: {{min: 100ms, max: 300ms}}}}, link: true}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         routes:\n  \
         - {{path: '/open/{{name}}', upstream: legacy, share: public}}\n  \
         - {{path: '/guarded/{{name}}', upstream: legacy, \
         authenticate: {{keys: {{header: x-key, clients: {{ann: hunter2hunter2hunter2}}}}}}}}\n\
         {top}\n",
        legacy.address()
    )
}

/// pollcast in front of an upstream that records every request byte for byte, and says `ok` to all.
pub struct Range {
    pub legacy: Legacy,
    pub app: App,
}

impl Range {
    pub fn open() -> Range {
        Range::with("", "")
    }

    pub fn with(listener: &str, top: &str) -> Range {
        let legacy = Legacy::start();
        legacy.set("*", Reply::json("\"ok\""));
        legacy.set("/after", Reply::text("after"));
        let app = app::start(&yaml(&legacy, listener, top));
        Range { legacy, app }
    }

    pub fn address(&self) -> SocketAddr {
        self.app.addresses()[0]
    }
}

/// What is to become of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    /// This status, the end of the connection, and nothing upstream.
    Refused(u16),
    /// This status; nothing upstream, and the next request of the connection is the next one.
    Answered(u16),
    /// One request upstream with this target; the connection lives on and is in step.
    Seen(&'a str),
    /// The same, and the connection ends with the answer.
    SeenLast(&'a str),
    /// No answer is promised, but the connection ends and nothing whole went upstream.
    Dropped,
}

/// How many cases of a group were answered in which way.
#[derive(Default)]
pub struct Tally {
    answers: BTreeMap<String, usize>,
    faults: Vec<String>,
}

impl Tally {
    pub fn count(&mut self, fate: Fate<'_>) {
        let words = match fate {
            Fate::Refused(status) => format!("{status} and a close"),
            Fate::Answered(status) => format!("{status}"),
            Fate::Seen(_) | Fate::SeenLast(_) => "one request upstream, as expected".to_owned(),
            Fate::Dropped => "the connection ended".to_owned(),
        };
        *self.answers.entry(words).or_default() += 1;
    }

    pub fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Prints the group, and fails the test if a case was not answered as it should.
    pub fn close(self, group: &str) {
        let cases: usize = self.answers.values().sum();
        let answers: Vec<String> = self.answers.iter().map(|(words, n)| format!("{n} × {words}")).collect();
        println!("hostile cases, {group}: {cases}: {}", answers.join(", "));
        assert!(self.faults.is_empty(), "{group}:\n{}", self.faults.join("\n"));
    }
}

/// Sends a case on a connection of its own and compares what became of it.
pub async fn attempt(range: &Range, case: &[u8], fate: Fate<'_>) -> Result<(), String> {
    let legacy = &range.legacy;
    legacy.forget();
    let malformed = legacy.malformed();
    let mut http = Http::connect(range.address()).await;
    // The peer may refuse before all is sent.
    let _ = http.wire.write(case).await;
    let status = answer_of(&mut http).await?;
    let wanted = match fate {
        Fate::Refused(status) | Fate::Answered(status) => Some(status),
        Fate::Seen(_) | Fate::SeenLast(_) => Some(200),
        Fate::Dropped => None,
    };
    if wanted.is_some() && wanted != status {
        return Err(format!("answered {status:?}"));
    }
    match fate {
        Fate::Refused(_) | Fate::SeenLast(_) | Fate::Dropped => {
            if let Some(more) = answer_of(&mut http).await? {
                return Err(format!("answered {status:?}, and then again: {more}"));
            }
        }
        Fate::Answered(_) | Fate::Seen(_) => {
            let _ = http.wire.write(b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n").await;
            match answer_of(&mut http).await? {
                Some(200) => {}
                other => return Err(format!("the next request of the connection got {other:?}")),
            }
        }
    }
    let seen = legacy.all_seen();
    let targets: Vec<&str> = seen.iter().map(|seen| seen.target.as_str()).collect();
    let expected: &[&str] = match &fate {
        Fate::Seen(target) => &[*target, "/after"],
        Fate::SeenLast(target) => &[*target],
        Fate::Answered(_) => &["/after"],
        Fate::Refused(_) | Fate::Dropped => &[],
    };
    if targets != expected {
        return Err(format!("the upstream saw {targets:?}, not {expected:?}"));
    }
    if legacy.malformed() > malformed {
        return Err("the upstream saw what is no request".to_owned());
    }
    seen.iter().try_for_each(|seen| clean(&seen.head))
}

/// What no head that goes upstream may have, whatever came in.
pub fn clean(head: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let count = |name: &str| text.matches(&format!("\r\n{name}:")).count();
    let framings = count("content-length") + count("transfer-encoding");
    let whole = text.replace("\r\n", "");
    let broken = whole.contains(['\r', '\n', '\0']) || text.contains("\r\n ") || text.contains("\r\n\t");
    if framings > 1 || count("host") != 1 || broken {
        return Err(format!("the upstream saw this head: {text:?}"));
    }
    Ok(())
}

/// The status of the next answer, its body read. Returns `None` if the connection ended instead.
async fn answer_of(http: &mut Http) -> Result<Option<u16>, String> {
    let reading = async {
        loop {
            let head = match http.wire.head().await {
                Ok(Some(head)) => head,
                // What was sent after the refusal may reset the connection.
                Ok(None) | Err(_) => return Ok(None),
            };
            let (status, _, _, fields) =
                crate::support::wire::parse_response(&head).map_err(|e| e.to_string())?;
            if (100..200).contains(&status) {
                continue;
            }
            let length = crate::support::wire::field(&fields, "content-length").and_then(|v| v.parse().ok());
            if crate::support::wire::names_token(&fields, "transfer-encoding", "chunked") {
                while http.wire.chunk().await.map_err(|e| e.to_string())?.is_some() {}
            } else if !matches!(status, 204 | 304) {
                http.wire.exactly(length.unwrap_or(0)).await.map_err(|e| e.to_string())?;
            }
            return Ok(Some(status));
        }
    };
    match tokio::time::timeout(std::time::Duration::from_secs(5), reading).await {
        Ok(answer) => answer,
        Err(_) => Err("neither an answer nor the end within 5 s".to_owned()),
    }
}

/// Tries every case of a table.
pub async fn attempt_all(range: &Range, group: &str, cases: &[(String, Fate<'_>)]) {
    let mut tally = Tally::default();
    for (case, fate) in cases {
        tally.count(*fate);
        if let Err(fault) = attempt(range, &latin1(case), *fate).await {
            let shown: String = case.chars().take(200).collect();
            tally.fault(format!("{shown:?}: {fault}, wanted {fate:?}"));
        }
    }
    tally.close(group);
}

/// One byte a char, so that a table can hold any byte.
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a char up to U+00FF")).collect()
}

/// A request that must never be served.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_request_that_says_its_length_in_two_ways_is_refused() {
    let range = Range::open();
    let mut cases = Vec::new();
    for fields in [
        // CL.TE and TE.CL, and both with disguises that one of two servers might not see through.
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Content-Length: 6\r\ntransfer-encoding: CHUNKED",
        "Content-Length: 6\r\nTransfer-Encoding:\tchunked",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\t",
        "Content-Length: 6\r\nTransfer-Encoding:chunked",
        "Content-Length: 6\r\nTransfer-Encoding: xchunked",
        "Content-Length: 6\r\nTransfer-Encoding: chunke",
        "Content-Length: 6\r\nTransfer-Encoding: \"chunked\"",
        "Content-Length: 6\r\nTransfer-Encoding: chunked;q=1",
        "Content-Length: 6\r\nTransfer-Encoding: , chunked",
        "Content-Length: 6\r\nTransfer-Encoding:",
        "Content-Length: 6\r\nTransfer-Encoding : chunked",
        "Content-Length: 6\r\nTransfer_Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Content-Length: 6\r\nX: y\r\n Transfer-Encoding: chunked",
        "Content-Length: 6\r\nX: y\r\n\tTransfer-Encoding: chunked",
        "Content-Length: 6\r\nX: y\nTransfer-Encoding: chunked",
        "Content-Length: 6\r\nX: y\rTransfer-Encoding: chunked",
        "Content-Length: 6\r\nTransfer-Encoding\r\n: chunked",
        "Content-Length: 6\r\nTransfer-Encoding\0: chunked",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\0",
        "Content-Length: 6\r\nTransfer-Encoding:\x0bchunked",
        "Content-Length: 6\r\nTransfer-Encoding:\x0cchunked",
        "Content-Length: 6\r\nTransfer-Encoding:\u{a0}chunked",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\u{85}",
        "Content-Length: 6\r\nTransfer-Encoding: ch\u{fc}nked",
        // TE.TE
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        // Lengths
        "Content-Length: 6\r\nContent-Length: 6",
        "Content-Length: 6\r\nContent-Length: 0",
        "Content-Length: 0\r\nContent-length: 44",
        "Content-Length: 6, 6",
        "Content-Length: 6,",
        "Content-Length: +6",
        "Content-Length: -6",
        "Content-Length: -0",
        "Content-Length: 0x6",
        "Content-Length: 6.0",
        "Content-Length: 6e0",
        "Content-Length: 6 6",
        "Content-Length: 6;",
        "Content-Length: '6'",
        "Content-Length: \u{b2}",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551622",
        "Content-Length: 99999999999999999999999999999999",
        "Content-Length : 6",
        "Content-Length\t: 6",
        " Content-Length: 6",
        "Content-Length: 6\r\n 0",
        "Content Length: 6",
        // Not fields at all
        "X",
        ": x",
        "X\u{7f}: y",
        "X(: y",
        "X\u{e9}: y",
        "X: a\0b",
        "Host: b",
        "host: a",
        "HOST : b",
    ] {
        for (method, target) in [("POST", "/x"), ("GET", "/open/a"), ("GET", "/guarded/a")] {
            let case =
                format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n{SMUGGLED}");
            cases.push((case, Fate::Refused(400)));
        }
    }
    attempt_all(&range, "a length in two ways, or none that is one", &cases).await;
}
