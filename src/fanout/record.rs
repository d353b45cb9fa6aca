//! The figures of a push client, and its line of the access log when it ends.
//!
//! Must not know: which lines are wanted.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::access_log::{Ended, Line};
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
        let line = Line {
            ended: Ended::Request { status: answered.status.as_u16(), broken: false },
            transport: answered.label,
            method: "GET",
            path: &topic.key().parts().path,
            peer: self.peer,
            route: &topic.route().path,
            duration: Duration::ZERO,
            bytes: answered.output.second.len() as u64,
            events: 0,
            reason: "done",
        };
        line.write();
    }

    /// Writes the line of a stream. The path is the resource's own, without the query: keys of APIs live there.
    pub fn write(&self, transport: &'static str, topic: Option<&Topic>, reason: &str) {
        let route = topic.map(|topic| topic.route().clone());
        let line = Line {
            ended: Ended::Stream,
            transport,
            method: "",
            path: topic.map(|topic| topic.key().parts().path.as_str()).unwrap_or_default(),
            peer: self.peer,
            route: route.as_ref().map(|route| route.path.as_str()).unwrap_or_default(),
            duration: Instant::from(self.since).elapsed(),
            bytes: self.bytes,
            events: self.events,
            reason,
        };
        line.write();
    }
}
