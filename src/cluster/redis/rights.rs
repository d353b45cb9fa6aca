//! Which rights of the engine's user are missing: each command is tried on a key that nothing else uses.
//!
//! Redis names the command that a user may not run, and not the one that a script may not.
//! Must not know: what the commands are for.

use redis::{Cmd, ServerErrorKind, Value};

use super::keys::Keys;
use super::pair::Pair;
use crate::cluster::engine::Failed;

/// The commands beside those of connecting, each with arguments that do no harm.
const TRIED: [(&str, &[&str]); 15] = [
    ("time", &[]),
    ("ping", &[]),
    ("hget", &["KEY", "t"]),
    ("hmget", &["KEY", "t"]),
    ("hset", &["KEY", "t", "0"]),
    ("pexpire", &["KEY", "60000"]),
    ("del", &["KEY"]),
    ("xadd", &["KEY", "MAXLEN", "~", "1", "*", "i", ""]),
    ("xrange", &["KEY", "-", "+", "COUNT", "1"]),
    ("del", &["KEY"]),
    ("zadd", &["KEY", "1", "a"]),
    ("zscore", &["KEY", "a"]),
    ("zrange", &["KEY", "0", "-1"]),
    ("zremrangebyscore", &["KEY", "-inf", "1"]),
    ("publish", &["CHANNEL", ""]),
];

/// The commands that the user of this connection may not run.
pub(super) async fn missing(pair: &Pair, keys: &Keys) -> Result<Vec<&'static str>, Failed> {
    let (key, channel) = (format!("{}:p", keys.space), format!("{}:p", keys.space));
    let command = |(name, arguments): &(&str, &[&str])| -> Cmd {
        let mut command = redis::cmd(name);
        for argument in *arguments {
            command.arg(match *argument {
                "KEY" => &key,
                "CHANNEL" => &channel,
                other => other,
            });
        }
        command
    };
    let replies = pair.ask(&TRIED.iter().map(command).collect::<Vec<_>>()).await?;
    let is_refused = |reply: &Value| matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoPerm));
    let refused = TRIED.iter().zip(&replies).filter(|(_, reply)| is_refused(reply));
    let mut missing: Vec<&'static str> = refused.map(|((name, _), _)| *name).collect();
    missing.dedup();
    Ok(missing)
}
