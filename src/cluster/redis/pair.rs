//! Two connections to Redis: one for commands, one that hears. They live and end together.
//!
//! Whatever goes wrong on one of them ends both, with a reason: what was missed in between is read again by those who
//! need it. What this node says has to come back on the other connection.
//! Must not know: how connections are made, when they are made again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use redis::aio::{MultiplexedConnection, PubSubSink};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::reply::Reply;
use super::wire::Reads;
use crate::cluster::engine::{Failed, Loss, PIPELINE_MAX};
use crate::cluster::failure::FirstFailure;
use crate::cluster::subscription::Unproven;

/// Turns that the connections' own thread takes before a missing answer counts.
const READ_TURNS_MAX: usize = 2;

/// Commands that subscribe to many channels each and are on their way at once.
const SUBSCRIBING_MAX: usize = 8;

/// An answer that has not come within so many times of a command does not come, whatever else is answered.
const TIMEOUTS_MAX: u32 = 10;

/// The scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Beat,
    Claim,
    Write,
    Want,
    Free,
    Take,
    Tell,
}

impl Script {
    const ALL: [Script; 7] =
        [Script::Beat, Script::Claim, Script::Write, Script::Want, Script::Free, Script::Take, Script::Tell];

    fn text(self) -> &'static str {
        match self {
            Script::Beat => include_str!("../scripts/beat.lua"),
            Script::Claim => include_str!("../scripts/claim.lua"),
            Script::Write => include_str!("../scripts/write.lua"),
            Script::Want => include_str!("../scripts/want.lua"),
            Script::Free => include_str!("../scripts/free.lua"),
            Script::Take => include_str!("../scripts/take.lua"),
            Script::Tell => include_str!("../scripts/tell.lua"),
        }
    }
}

/// Two connections as they were made.
pub(super) struct Ends {
    pub(super) commands: MultiplexedConnection,
    /// The task that works on the commands.
    pub(super) driver: JoinHandle<()>,
    /// When something was last read from the connection for commands.
    pub(super) answers: Arc<Reads>,
    pub(super) hearing: PubSubSink,
    /// When something was last read from the one that hears.
    pub(super) heard: Arc<Reads>,
}

/// The connections.
pub(super) struct Pair {
    ends: Ends,
    timeout: Duration,
    /// Where the connections are worked on.
    runtime: Handle,
    /// What names each script, in the order of [`Script::ALL`].
    names: Mutex<Vec<String>>,
    /// What this node said and has not heard.
    pub(super) unproven: Unproven,
    /// Why it has to end.
    failure: FirstFailure,
}

impl Pair {
    /// New connections, which know no script yet.
    pub(super) fn new(ends: Ends, timeout: Duration) -> Pair {
        let (names, unproven) = (Mutex::default(), Unproven::default());
        let failure = FirstFailure::default();
        Pair { ends, timeout, runtime: Handle::current(), names, unproven, failure }
    }

    /// Loads the scripts.
    pub(super) async fn load(&self) -> Result<(), Failed> {
        let load = |script: Script| {
            let mut command = redis::cmd("SCRIPT");
            command.arg("LOAD").arg(script.text());
            command
        };
        let names = self.pipeline(&Script::ALL.map(load)).await?;
        let names = names.into_iter().map(|name| Reply::new(name).text());
        *self.names.lock() = names.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The command that runs a script.
    pub(super) fn evaluation(&self, script: Script, keys: &[String], arguments: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        // An empty name is no script's: then they are loaded again.
        let name = self.names.lock().get(script as usize).cloned().unwrap_or_default();
        command.arg(name).arg(keys.len()).arg(keys).arg(arguments);
        command
    }

    /// Runs a script.
    pub(super) async fn script(
        &self,
        script: Script,
        keys: &[String],
        arguments: &[&[u8]],
    ) -> Result<Reply, Failed> {
        self.command(&self.evaluation(script, keys, arguments)).await
    }

    /// Sends one command.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Reply, Failed> {
        let replies = self.pipeline(std::slice::from_ref(command)).await?;
        Ok(Reply::new(replies.into_iter().next().unwrap_or_default()))
    }

    /// Sends commands in one go. Scripts that are not known any more are loaded again, once.
    pub(super) async fn pipeline(&self, commands: &[Cmd]) -> Result<Vec<Value>, Failed> {
        let mut replies = self.send(commands).await?;
        let is_unknown = |reply: &Value| matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript));
        let unknown: Vec<usize> = (0..replies.len()).filter(|at| is_unknown(&replies[*at])).collect();
        if !unknown.is_empty() {
            // Their names are digests of their texts: the commands stay right.
            Box::pin(self.load()).await?;
            let again: Vec<Cmd> = unknown.iter().map(|at| commands[*at].clone()).collect();
            for (at, reply) in unknown.into_iter().zip(self.send(&again).await?) {
                replies[at] = reply;
            }
        }
        let error = replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) => Some(RedisError::from(error.clone())),
            _ => None,
        });
        match error {
            Some(error) => Err(self.fail(failed(&error))),
            None => Ok(replies),
        }
    }

    async fn send(&self, commands: &[Cmd]) -> Result<Vec<Value>, Failed> {
        if let Some(failed) = self.failure.get() {
            return Err(failed);
        }
        self.ask(commands).await
    }

    /// Sends commands in one go, even after a failure; errors of the engine are among the answers.
    pub(super) async fn ask(&self, commands: &[Cmd]) -> Result<Vec<Value>, Failed> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let mut connection = self.ends.commands.clone();
        let sending = connection.send_packed_commands(&pipeline, 0, commands.len());
        let replies = self.within("a command", &self.ends.answers, sending).await?;
        match replies.len() == commands.len() {
            true => Ok(replies),
            false => Err(self.fail(super::reply::unexpected())),
        }
    }

    /// Hears these channels from now on.
    pub(super) async fn subscribe(&self, channels: Vec<String>) -> Result<(), Failed> {
        for channels in channels.chunks(SUBSCRIBING_MAX * PIPELINE_MAX) {
            let subscribing = channels.chunks(PIPELINE_MAX).map(|channels| async move {
                let mut hearing = self.ends.hearing.clone();
                self.heard(hearing.subscribe(channels)).await
            });
            try_join_all(subscribing).await?;
        }
        Ok(())
    }

    /// Hears them no more.
    pub(super) async fn unsubscribe(&self, channels: Vec<String>) -> Result<(), Failed> {
        for channels in channels.chunks(PIPELINE_MAX) {
            self.heard(self.ends.hearing.clone().unsubscribe(channels)).await?;
        }
        Ok(())
    }

    async fn heard(&self, asking: impl Future<Output = Result<(), RedisError>>) -> Result<(), Failed> {
        self.within("a subscription", &self.ends.heard, asking).await
    }

    /// Waits for an answer. The engine counts as lost once nothing at all has come from it for `cluster.timeout`: while it
    /// answers what was asked before, this one's turn will come.
    async fn within<T>(
        &self,
        what: &str,
        reads: &Reads,
        asking: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Failed> {
        let mut asking = pin!(asking);
        let began = Instant::now();
        let mut since = began;
        loop {
            let mut answer = timeout_at(since + self.timeout, &mut asking).await;
            if answer.is_err() {
                self.let_read().await;
                answer = timeout(Duration::ZERO, &mut asking).await;
            }
            let last = reads.last();
            match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => return Err(self.fail(failed(&error))),
                Err(_) if last > since && began.elapsed() < TIMEOUTS_MAX * self.timeout => since = last,
                Err(_) => {
                    let message = format!("{what} had no answer within {:?} (cluster.timeout)", self.timeout);
                    return Err(self.fail(Failed { loss: Loss::Timeout, message }));
                }
            }
        }
    }

    /// Has what came by now be read: where this node has more to do than it can, it is the one that is late.
    async fn let_read(&self) {
        let turns = self.runtime.spawn(async {
            for _ in 0..READ_TURNS_MAX {
                // Each one looks at all connections of the thread.
                sleep(Duration::from_millis(1)).await;
            }
        });
        // The runtime ends with the process.
        let _ = turns.await;
    }

    /// Ends both connections; the first reason stays. Gives the failure back.
    pub(super) fn fail(&self, failed: Failed) -> Failed {
        self.failure.note(failed)
    }

    /// Waits until the connections have to end, and says why.
    pub(super) async fn failed(&self) -> Failed {
        self.failure.wait().await
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.ends.driver.abort();
    }
}

/// What an error of the library means. Its text is Redis' own, which names the right or the command that is missing.
pub(super) fn failed(error: &RedisError) -> Failed {
    let text = error.to_string();
    let loss = match (error.kind(), error.code()) {
        _ if error.is_timeout() => Loss::Timeout,
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => Loss::Credentials,
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => Loss::Rights,
        _ if text.contains("ACL failure")
            || text.contains("NOPERM")
            || text.contains("executing the script can't") =>
        {
            Loss::Rights
        }
        (_, Some("OOM")) => Loss::Memory,
        _ if text.contains("OOM command not allowed") => Loss::Memory,
        (ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown), _)
        | (_, Some("NOREPLICAS" | "MISCONF")) => Loss::ReadOnly,
        _ if text.contains("READONLY") || text.contains("NOREPLICAS") || text.contains("MISCONF") => {
            Loss::ReadOnly
        }
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => Loss::Protocol,
        (ErrorKind::Server(ServerErrorKind::ResponseError), _) => Loss::Protocol,
        _ => Loss::Connection,
    };
    Failed { loss, message: text }
}

#[cfg(test)]
mod tests {
    use redis::aio::PubSub;
    use redis::{AsyncConnectionConfig, RedisConnectionInfo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::wire::watched;
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(200);
    const PING: &[u8] = b"PING\r\n";

    /// Answers so many pings, each so long after the one before, and then no more.
    async fn answer(mut stream: TcpStream, pause: Duration, most: usize) -> std::io::Result<()> {
        let (mut asked, mut answered) = (Vec::new(), 0);
        while stream.read_buf(&mut asked).await? > 0 {
            while let Some(at) = asked.windows(PING.len()).position(|bytes| bytes == PING) {
                asked.drain(..at + PING.len());
                answered += 1;
                if answered <= most {
                    sleep(pause).await;
                    stream.write_all(b"+PONG\r\n").await?;
                }
            }
        }
        Ok(())
    }

    async fn pair(pause: Duration, most: usize) -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, pause, most));
            }
        });
        let who = RedisConnectionInfo::default().set_skip_set_lib_name();
        let wire = || async { watched(TcpStream::connect(address).await.unwrap()) };
        let ((commands, answers), (hearing, heard)) = (wire().await, wire().await);
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connecting = MultiplexedConnection::new_with_config(&who, commands, config);
        let (commands, driver) = connecting.await.unwrap();
        let (hearing, _) = PubSub::new(&who, hearing).await.unwrap().split();
        let ends = Ends { commands, driver: tokio::spawn(driver), answers, hearing, heard };
        Pair::new(ends, TIMEOUT)
    }

    async fn ask_at_once(pair: &Pair, count: usize) -> Vec<Option<Loss>> {
        let ping = redis::cmd("PING");
        let asked = (0..count).map(|_| async { pair.command(&ping).await.err().map(|failed| failed.loss) });
        futures_util::future::join_all(asked).await
    }

    #[tokio::test]
    async fn an_engine_that_answers_others_is_not_lost() {
        let pair = pair(TIMEOUT / 2, usize::MAX).await;
        assert_eq!(ask_at_once(&pair, 5).await, [None; 5], "the last waits longer than cluster.timeout");
    }

    #[tokio::test]
    async fn an_engine_that_answers_nothing_any_more_is_lost() {
        let pair = pair(Duration::ZERO, 2).await;
        let began = Instant::now();
        let timeout = Some(Loss::Timeout);
        assert_eq!(ask_at_once(&pair, 4).await, [None, None, timeout, timeout]);
        assert!(began.elapsed() >= TIMEOUT, "{:?}", began.elapsed());
    }
}
