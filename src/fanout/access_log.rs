//! The access-log line of a push client, written when it ends.
//!
//! Must not know: where log lines go.

use std::net::IpAddr;
use std::time::Instant;

use crate::hub::Topic;
use crate::transport::{Answered, Moment};

/// The figures of a client for its one line.
#[derive(Debug)]
pub struct Record {
    /// The address of the client, if it is known.
    pub peer: Option<IpAddr>,
    /// When the request came.
    pub since: Moment,
    /// Bytes written to the client.
    pub bytes: u64,
    /// Events, messages or answers written to the client.
    pub events: u32,
}

impl Record {
    /// A record that begins now.
    pub fn new(peer: Option<IpAddr>) -> Record {
        Record { peer, since: Instant::now().into(), bytes: 0, events: 0 }
    }

    /// The next request of the same connection.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.since, self.bytes, self.events) = (now.into(), 0, 0);
    }

    /// Writes the line of an ordinary poll, as the front does.
    pub(super) fn write_answer(&self, answered: &Answered, topic: &Topic) {
        tracing::info!(
            target: "access",
            transport = answered.label,
            method = "GET",
            path = topic.key().parts().path,
            peer = self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            route = topic.route().path,
            status = answered.status.as_u16(),
            duration_ms = 0,
            bytes = answered.output.second.len() as u64,
            events = 0,
            reason = "done",
            "request ended"
        );
    }

    /// Writes the line. The path is the resource's own, without the query: keys of APIs live there.
    pub fn write(&self, transport: &'static str, topic: Option<&Topic>, reason: &str) {
        let peer = self.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let route = topic.map(|topic| topic.route().path.as_str()).unwrap_or_default();
        let path = topic.map(|topic| topic.key().parts().path.as_str()).unwrap_or_default();
        tracing::info!(
            target: "access",
            transport,
            peer,
            route,
            path,
            duration_ms = Instant::from(self.since).elapsed().as_millis() as u64,
            bytes = self.bytes,
            events = self.events,
            reason,
            "stream ended"
        );
    }
}
