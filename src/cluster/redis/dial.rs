//! Making connections to Redis: which server is the primary, TLS, and who this node is.
//!
//! Files (password, certificates) are read again for each attempt. Every attempt has a bound.
//! Must not know: commands of the cluster, when to try again.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub, PubSubStream};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::keys::Keys;
use super::pair::{Ends, Pair, Script, failed};
use super::reply::Reply;
use super::rights;
use super::wire::{Reads, Wire, watched};
use crate::cluster::engine::{Failed, Loss};
use crate::cluster::seal::Name;
use crate::cluster::{password, tls};
use crate::config::Cluster;

/// What one attempt may take: name, connection, TLS, password, scripts.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes connections to one engine.
pub(super) struct Dialer {
    cluster: Arc<Cluster>,
    keys: Keys,
    /// The server that is tried next.
    next: usize,
    /// The server that was tried last.
    place: String,
    /// Where a Redis Cluster said that the keys are.
    moved: Option<String>,
}

impl Dialer {
    pub(super) fn new(cluster: Arc<Cluster>, keys: Keys) -> Dialer {
        let place = cluster.servers.first().cloned().unwrap_or_default();
        Dialer { cluster, keys, next: 0, place, moved: None }
    }

    /// The server that was tried last.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn lease(&self) -> Duration {
        self.cluster.lease
    }

    /// A pair of connections to the primary. Each call tries the next server.
    pub(super) async fn dial(&mut self) -> Result<(Pair, PubSubStream), Failed> {
        let result = timeout(DIAL_TIMEOUT, self.pair()).await;
        self.concluded(result)
    }

    /// The same without scripts, and without a trial of any right.
    pub(super) async fn dial_untried(&mut self) -> Result<(Pair, PubSubStream), Failed> {
        let result = timeout(DIAL_TIMEOUT, self.reach()).await;
        self.concluded(result)
    }

    /// What became of an attempt. After a failure the next server is tried.
    fn concluded<T>(&mut self, result: Result<Result<T, Failed>, Elapsed>) -> Result<T, Failed> {
        let result = result.unwrap_or_else(|_| {
            let message = format!("no connection within {DIAL_TIMEOUT:?}");
            Err(Failed { loss: Loss::Timeout, message })
        });
        if result.is_err() {
            self.next = self.next.wrapping_add(1);
        }
        result.map_err(|failed| Failed { message: format!("{}: {}", self.place, failed.message), ..failed })
    }

    async fn pair(&mut self) -> Result<(Pair, PubSubStream), Failed> {
        let (pair, messages) = self.reach().await?;
        pair.load().await?;
        self.try_out(&pair).await?;
        Ok((pair, messages))
    }

    /// A pair of connections to the primary that the next server is or names. No script is known to it yet.
    async fn reach(&mut self) -> Result<(Pair, PubSubStream), Failed> {
        let server = self.cluster.servers[self.next % self.cluster.servers.len()].clone();
        self.place = match (self.moved.take(), &self.cluster.sentinel) {
            (Some(moved), _) => moved,
            (None, Some(watched)) => {
                self.place.clone_from(&server);
                self.primary(&server, watched).await?
            }
            (None, None) => server,
        };
        let who = self.who().await;
        let (commands, driver, answers) = self.commands(&self.place, &who).await?;
        let (wire, heard) = self.wire(&self.place).await?;
        let (hearing, messages) = PubSub::new(&who, wire).await.map_err(|error| failed(&error))?.split();
        let ends = Ends { commands, driver, answers, hearing, heard };
        Ok((Pair::new(ends, self.cluster.timeout), messages))
    }

    /// Runs a script that writes: whatever would refuse the others is told now.
    async fn try_out(&mut self, pair: &Pair) -> Result<(), Failed> {
        let keys = [self.keys.budget(&Name::ALL)];
        let tried = pair.script(Script::Take, &keys, &[b"1000", b"1000", b"1"]).await;
        if let Err(failed) = &tried
            && let Some((_, place)) = failed.message.split_once("MOVED")
        {
            self.moved = place.split_whitespace().find(|word| word.contains(':')).map(str::to_owned);
        }
        let refused = match tried {
            Ok(_) => None,
            Err(failed) if failed.loss == Loss::Rights => Some(failed),
            Err(failed) => return Err(failed),
        };
        // Each right is tried, since a script that lacks one says so only when it is run, and then not which one it is.
        let missing = rights::missing(pair, &self.keys).await?;
        match (missing.is_empty(), refused) {
            (true, None) => Ok(()),
            (true, Some(failed)) => Err(failed),
            (false, _) => {
                let message = format!("the engine's user lacks the rights to: {}", missing.join(", "));
                Err(Failed { loss: Loss::Rights, message })
            }
        }
    }

    /// User, password and database.
    async fn who(&self) -> RedisConnectionInfo {
        let mut who =
            RedisConnectionInfo::default().set_skip_set_lib_name().set_db(self.cluster.database.into());
        if let Some(username) = &self.cluster.username {
            who = who.set_username(username);
        }
        match password::read(&self.cluster).await {
            Some(password) => who.set_password(password),
            None => who,
        }
    }

    async fn commands(
        &self,
        place: &str,
        who: &RedisConnectionInfo,
    ) -> Result<(MultiplexedConnection, tokio::task::JoinHandle<()>, Arc<Reads>), Failed> {
        let (wire, reads) = self.wire(place).await?;
        // Each command's time is watched where it is sent.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connecting = MultiplexedConnection::new_with_config(who, wire, config);
        let (connection, driver) = connecting.await.map_err(|error| failed(&error))?;
        Ok((connection, tokio::spawn(driver), reads))
    }

    /// The primary that a sentinel names.
    async fn primary(&self, sentinel: &str, watched: &str) -> Result<String, Failed> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(watched);
        let anonymous = RedisConnectionInfo::default().set_skip_set_lib_name();
        let mut answer = self.ask(sentinel, &anonymous, &command).await;
        if answer.as_ref().is_err_and(|failed| failed.loss == Loss::Credentials) {
            answer = self.ask(sentinel, &self.who().await.set_db(0), &command).await;
        }
        let mut fields = Reply::new(answer?).array()?;
        let (host, port) = (fields.text()?, fields.text()?);
        if host.is_empty() {
            let message = format!("this sentinel watches nothing that is named {watched:?}");
            return Err(Failed { loss: Loss::Connection, message });
        }
        Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }

    async fn ask(
        &self,
        place: &str,
        who: &RedisConnectionInfo,
        command: &redis::Cmd,
    ) -> Result<Value, Failed> {
        let (mut connection, driver, _) = self.commands(place, who).await?;
        let answer = connection.send_packed_command(command).await;
        driver.abort();
        match answer {
            Ok(Value::ServerError(error)) => Err(failed(&error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(failed(&error)),
        }
    }

    /// A stream of bytes to a server, and when it was last read from.
    async fn wire(&self, place: &str) -> Result<(Box<dyn Wire>, Arc<Reads>), Failed> {
        let lost =
            |error: &dyn std::fmt::Display| Failed { loss: Loss::Connection, message: error.to_string() };
        let stream = TcpStream::connect(place).await.map_err(|error| lost(&error))?;
        // Messages are small and answers are waited for.
        stream.set_nodelay(true).map_err(|error| lost(&error))?;
        let Some(settings) = self.cluster.tls.clone() else { return Ok(watched(stream)) };
        let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
        let stream = tls::secure(settings, host, stream).await;
        Ok(watched(stream.map_err(|error| lost(&error))?))
    }
}
