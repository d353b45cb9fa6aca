//! Two connections to Redis: one for commands, one that hears. They live and end together.
//!
//! Whatever goes wrong on one of them ends both, with a reason: what was missed in between is read again by those who
//! need it. What this node says has to come back on the other connection.
//! Must not know: how connections are made, when they are made again.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{MultiplexedConnection, PubSubSink};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::reply::Reply;
use crate::cluster::engine::{Failed, Loss, PIPELINE_MAX};
use crate::cluster::failure::FirstFailure;
use crate::cluster::subscription::Unproven;

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

/// The connections.
pub(super) struct Pair {
    commands: MultiplexedConnection,
    driver: JoinHandle<()>,
    hearing: PubSubSink,
    timeout: Duration,
    /// What names each script, in the order of [`Script::ALL`].
    names: Mutex<Vec<String>>,
    /// What this node said and has not heard.
    pub(super) unproven: Unproven,
    /// Why it has to end.
    failure: FirstFailure,
}

impl Pair {
    /// New connections, which know no script yet.
    pub(super) fn new(
        commands: MultiplexedConnection,
        driver: JoinHandle<()>,
        hearing: PubSubSink,
        timeout: Duration,
    ) -> Pair {
        let (names, unproven) = (Mutex::default(), Unproven::default());
        let failure = FirstFailure::default();
        Pair { commands, driver, hearing, timeout, names, unproven, failure }
    }

    /// Loads the scripts.
    pub(super) async fn load(&self) -> Result<(), Failed> {
        let mut names = Vec::with_capacity(Script::ALL.len());
        for script in Script::ALL {
            let mut command = redis::cmd("SCRIPT");
            command.arg("LOAD").arg(script.text());
            names.push(self.command(&command).await?.text()?);
        }
        *self.names.lock() = names;
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
        let mut connection = self.commands.clone();
        let sending = connection.send_packed_commands(&pipeline, 0, commands.len());
        match timeout(self.timeout, sending).await {
            Ok(Ok(replies)) if replies.len() == commands.len() => Ok(replies),
            Ok(Ok(_)) => Err(self.fail(super::reply::unexpected())),
            Ok(Err(error)) => Err(self.fail(failed(&error))),
            Err(_) => Err(self.fail(self.too_late("a command"))),
        }
    }

    /// Hears these channels from now on.
    pub(super) async fn subscribe(&self, channels: Vec<String>) -> Result<(), Failed> {
        for channels in channels.chunks(PIPELINE_MAX) {
            self.heard(self.hearing.clone().subscribe(channels)).await?;
        }
        Ok(())
    }

    /// Hears them no more.
    pub(super) async fn unsubscribe(&self, channels: Vec<String>) -> Result<(), Failed> {
        for channels in channels.chunks(PIPELINE_MAX) {
            self.heard(self.hearing.clone().unsubscribe(channels)).await?;
        }
        Ok(())
    }

    async fn heard(&self, asking: impl Future<Output = Result<(), RedisError>>) -> Result<(), Failed> {
        match timeout(self.timeout, asking).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fail(failed(&error))),
            Err(_) => Err(self.fail(self.too_late("a subscription"))),
        }
    }

    fn too_late(&self, what: &str) -> Failed {
        let message = format!("{what} had no answer within {:?} (cluster.timeout)", self.timeout);
        Failed { loss: Loss::Timeout, message }
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
        self.driver.abort();
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
