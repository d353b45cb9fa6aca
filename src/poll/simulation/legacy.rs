//! A scripted upstream: answers by a script, keeps a record of every poll.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::poll::Source;
use crate::upstream::{Answer, Ask, Failure, FetchError};

/// What the upstream does with one poll.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reply {
    /// 200 with this text; 304 if the poll names its tag.
    Content(&'static str),
    Status(u16),
    With(u16, &'static str, &'static str),
    Timeout,
    Broken,
    TooLarge,
    Panic,
}

/// One poll as the upstream saw it.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) path: String,
    pub(super) started: Instant,
    pub(super) ended: Option<Instant>,
    pub(super) reply: Reply,
    /// It carried a validator.
    pub(super) conditional: bool,
}

impl Record {
    /// Whether the content is known after it.
    pub(super) fn is_data(&self) -> bool {
        matches!(self.reply, Reply::Content(_)) || self.conditional && self.reply == Reply::Status(304)
    }

    /// Whether the exchange or the upstream failed, so that there is nothing to relay.
    pub(super) fn is_failure(&self) -> bool {
        match self.reply {
            Reply::Timeout | Reply::Broken | Reply::Status(500..) => true,
            Reply::Status(304) => !self.conditional,
            _ => false,
        }
    }

    pub(super) fn is_relayed(&self) -> bool {
        matches!(self.reply, Reply::Status(_) | Reply::With(..)) && !self.is_data() && !self.is_failure()
    }
}

type Script = Box<dyn FnMut(&Ask) -> (Duration, Reply) + Send>;

/// The upstream.
pub(super) struct Legacy {
    script: Mutex<Script>,
    records: Mutex<Vec<Record>>,
    overlaps: Mutex<Vec<String>>,
}

/// Each content's text in a header, and the number of the poll that brought it.
pub(super) const POLL: HeaderName = HeaderName::from_static("x-poll");

impl Legacy {
    pub(super) fn new(script: impl FnMut(&Ask) -> (Duration, Reply) + Send + 'static) -> Arc<Legacy> {
        Arc::new(Legacy {
            script: Mutex::new(Box::new(script)),
            records: Mutex::default(),
            overlaps: Mutex::default(),
        })
    }

    /// These replies one after the other, then the last one for good.
    pub(super) fn replying(replies: &[Reply]) -> Arc<Legacy> {
        let mut replies: Vec<Reply> = replies.iter().rev().copied().collect();
        Legacy::new(move |_| {
            let reply = if replies.len() > 1 { replies.pop() } else { replies.last().copied() };
            (Duration::from_millis(10), reply.expect("a script has replies"))
        })
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.records.lock().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.records.lock().len()
    }

    /// Polls of one path that were in flight together.
    pub(super) fn overlaps(&self) -> Vec<String> {
        self.overlaps.lock().clone()
    }

    fn begin(&self, ask: &Ask) -> (usize, Duration, Reply) {
        let (latency, reply) = (self.script.lock())(ask);
        let mut records = self.records.lock();
        let path = ask.path_and_query.clone();
        let last = records.iter().rev().find(|r| r.path == path);
        if last.is_some_and(|r| r.ended.is_none()) {
            self.overlaps.lock().push(format!("{path} at poll {}", records.len()));
        }
        records.push(Record {
            path,
            started: Instant::now(),
            ended: None,
            reply,
            conditional: ask.headers.iter().any(|(n, _)| n == header::IF_NONE_MATCH),
        });
        (records.len() - 1, latency, reply)
    }
}

#[async_trait]
impl Source for Legacy {
    async fn fetch(&self, ask: &Ask) -> Result<Answer, FetchError> {
        let (number, latency, reply) = self.begin(ask);
        sleep(latency).await;
        self.records.lock()[number].ended = Some(Instant::now());
        let failed = |failure| Err(FetchError { upstream: "legacy".into(), server: None, failure });
        match reply {
            Reply::Content(text) => Ok(content(ask, number, text)),
            Reply::Status(status) => Ok(answer(status, HeaderMap::new(), "no")),
            Reply::With(status, name, value) => {
                let field = (HeaderName::from_static(name), HeaderValue::from_static(value));
                Ok(answer(status, HeaderMap::from_iter([field]), "no"))
            }
            Reply::Timeout => failed(Failure::TotalTimeout { limit: latency }),
            Reply::Broken => failed(Failure::Reset { source: "broken".into() }),
            Reply::TooLarge => failed(Failure::TooLarge { part: "body", limit: 1 }),
            Reply::Panic => panic!("scripted"),
        }
    }
}

fn content(ask: &Ask, number: usize, text: &'static str) -> Answer {
    let tag = format!("\"{text}\"");
    let named = |(name, value): &(HeaderName, HeaderValue)| name == header::IF_NONE_MATCH && *value == *tag;
    if ask.headers.iter().any(named) {
        return answer(304, HeaderMap::new(), "");
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(POLL, HeaderValue::from(number));
    // One of the texts has no validator.
    if text != "C" {
        headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("a plain text"));
    }
    answer(200, headers, text)
}

fn answer(status: u16, headers: HeaderMap, body: &'static str) -> Answer {
    Answer {
        phrase: None,
        status: StatusCode::from_u16(status).expect("a status"),
        headers,
        body: Bytes::from_static(body.as_bytes()),
        close_delimited: false,
        head_bytes: 100,
        body_bytes: body.len(),
        elapsed: Duration::ZERO,
        held: None,
    }
}
