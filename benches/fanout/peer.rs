//! One client of the floor: what it is sent, and what its socket has not taken.
//! Must not know: other clients.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::http2::{self, Said};
use crate::link::Link;
use crate::wire::{Stamp, Wire, resource_of, tag};

/// One state as its bytes, encoded once for all clients.
pub struct Delivery {
    tag: String,
    bytes: Vec<u8>,
}

impl Delivery {
    pub fn new(wire: Wire, n: u64, size: usize) -> Arc<Self> {
        Arc::new(Self { tag: tag(n), bytes: wire.delivery(Stamp::new(n), size) })
    }
}

pub struct Peer {
    pub link: Link,
    /// What it follows, once its request came.
    pub resource: Option<u32>,
    /// It is sent what is published. A long-poll is so until it is answered.
    waiting: bool,
    /// What the socket did not take.
    rest: Vec<u8>,
    /// HTTP/2 only; boxed: the others are measured too.
    streams: Option<Box<Streams>>,
}

#[derive(Default)]
struct Streams {
    /// Of a frame that is not complete yet.
    pending: Vec<u8>,
    preface_seen: bool,
    ids: Vec<u32>,
}

impl Peer {
    pub fn new(link: Link, wire: Wire) -> Self {
        let streams = (wire == Wire::Http2).then(Box::default);
        Self { link, resource: None, waiting: false, rest: Vec::new(), streams }
    }

    /// Sends a new state to every client that waits for one.
    pub fn deliver(&mut self, wire: Wire, delivery: &Delivery) -> io::Result<()> {
        if !self.waiting {
            return Ok(());
        }
        self.waiting = wire != Wire::LongPoll;
        let Some(streams) = &self.streams else { return self.write(&delivery.bytes) };
        let mut bytes = Vec::with_capacity(streams.ids.len() * (delivery.bytes.len() + 9));
        for id in &streams.ids {
            http2::put_data(&mut bytes, *id, &delivery.bytes);
        }
        self.write(&bytes)
    }

    /// Writes as much as the socket takes and keeps the rest.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = match self.rest.is_empty() {
            true => write_some(&mut self.link, bytes)?,
            false => 0,
        };
        self.rest.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    pub fn write_rest(&mut self) -> io::Result<()> {
        self.link.flush()?;
        if !self.rest.is_empty() {
            let taken = write_some(&mut self.link, &self.rest)?;
            self.rest.drain(..taken);
        }
        Ok(())
    }

    /// A request head. The bench's own clients write it in one piece, so it is read in one.
    /// `current`: the state of a resource.
    pub fn hear(
        &mut self,
        wire: Wire,
        bytes: &[u8],
        current: impl Fn(usize) -> Option<Arc<Delivery>>,
    ) -> io::Result<()> {
        if wire == Wire::Http2 {
            return self.hear_frames(bytes, current);
        }
        if self.waiting {
            // A pong, or anything else after the request.
            return Ok(());
        }
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        let resource = text.split(' ').nth(1).and_then(resource_of);
        let (Some(resource), Some(state)) = (resource, resource.and_then(&current)) else {
            return Err(ErrorKind::InvalidData.into());
        };
        self.resource = Some(resource as u32);
        if wire == Wire::LongPoll {
            self.waiting = text.contains(&state.tag);
            return if self.waiting { Ok(()) } else { self.write(&state.bytes) };
        }
        self.waiting = true;
        self.write(wire.greeting().as_bytes())?;
        // A client that comes again has the state.
        if text.contains("Last-Event-ID") { Ok(()) } else { self.write(&state.bytes) }
    }

    fn hear_frames(
        &mut self,
        bytes: &[u8],
        current: impl Fn(usize) -> Option<Arc<Delivery>>,
    ) -> io::Result<()> {
        let Some(mut streams) = self.streams.take() else { return Ok(()) };
        streams.pending.extend_from_slice(bytes);
        let mut answer = Vec::new();
        let mut pending = &streams.pending[..];
        if !streams.preface_seen {
            let Some(rest) = http2::after_preface(pending) else {
                self.streams = Some(streams);
                return Ok(());
            };
            (streams.preface_seen, pending) = (true, rest);
            answer.extend(http2::server_opening());
        }
        while let Some((length, said)) = http2::frame(pending).map_err(io::Error::other)? {
            match said {
                Said::Asks(bytes) => answer.extend(bytes),
                Said::Fields(id, fields) => {
                    let resource = http2::path_of(fields).and_then(resource_of);
                    let (Some(resource), Some(state)) = (resource, resource.and_then(&current)) else {
                        return Err(ErrorKind::InvalidData.into());
                    };
                    (self.resource, self.waiting) = (Some(resource as u32), true);
                    streams.ids.push(id);
                    answer.extend(http2::answer(id));
                    http2::put_data(&mut answer, id, Wire::Http2.greeting().as_bytes());
                    http2::put_data(&mut answer, id, &state.bytes);
                }
                Said::Data(..) | Said::Nothing => {}
            }
            pending = &pending[length..];
        }
        streams.pending = pending.to_vec();
        self.streams = Some(streams);
        self.write(&answer)
    }
}

fn write_some(link: &mut Link, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match link.write(&bytes[taken..]) {
            Ok(0) => break,
            Ok(length) => taken += length,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(taken)
}
