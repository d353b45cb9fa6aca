//! One connection to NATS: requests with a bound, and why it has to end.
//!
//! Whatever goes wrong on it ends it, with a reason: what was missed in between is read again by those who need it.
//! Must not know: what is asked, when it is made again.

use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::{Client, HeaderMap, Message, Request, Subscriber};
use bytes::Bytes;
use tokio::time::timeout;

use crate::cluster::engine::{Failed, Loss};
use crate::cluster::failure::FirstFailure;
use crate::cluster::subscription::Unproven;

/// What stands around a payload: the header with its revision.
pub(super) const HEADER_BYTES_MAX: usize = 256;

/// One connection.
pub(super) struct Connection {
    client: Client,
    timeout: Duration,
    pub(super) unproven: Unproven,
    /// Why it has to end.
    failure: FirstFailure,
}

impl Connection {
    pub(super) fn new(client: Client, timeout: Duration) -> Connection {
        let failure = FirstFailure::default();
        Connection { client, timeout, unproven: Unproven::default(), failure }
    }

    /// Whether the server is of this version or later.
    pub(super) fn is_server(&self, (major, minor): (i64, i64)) -> bool {
        self.client.is_server_compatible(major, minor, 0)
    }

    /// The server's version, as it says it.
    pub(super) fn version(&self) -> String {
        self.client.server_info().version
    }

    /// The largest message that the server takes, in bytes.
    pub(super) fn payload_bytes_max(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// Asks the server.
    pub(super) async fn ask(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Failed> {
        self.fits(&payload)?;
        let mut request = Request::new().payload(payload).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        self.within("a request", self.client.send_request(subject, request)).await
    }

    /// Says something to those that hear this subject.
    pub(super) async fn publish(&self, subject: String, payload: Bytes) -> Result<(), Failed> {
        self.fits(&payload)?;
        self.within("a message", self.client.publish(subject, payload)).await
    }

    /// One message that is too large fails by itself: the connection goes on.
    fn fits(&self, payload: &Bytes) -> Result<(), Failed> {
        let most = self.payload_bytes_max();
        if payload.len() + HEADER_BYTES_MAX <= most {
            return Ok(());
        }
        let message = format!("a message of {} bytes; the server takes {most} (max_payload)", payload.len());
        Err(Failed { loss: Loss::Protocol, message })
    }

    /// Hears a subject from now on.
    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, Failed> {
        self.within("a subscription", self.client.subscribe(subject)).await
    }

    async fn within<T, E: Into<Reason>>(
        &self,
        what: &str,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failed> {
        if let Some(failed) = self.failure.get() {
            return Err(failed);
        }
        match timeout(self.timeout, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.fail(error.into().0)),
            Err(_) => {
                let message = format!("{what} had no answer within {:?} (cluster.timeout)", self.timeout);
                Err(self.fail(Failed { loss: Loss::Timeout, message }))
            }
        }
    }

    /// Ends the connection; the first reason stays. Gives the failure back.
    pub(super) fn fail(&self, failed: Failed) -> Failed {
        self.failure.note(failed)
    }

    /// Waits until the connection has to end, and says why.
    pub(super) async fn failed(&self) -> Failed {
        self.failure.wait().await
    }
}

/// Why something could not be asked or said.
struct Reason(Failed);

impl From<RequestError> for Reason {
    fn from(error: RequestError) -> Reason {
        Reason(match error.kind() {
            RequestErrorKind::NoResponders => Failed {
                loss: Loss::Protocol,
                message:
                    "nothing answers: JetStream is not enabled for this user's account, or its bucket is gone"
                        .to_owned(),
            },
            _ => Failed { loss: Loss::Connection, message: error.to_string() },
        })
    }
}

impl From<async_nats::PublishError> for Reason {
    fn from(error: async_nats::PublishError) -> Reason {
        Reason(Failed { loss: Loss::Connection, message: error.to_string() })
    }
}

impl From<async_nats::SubscribeError> for Reason {
    fn from(error: async_nats::SubscribeError) -> Reason {
        Reason(Failed { loss: Loss::Connection, message: error.to_string() })
    }
}
