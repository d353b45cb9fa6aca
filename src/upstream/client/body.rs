//! The body of an answer, read within its bounds and its room, and freed from its codings.
//!
//! Must not know: the request, the head, the connection's next use.

use std::io::ErrorKind;

use bytes::Bytes;
use pingora::protocols::http::client::HttpSession;
use pingora::{Error, ErrorType};

use super::error_text::Cause;
use super::normalized_stream::BAD_CHUNK;
use crate::upstream::decode::{self, Coding};
use crate::upstream::failure::Failure;
use crate::upstream::poll_bodies::{HeldBody, PART_BYTES_MAX};

/// A coded body longer than this is decoded off the caller's thread.
pub(super) const DECODE_INLINE_BYTES_MAX: usize = 16 * 1024;

/// Content is seldom longer than its coded form by more than this factor.
const USUAL_RATIO_MAX: usize = 16;

/// Reads all of the body. Returns it with the room that it takes, unless more than `max` bytes are announced or come.
pub(super) async fn read(
    session: &mut HttpSession,
    announced: Option<u64>,
    max: usize,
    mut held: Option<HeldBody>,
) -> Result<(Vec<u8>, Option<HeldBody>), Failure> {
    let too_large = || Failure::TooLarge { part: "body", limit: max };
    if announced.is_some_and(|length| length > max as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        if let Some(held) = &mut held {
            held.reserve(body.len() + awaited(announced, body.len())).await;
        }
        match session.read_response_body().await {
            Ok(Some(part)) if part.len() > max - body.len() => return Err(too_large()),
            Ok(Some(part)) => body.extend_from_slice(&part),
            Ok(None) => break,
            Err(source) => return Err(failure(source, body.len())),
        }
        if let Some(held) = &mut held {
            held.set(held.bytes().max(body.len()));
        }
    }
    // The unused room of the buffer would be held for as long as the content is.
    body.shrink_to_fit();
    if let Some(held) = &mut held {
        held.set(body.len());
    }
    Ok((body, held))
}

/// Returns for how much of a body there has to be room before it is read. The first part of an answer that does not say
/// its length is charged when it is there: it may be empty, or come much later than its head.
fn awaited(announced: Option<u64>, read: usize) -> usize {
    match announced {
        Some(length) => {
            usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(read).min(PART_BYTES_MAX)
        }
        None if read == 0 => 0,
        None => PART_BYTES_MAX,
    }
}

fn failure(error: Box<Error>, received: usize) -> Failure {
    let is_closed = *error.etype() == ErrorType::ConnectionClosed;
    let is_read_error = *error.etype() == ErrorType::ReadError;
    let source = Cause::of(error);
    // TLS without its closing alert reads as an unexpected end.
    if is_closed || source.io_kind() == Some(ErrorKind::UnexpectedEof) {
        Failure::Truncated { received, source }
    } else if source.to_string() == BAD_CHUNK {
        Failure::Framing { found: source.to_string() }
    } else if is_read_error {
        Failure::Reset { source }
    } else {
        Failure::Framing { found: source.to_string() }
    }
}

/// Returns the content and the room that it takes. It is charged for a usual size first, and for the longest one only
/// if that is not enough.
pub(super) async fn decoded(
    codings: Vec<Coding>,
    body: Vec<u8>,
    max: usize,
    mut held: Option<HeldBody>,
) -> Result<(Bytes, Option<HeldBody>), Failure> {
    if codings.is_empty() || body.is_empty() {
        return Ok((body.into(), held));
    }
    let body = Bytes::from(body);
    let usual = body.len().saturating_mul(USUAL_RATIO_MAX).min(max);
    let mut most = if held.is_some() { usual } else { max };
    loop {
        if let Some(held) = &mut held {
            held.reserve(body.len() + most).await;
        }
        let (coded, codings) = (body.clone(), codings.clone());
        // The charge goes along, as the work goes on even if the poll that waits for it ends.
        let work = move || (decode::decode(&codings, coded, most), held);
        let (content, charged) = match body.len() <= DECODE_INLINE_BYTES_MAX {
            true => work(),
            false => tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
                (Err(Failure::Encoding { coding: "any".to_owned(), source: error.into() }), None)
            }),
        };
        held = charged;
        match content {
            Err(Failure::TooLarge { .. }) if most < max => most = max,
            content => {
                let content = content?;
                if let Some(held) = &mut held {
                    held.set(content.len());
                }
                return Ok((content.into(), held));
            }
        }
    }
}
