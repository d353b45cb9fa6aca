//! Where one HTTP/2 stream is written: to the library's own handle of the stream, without what its request needed.
//!
//! One output at a time: the next one waits until the client's windows have taken this one, so that no queue grows.
//! Must not know: what is written.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::v2::server::HttpSession;

use crate::transport::{Answer, Output};

/// The stream is not there any longer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// One stream as far as it is written to.
pub(super) struct Writer {
    way: Way,
    output: Output,
    /// The stream ends with the output.
    is_last: bool,
    /// When the client has taken nothing of the output for too long.
    stalls_at: Option<Instant>,
    stall_timeout: Duration,
}

/// The head of the answer is written, or waits for what is answered.
enum Way {
    Open(SendStream<Bytes>),
    Held(Box<Held>),
}

struct Held {
    session: HttpSession,
    /// Fields of the answer that are this client's alone.
    fields: HeaderMap,
}

impl Writer {
    /// A stream whose head is written. Returns `None` if it is not.
    pub(super) fn open(mut session: HttpSession, stall_timeout: Duration) -> Option<Writer> {
        let stream = session.take_response_body_writer()?;
        Some(Writer::new(Way::Open(stream), stall_timeout))
    }

    /// A stream whose answer is to come. `fields` are added to it.
    pub(super) fn held(session: HttpSession, fields: HeaderMap, stall_timeout: Duration) -> Writer {
        Writer::new(Way::Held(Box::new(Held { session, fields })), stall_timeout)
    }

    fn new(way: Way, stall_timeout: Duration) -> Writer {
        Writer { way, output: Output::default(), is_last: false, stalls_at: None, stall_timeout }
    }

    /// Whether the client, or its connection, has given the stream up. If not, the task is woken when that happens.
    pub(super) fn is_gone(&mut self, context: &mut Context<'_>) -> bool {
        match &mut self.way {
            Way::Open(stream) => stream.poll_reset(context).is_ready(),
            Way::Held(held) => Pin::new(&mut held.session.idle()).poll(context).is_ready(),
        }
    }

    /// Whether an output is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.stalls_at.is_some()
    }

    /// When the stream ends unless the client takes something.
    pub(super) fn stalls_at(&self) -> Option<Instant> {
        self.stalls_at
    }

    /// Takes an output, after the one before is written.
    pub(super) fn begin(&mut self, output: Output, is_last: bool, now: Instant) {
        (self.output, self.is_last, self.stalls_at) = (output, is_last, Some(now + self.stall_timeout));
    }

    /// Writes the head of an answer, and takes its body as the last output.
    ///
    /// # Errors
    /// The stream is gone, or its answer has begun before.
    pub(super) fn answer(&mut self, answer: Answer, now: Instant) -> Result<(), Gone> {
        let Way::Held(held) = &mut self.way else { return Err(Gone) };
        let Answer { status, mut headers, body, .. } = answer;
        for (name, value) in &held.fields {
            // As pollcast's other answers do it.
            match *name == header::VARY {
                true => drop(headers.append(name.clone(), value.clone())),
                false => drop(headers.insert(name.clone(), value.clone())),
            }
        }
        let has_body = status != StatusCode::NOT_MODIFIED && !body.is_empty();
        let head = head(status, &headers).map_err(|_| Gone)?;
        held.session.write_response_header(Box::new(head), !has_body).map_err(|_| Gone)?;
        self.way = Way::Open(held.session.take_response_body_writer().ok_or(Gone)?);
        if has_body {
            self.begin(Output::one(body), true, now);
        }
        Ok(())
    }

    /// Writes as much as the client's windows take. Pending as long as something of the output is left.
    pub(super) fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let Way::Open(stream) = &mut self.way else { return Poll::Ready(Err(Gone)) };
        while self.stalls_at.is_some() {
            let Output { first, second } = &mut self.output;
            if first.is_empty() {
                std::mem::swap(first, second);
            }
            if first.is_empty() && !self.is_last {
                self.stalls_at = None;
                break;
            }
            let mut room = first.len();
            if room > 0 {
                stream.reserve_capacity(room);
                room = room.min(stream.capacity());
            }
            if room == 0 && !first.is_empty() {
                match stream.poll_capacity(context) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(_) => return Poll::Ready(Err(Gone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let piece = first.split_to(room);
            let ends = self.is_last && first.is_empty() && second.is_empty();
            stream.send_data(piece, ends).map_err(|_| Gone)?;
            if ends {
                self.stalls_at = None;
            }
        }
        self.output = Output::default();
        Poll::Ready(Ok(()))
    }
}

/// A head with these fields.
fn head(status: StatusCode, headers: &HeaderMap) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(headers.len() + 1))?;
    for (name, value) in headers {
        head.append_header(name.clone(), value.clone())?;
    }
    Ok(head)
}
