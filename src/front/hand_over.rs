//! The way out of Pingora: a connection is taken over and handed to its shard.
//!
//! Must not know: what is written to a client.

use std::os::fd::AsRawFd;

use bytes::Bytes;
use pingora::Result;
use pingora::proxy::Session;

use super::application::Front;
use super::context::Context;
use super::decision::Fate;
use crate::fanout::{Arrival, Following, Messages, Record, Seat, Taken, bound_kernel_buffers};
use crate::listener::{descriptors, takeover};
use crate::transport::Transport;

/// A connection that is about to leave Pingora, and what it becomes.
pub(in crate::front) struct Departure {
    pub(in crate::front) shard: u16,
    pub(in crate::front) greeting: Bytes,
    pub(in crate::front) transport: Transport,
    pub(in crate::front) following: Following,
    pub(in crate::front) seat: Option<Seat>,
    pub(in crate::front) messages: Option<Messages>,
}

/// Takes a connection out of Pingora and hands it to its shard.
pub(in crate::front) async fn depart(
    front: &Front,
    session: &mut Session,
    ctx: &mut Context,
    departure: Departure,
) -> Result<Fate> {
    let Departure { shard, greeting, transport, following, seat, messages } = departure;
    let shared = front.shared.clone();
    ctx.answer = transport.name();
    let Some((stream, read)) = takeover::take(session).await? else {
        return Ok(Fate::Answered);
    };
    ctx.taken = true;
    let limits = &shared.config.limits;
    let plain = front.listener.is_bare();
    let home = match &transport {
        Transport::LongPoll(_) | Transport::Plain(_) => front.home.get().cloned(),
        _ => None,
    };
    let taken = if plain { Taken::socket(stream, home) } else { Ok(Taken::Stream(stream, home)) };
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            tracing::warn!("a connection could not be taken over: {error}");
            return Ok(Fate::Answered);
        }
    };
    // The number is one of its own by now, and a higher one.
    if let Taken::Socket(socket, _) = &taken
        && !shared.descriptors.admit(socket.as_raw_fd())
    {
        descriptors::count_refused(&shared.metrics);
        return Ok(Fate::Answered);
    }
    if let Err(error) = bound_kernel_buffers(&taken, limits.send_buffer, limits.stall_timeout) {
        tracing::debug!("the kernel's buffers of a stream could not be bounded: {error}");
    }
    let record = Record::new(ctx.client);
    let arrival = Arrival { taken, read, greeting, transport, following, record, seat, messages };
    shared.fanout.add(shard, arrival);
    Ok(Fate::Answered)
}
