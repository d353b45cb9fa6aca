//! Making connections to NATS, hearing them, and hearing everything attended again.
//!
//! Files (password, certificates) are read again for each attempt. Every attempt has a bound.
//! Must not know: verbs, when to try again.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event as Happened, ServerAddr, ServerError,
    Subscriber,
};
use bytes::Bytes;
use futures_util::stream::{AbortHandle, Abortable, SelectAll};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::bucket::Bucket;
use super::connection::Connection;
use super::shared::{Heard, Shared};
use crate::cluster::engine::{Event, Failed, Loss};
use crate::cluster::password;
use crate::cluster::reconnect::Connect;
use crate::cluster::seal::Name;
use crate::cluster::subscription::Queue;
use crate::cluster::tls;
use crate::config::Cluster;

/// What one attempt may take: name, connection, TLS, password, bucket, subscriptions.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Most messages of one subscription that wait to be heard.
const SUBSCRIPTION_MESSAGES_MAX: usize = 16_384;
/// Most new subscriptions, and most signs of the connection, that wait.
const WAITING_MAX: usize = 1024;
/// The oldest server whose copies agree on revisions.
const COPIES_VERSION: (i64, i64) = (2, 10);
/// What a record needs besides its sealed content: condition, reports, names.
const RECORD_BYTES: usize = 64 * 1024;

/// Makes connections to one engine.
pub(super) struct Dialer {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    /// The server that is tried next.
    next: usize,
    place: String,
}

/// A connection that is heard.
pub(super) struct Hearing {
    pub(super) connection: Arc<Connection>,
    happened: mpsc::Receiver<Happened>,
    all: Subscriber,
    /// What was attended to before.
    resources: Vec<(Name, Subscriber)>,
    added: mpsc::Receiver<Heard>,
}

impl Hearing {
    /// Why something failed: a right that is missing shows as a request without an answer, and is told apart from it.
    pub(super) fn reason(&mut self, failed: Failed) -> Failed {
        reason(&mut self.happened, failed)
    }
}

fn reason(happened: &mut mpsc::Receiver<Happened>, failed: Failed) -> Failed {
    let told = std::iter::from_fn(|| happened.try_recv().ok()).filter_map(|happened| ends(&happened));
    told.filter(|told| told.loss == Loss::Rights).last().unwrap_or(failed)
}

impl Dialer {
    pub(super) fn new(cluster: Arc<Cluster>, shared: Arc<Shared>) -> Dialer {
        let place = cluster.servers.first().cloned().unwrap_or_default();
        Dialer { cluster, shared, next: 0, place }
    }

    /// A connection to one server. Each call after a failure tries the next one.
    pub(super) async fn dial(&mut self) -> Result<Hearing, Failed> {
        let result = timeout(DIAL_TIMEOUT, self.hearing()).await;
        let result = result.unwrap_or_else(|_| {
            Err(Failed { loss: Loss::Timeout, message: format!("no connection within {DIAL_TIMEOUT:?}") })
        });
        if result.is_err() {
            self.next = self.next.wrapping_add(1);
        }
        result.map_err(|failed| Failed { message: format!("{}: {}", self.place, failed.message), ..failed })
    }

    async fn hearing(&mut self) -> Result<Hearing, Failed> {
        self.place = self.cluster.servers[self.next % self.cluster.servers.len()].clone();
        let (tell, mut happened) = mpsc::channel(WAITING_MAX);
        let client = self.client(tell).await?;
        let connection = Arc::new(Connection::new(client, self.cluster.timeout));
        self.fits(&connection)?;
        self.keeps_revisions(&connection)?;
        let asked = async {
            self.shared.bucket.ensure(&connection).await?;
            self.shared.bucket.try_out(&connection, 1).await?;
            let all = connection.subscribe(self.shared.subjects.all()).await?;
            let (add, added) = mpsc::channel(WAITING_MAX);
            // From here on a new resource is subscribed to by itself; the ones before are in the set.
            self.shared.begin(&connection, add);
            Ok((all, self.shared.attend_again(&connection).await?, added))
        };
        match asked.await {
            Ok((all, resources, added)) => Ok(Hearing { connection, happened, all, resources, added }),
            Err(failed) => Err(reason(&mut happened, failed)),
        }
    }

    /// Whether copies agree on a revision: before 2.10 each server checked it by itself, and several writes were taken.
    fn keeps_revisions(&self, connection: &Connection) -> Result<(), Failed> {
        let copies = self.shared.bucket.copies();
        if copies == 1 || connection.is_server(COPIES_VERSION) {
            return Ok(());
        }
        let message = format!(
            "nats-server {}: a bucket with {copies} copies needs 2.10 or later (cluster.servers names {copies} or more)",
            connection.version()
        );
        Err(Failed { loss: Loss::Protocol, message })
    }

    /// Whether the largest record fits into a message.
    fn fits(&self, connection: &Connection) -> Result<(), Failed> {
        let (wanted, most) = (self.cluster.max_value + RECORD_BYTES, Bucket::value_bytes_max(connection));
        if wanted <= most {
            return Ok(());
        }
        let message = format!(
            "the server takes messages of {most} bytes (max_payload), and cluster.max_value needs {wanted}: set \
             max_value to {} bytes or less",
            most.saturating_sub(RECORD_BYTES)
        );
        Err(Failed { loss: Loss::Protocol, message })
    }

    async fn client(&self, tell: mpsc::Sender<Happened>) -> Result<Client, Failed> {
        let mut options = ConnectOptions::new()
            .name("pollcast")
            .max_reconnects(1)
            .ignore_discovered_servers()
            .request_timeout(None)
            .connection_timeout(DIAL_TIMEOUT)
            .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
            .event_callback(move |event| {
                // One that finds no room comes after others that end the connection already.
                let _ = tell.try_send(event);
                std::future::ready(())
            });
        let password = password::read(&self.cluster).await;
        options = match (&self.cluster.username, password) {
            (Some(username), password) => {
                options.user_and_password(username.clone(), password.unwrap_or_default())
            }
            // A server without users may want a token.
            (None, Some(token)) => options.token(token),
            (None, None) => options,
        };
        if let Some(settings) = self.cluster.tls.clone() {
            let config = tls::client(settings).await;
            let config = config.map_err(|message| Failed { loss: Loss::Connection, message })?;
            options = options.tls_client_config(config).require_tls(true);
        }
        let address = format!("nats://{}", self.place).parse::<ServerAddr>();
        let address =
            address.map_err(|error| Failed { loss: Loss::Connection, message: error.to_string() })?;
        options.connect(address).await.map_err(|error| failed(&error))
    }
}

impl Connect for Dialer {
    type Connection = Hearing;

    fn place(&self) -> String {
        self.place.clone()
    }

    async fn connect(&mut self) -> Result<Hearing, Failed> {
        let dialed = self.dial().await;
        match &dialed {
            Ok(_) => {
                self.shared.queue.tell(Event::Back);
            }
            Err(_) => self.shared.end(),
        }
        dialed
    }

    async fn hear(&mut self, hearing: Hearing) -> Failed {
        let failed = hear(&self.shared, hearing, self.cluster.lease).await;
        self.shared.end();
        failed
    }

    fn queue(&self) -> &Queue {
        &self.shared.queue
    }
}

/// Passes on what is heard, until something fails.
async fn hear(shared: &Shared, mut hearing: Hearing, lease: Duration) -> Failed {
    let mut resources = Resources::default();
    hearing.resources.drain(..).for_each(|(name, subscriber)| resources.add(name, subscriber));
    let mut looks = interval(lease / 4);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let overflow = || Failed { loss: Loss::Overflow, message: "more came than is held at once".to_owned() };
    loop {
        tokio::select! {
            biased;
            failed = hearing.connection.failed() => return hearing.reason(failed),
            Some(happened) = hearing.happened.recv() => {
                if let Some(failed) = ends(&happened) {
                    return failed;
                }
            }
            Some(heard) = hearing.added.recv() => match heard {
                Heard::From(name, subscriber) => resources.add(name, subscriber),
                Heard::NoMore(name) => resources.remove(name),
            },
            message = hearing.all.next() => {
                let Some(message) = message else {
                    return Failed { loss: Loss::Connection, message: "the subscription ended".to_owned() };
                };
                if !shared.queue.tell_message(&hearing.connection.unproven, message.payload) {
                    return overflow();
                }
            }
            Some((name, sealed)) = resources.streams.next() => {
                if !shared.queue.tell(Event::Became { name, sealed }) {
                    return overflow();
                }
            }
            _ = looks.tick() => {
                // With messages still to be read it is this node that is slow, not the engine.
                if hearing.connection.unproven.since().is_some_and(|since| since.elapsed() > lease) {
                    let message = format!("what this node says has not come back within {lease:?} (cluster.lease)");
                    return Failed { loss: Loss::Subscription, message };
                }
            }
        }
    }
}

/// What is said on the subjects of resources, under their names.
#[derive(Default)]
struct Resources {
    streams: SelectAll<Named>,
    /// Each ends one of the streams, and its subscription with it.
    ends: BTreeMap<Name, AbortHandle>,
}

/// What is said on the subject of one resource.
type Named = Pin<Box<dyn Stream<Item = (Name, Bytes)> + Send>>;

impl Resources {
    fn add(&mut self, name: Name, subscriber: Subscriber) {
        let (handle, registration) = AbortHandle::new_pair();
        let stream = Abortable::new(subscriber, registration);
        self.streams.push(Box::pin(stream.map(move |message| (name, message.payload))));
        if let Some(twice) = self.ends.insert(name, handle) {
            twice.abort();
        }
    }

    fn remove(&mut self, name: Name) {
        if let Some(handle) = self.ends.remove(&name) {
            handle.abort();
        }
    }
}

/// What has happened to the connection, if it has to end for it.
fn ends(happened: &Happened) -> Option<Failed> {
    let loss = match happened {
        Happened::Connected => return None,
        Happened::SlowConsumer(_) => Loss::Overflow,
        Happened::ServerError(error) => match error {
            ServerError::AuthorizationViolation => Loss::Credentials,
            error if error.to_string().to_ascii_lowercase().contains("permissions violation") => Loss::Rights,
            _ => Loss::Protocol,
        },
        Happened::Disconnected
        | Happened::LameDuckMode
        | Happened::Draining
        | Happened::Closed
        | Happened::ClientError(_) => Loss::Connection,
    };
    Some(Failed { loss, message: happened.to_string() })
}

fn failed(error: &ConnectError) -> Failed {
    let loss = match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Loss::Credentials,
        ConnectErrorKind::TimedOut => Loss::Timeout,
        _ => Loss::Connection,
    };
    Failed { loss, message: error.to_string() }
}
