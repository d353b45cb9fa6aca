//! Clients whose connections may break at any moment: what they note, and when they have all.
//!
//! Must not know: how they are connected, what breaks.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::feeds::{ROOM, Room};
use super::record::{Items, Recorder};
use super::script::FINAL;
use crate::support::client::Response;
use crate::support::roaming::{Listener, Transport};

/// One that follows states.
pub struct OfState {
    pub path: String,
    pub recorder: Recorder,
}

impl Listener for OfState {
    fn path(&self) -> &str {
        &self.path
    }

    fn position(&self) -> Option<String> {
        self.recorder.version().map(str::to_owned)
    }

    fn visits(&mut self, node: SocketAddr, transport: Transport) {
        self.recorder.note(format!("{transport:?} at {}", node.port()));
    }

    fn begin(&mut self, position: Option<&str>) {
        self.recorder.begin(position);
    }

    fn told(&mut self, event: &str, id: Option<String>, data: &str) {
        match (event, id) {
            ("message", Some(id)) => drop(self.recorder.content(Some(&id), data)),
            ("stale" | "fresh", _) => self.recorder.note(event),
            ("gone", _) => self.recorder.gone(),
            // The resource is not there: nothing will come.
            ("error", _) => self.recorder.note(format!("error: {data}")),
            (event, id) => panic!("{}: an unexpected event {event} with id {id:?}: {data}", self.recorder),
        }
    }

    fn refused(&mut self, head: &Response) {
        self.recorder.note(format!("{} {:?}", head.status, head.header("cache-status")));
        is_of_the_api(head);
    }

    fn is_over(&self) -> bool {
        self.recorder.state() == Some(FINAL)
    }
}

/// One that follows items, and says to the room how far it is.
pub struct OfItems {
    pub number: usize,
    pub items: Items,
    pub room: Arc<Room>,
    /// The last item of all, once it is known.
    pub end: watch::Receiver<Option<u64>>,
}

impl Listener for OfItems {
    fn path(&self) -> &str {
        ROOM
    }

    fn is_of_items(&self) -> bool {
        true
    }

    fn position(&self) -> Option<String> {
        self.items.last().map(|id| id.to_string())
    }

    fn visits(&mut self, node: SocketAddr, transport: Transport) {
        self.items.note(format!("{transport:?} at {}", node.port()));
    }

    fn begin(&mut self, _position: Option<&str>) {
        self.items.begin();
    }

    fn told(&mut self, event: &str, id: Option<String>, data: &str) {
        match (event, id) {
            ("item", Some(id)) => {
                self.items.told(&id);
                self.items.last().into_iter().for_each(|item| self.room.is_read(self.number, item));
            }
            ("stale" | "fresh" | "gone" | "error", _) => {}
            (event, id) => {
                let (items, room) = (&self.items, &self.room);
                panic!("an unexpected event {event} with id {id:?} for {items:?} of {room}: {data}")
            }
        }
    }

    fn refused(&mut self, head: &Response) {
        is_of_the_api(head);
    }

    fn is_over(&self) -> bool {
        let end = *self.end.borrow();
        end.is_some() && self.items.last() == end
    }
}

/// What the API says of a resource that it does not have, and what is told while it is down.
fn is_of_the_api(head: &Response) {
    assert!(matches!(head.status, 200 | 302 | 304 | 404 | 429 | 500 | 502 | 503 | 504), "{head:?}");
}
