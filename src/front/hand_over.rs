//! The way out of Pingora: a connection is taken over and handed to its shard, a stream of HTTP/2 to its connection's task.
//!
//! Must not know: what is written to a client.

use std::os::fd::AsRawFd;

use http::{HeaderMap, StatusCode};
use pingora::Result;
use pingora::proxy::Session;

use super::access::client_limit::staying;
use super::application::Front;
use super::context::Context;
use super::decision::{Boarding, Departure};
use super::{respond, spans};
use crate::fanout::{Arrival, Http2Arrival, Http2Stream, Record, Taken, bound_kernel_buffers};
use crate::listener::{descriptors, http2, takeover};
use crate::transport::Transport;

/// Takes a connection out of Pingora and hands it to its shard.
pub(super) async fn depart(
    front: &Front,
    session: &mut Session,
    ctx: &mut Context,
    departure: Departure,
) -> Result<()> {
    let Departure { shard, greeting, transport, following, permit, messages, answered } = departure;
    let shared = front.shared.clone();
    if answered.is_none() {
        spans::follows(&session.req_header().headers, ctx, transport.name());
    }
    match answered {
        // This request is an answer like others; the connection has no line of its own.
        Some(status) => ctx.status = Some(status),
        None => ctx.answer = transport.name(),
    }
    let Some((stream, read)) = takeover::take(session).await? else {
        return Ok(());
    };
    ctx.taken = answered.is_none();
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
            return Ok(());
        }
    };
    // The number is one of its own by now, and a higher one.
    if let Taken::Socket(socket, _) = &taken
        && !shared.descriptors.admit(socket.as_raw_fd())
    {
        descriptors::count_refused(&shared.metrics);
        return Ok(());
    }
    if let Err(error) = bound_kernel_buffers(&taken, limits.send_buffer, limits.stall_timeout) {
        tracing::debug!("the kernel's buffers of a stream could not be bounded: {error}");
    }
    let record = Record::new(ctx.client);
    let arrival = Arrival { taken, read, greeting, transport, following, record, permit, messages };
    shared.fanout.add(shard, arrival);
    Ok(())
}

/// Takes a stream of HTTP/2 out of its request's task: it lives on in the task of its connection.
pub(super) async fn board(
    front: &Front,
    session: &mut Session,
    ctx: &mut Context,
    boarding: Boarding,
) -> Result<()> {
    let Boarding { headers, opening, transport, following, permit } = boarding;
    let shared = front.shared.clone();
    spans::follows(&session.req_header().headers, ctx, transport.name());
    let fields = match transport {
        // Its head says what it was held for.
        Transport::LongPoll(_) => headers,
        _ => {
            let head = respond::head(StatusCode::OK, &headers)?;
            session.write_response_header(Box::new(head), false).await?;
            HeaderMap::new()
        }
    };
    ctx.taken = true;
    ctx.answer = transport.name();
    let record = Record::new(ctx.client);
    let ending = shared.ending.clone();
    let stall_timeout = shared.config.limits.stall_timeout;
    let stay = staying(&shared, &permit);
    http2::board(session, |session| {
        let arrival = Http2Arrival {
            session,
            fields,
            opening,
            transport,
            following,
            record,
            permit,
            stall_timeout,
            ending,
            stay,
        };
        Http2Stream::new(arrival, &shared.metrics)
    })
    .await
}
