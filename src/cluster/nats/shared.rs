//! What the verbs and the hearing have in common: the connection, the bucket, what is attended to, and where events go.
//!
//! Must not know: verbs, how connections are made.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use async_nats::Subscriber;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::bucket::{Bucket, token};
use super::connection::Connection;
use super::sessions::Sessions;
use crate::cluster::engine::{Failed, Loss};
use crate::cluster::seal::Name;
use crate::cluster::subscription::Queue;

/// Most resources that one node attends to.
const ATTENDED_MAX: usize = 1_000_000;

/// What the verbs and the hearing have in common.
pub(super) struct Shared {
    pub(super) subjects: Subjects,
    pub(super) bucket: Bucket,
    pub(super) sessions: Sessions,
    pub(super) queue: Queue,
    /// What this node's last write of each record was.
    pub(super) held: Mutex<HashMap<Name, Held>>,
    attended: Mutex<BTreeSet<Name>>,
    open: Mutex<Option<Open>>,
}

/// A record that this node wrote last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) revision: u64,
    pub(super) holder: String,
    pub(super) fence: u64,
    pub(super) at: Instant,
}

/// A connection, and where new subscriptions on it go.
#[derive(Clone)]
struct Open {
    connection: Arc<Connection>,
    add: mpsc::Sender<Heard>,
}

/// What changes about what is heard.
pub(super) enum Heard {
    /// A resource is heard over this subscription.
    From(Name, Subscriber),
    /// A resource is heard no more.
    NoMore(Name),
}

/// The subjects on which nodes speak.
#[derive(Debug)]
pub(super) struct Subjects(String);

impl Subjects {
    /// The one of all nodes.
    pub(super) fn all(&self) -> String {
        format!("{}.all", self.0)
    }

    /// The one of a resource.
    pub(super) fn resource(&self, name: &Name) -> String {
        format!("{}.r.{name}", self.0)
    }
}

impl Shared {
    pub(super) fn new(cluster: &str, servers: usize, queue: Queue) -> Shared {
        Shared {
            subjects: Subjects(format!("pollcast.{}", token(cluster))),
            bucket: Bucket::new(cluster, servers),
            sessions: Sessions::default(),
            queue,
            held: Mutex::default(),
            attended: Mutex::default(),
            open: Mutex::default(),
        }
    }

    pub(super) fn connection(&self) -> Result<Arc<Connection>, Failed> {
        Ok(self.open()?.connection)
    }

    fn open(&self) -> Result<Open, Failed> {
        let lost = || Failed { loss: Loss::Connection, message: "the engine is lost".to_owned() };
        self.open.lock().clone().ok_or_else(lost)
    }

    /// The verbs use this connection from now on.
    pub(super) fn begin(&self, connection: &Arc<Connection>, add: mpsc::Sender<Heard>) {
        self.held.lock().clear();
        *self.open.lock() = Some(Open { connection: connection.clone(), add });
    }

    /// There is no connection any more.
    pub(super) fn end(&self) {
        self.open.lock().take();
    }

    /// Hears these resources from now on.
    pub(super) async fn attend(&self, names: &[Name]) -> Result<(), Failed> {
        {
            let mut attended = self.attended.lock();
            if attended.len() + names.len() > ATTENDED_MAX {
                let message = format!("more than {ATTENDED_MAX} resources are attended to");
                return Err(Failed { loss: Loss::Overflow, message });
            }
            attended.extend(names);
        }
        let open = self.open()?;
        for (name, subscriber) in self.subscribe(&open.connection, names).await? {
            add(&open, Heard::From(name, subscriber)).await?;
        }
        Ok(())
    }

    /// Subscribes over a new connection to everything attended.
    pub(super) async fn attend_again(
        &self,
        connection: &Connection,
    ) -> Result<Vec<(Name, Subscriber)>, Failed> {
        let names: Vec<Name> = self.attended.lock().iter().copied().collect();
        self.subscribe(connection, &names).await
    }

    async fn subscribe(
        &self,
        connection: &Connection,
        names: &[Name],
    ) -> Result<Vec<(Name, Subscriber)>, Failed> {
        let mut subscribers = Vec::with_capacity(names.len());
        for name in names {
            subscribers.push((*name, connection.subscribe(self.subjects.resource(name)).await?));
        }
        Ok(subscribers)
    }

    /// Hears these resources no more.
    pub(super) async fn leave(&self, names: &[Name]) -> Result<(), Failed> {
        {
            let (mut attended, mut held) = (self.attended.lock(), self.held.lock());
            for name in names {
                attended.remove(name);
                held.remove(name);
            }
        }
        let open = self.open()?;
        for name in names {
            add(&open, Heard::NoMore(*name)).await?;
        }
        Ok(())
    }
}

async fn add(open: &Open, heard: Heard) -> Result<(), Failed> {
    let ended = |_| Failed { loss: Loss::Connection, message: "the engine is lost".to_owned() };
    open.add.send(heard).await.map_err(ended)
}
