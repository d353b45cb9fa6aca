//! The rows of the fan-out's table: what each measures, and what it is to reach.
//! Must not know: how anything is measured.

use std::time::Duration;

use serde::Serialize;

use crate::wire::Wire;

/// A kind of client, and what it follows.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub wire: Wire,
    /// Bytes of one body.
    pub size: usize,
    /// Clients on one connection.
    pub streams: usize,
    /// Resources that the clients share, in turns.
    pub resources: usize,
    /// Measured for every number of clients, not only for the first.
    pub is_scaled: bool,
    /// Never measured with more clients than this.
    pub clients_max: Option<usize>,
    /// Looks at when the last client gets a change: more changes, one round.
    pub is_of_last: bool,
    /// Bytes of an idle client; CPU a delivery as a multiple of the floor's.
    pub most_bytes: Option<f64>,
    pub most_ratio: Option<f64>,
}

const SMALL: usize = 200;
const LARGE: usize = 4096;

/// Clients of events that are longer still: more of them than this would keep the loopback busy, and nothing else.
const CLIENTS_OF_LONG_EVENTS_MAX: usize = 1_000;

const SSE: Row = Row {
    name: "sse",
    wire: Wire::Sse,
    size: SMALL,
    streams: 1,
    resources: 1,
    is_scaled: true,
    clients_max: None,
    is_of_last: false,
    most_bytes: Some(400.0),
    most_ratio: Some(1.1),
};
const WEBSOCKET: Row = Row { name: "websocket", wire: Wire::Websocket, ..SSE };
const ONCE: Row = Row { is_scaled: false, ..SSE };
const LONG: Row =
    Row { clients_max: Some(CLIENTS_OF_LONG_EVENTS_MAX), most_bytes: None, most_ratio: Some(1.15), ..ONCE };

/// All of them, in the order of the table.
pub const ROWS: [Row; 13] = [
    SSE,
    WEBSOCKET,
    Row { name: "sse-4k", size: LARGE, ..SSE },
    Row { name: "websocket-4k", size: LARGE, ..WEBSOCKET },
    Row { name: "long-poll", wire: Wire::LongPoll, most_bytes: Some(1800.0), most_ratio: None, ..ONCE },
    Row { name: "tls", wire: Wire::SseTls, most_bytes: Some(14_000.0), most_ratio: None, ..ONCE },
    Row { name: "h2", wire: Wire::Http2, most_bytes: Some(25_000.0), most_ratio: Some(1.6), ..ONCE },
    Row {
        name: "h2-6",
        wire: Wire::Http2,
        streams: 6,
        most_bytes: Some(8_000.0),
        most_ratio: Some(2.0),
        ..ONCE
    },
    Row {
        name: "h2-10",
        wire: Wire::Http2,
        streams: 10,
        most_bytes: Some(6_000.0),
        most_ratio: Some(3.0),
        ..ONCE
    },
    Row { name: "sse-64k", size: 64 << 10, ..LONG },
    Row { name: "sse-1m", size: 1_000_000, ..LONG },
    Row { name: "resources", resources: 1_000, most_bytes: None, most_ratio: Some(1.5), ..ONCE },
    Row { name: "last", is_of_last: true, most_bytes: None, most_ratio: None, ..ONCE },
];

/// p99 of the last client's delivery, as a multiple of the floor's.
pub const MOST_LAST_RATIO: f64 = 1.2;

/// Percent of a core that idle clients may cost.
pub const MOST_IDLE_PERCENT: f64 = 1.0;

/// Milliseconds from the start of the process to its first answer, with 1,000 routes.
pub const MOST_START_MS: f64 = 50.0;

/// What is measured in ways of its own.
pub const OTHERS: [&str; 9] =
    ["storm", "churn", "churn-tls", "idle", "polls", "gone", "stalled", "scale", "start"];

impl Row {
    /// How often pollcast polls each resource.
    pub fn interval(&self) -> Duration {
        match (self.resources, self.is_of_last) {
            (1, true) => Duration::from_millis(100),
            (1, false) => Duration::from_millis(200),
            _ => Duration::from_secs(1),
        }
    }

    /// Time from one change to the next: slow enough that two cores, shared with the clients, finish
    /// one change before the next. Of many resources a little less than a poll's interval, so that
    /// every poll brings a change.
    pub fn tick(&self, clients: usize) -> Duration {
        let of_client = match self.wire {
            Wire::LongPoll => Duration::from_micros(200),
            Wire::Http2 => Duration::from_micros(150),
            _ => Duration::from_micros(60) + Duration::from_nanos(self.size as u64 * 4),
        };
        if self.resources > 1 {
            return Duration::from_millis(800);
        }
        let fitting = of_client * u32::try_from(clients).unwrap_or(u32::MAX);
        fitting.max(Duration::from_millis(400))
    }

    /// The resources, when there are so many clients.
    pub fn resources(&self, clients: usize) -> usize {
        self.resources.min(clients.div_ceil(10)).max(1)
    }
}
