//! Which rights of the engine's user are missing: each command is tried on a key that nothing else uses.
//!
//! Redis names the command that a user may not run, and not the one that a script may not.
//! Must not know: what the commands are for.

use redis::{Cmd, ServerErrorKind, Value};

use super::keys::Keys;
use super::pair::Pair;
use crate::cluster::engine::Failed;

/// A script that does nothing, and its name.
const SCRIPT: &str = "return 1";
const SCRIPT_NAME: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

/// The commands, as an ACL names them, each with arguments that do no harm. Those of connecting are among them.
const TRIED: [(&str, &[&str]); 18] = [
    ("time", &[]),
    ("ping", &[]),
    ("script|load", &["LOAD", SCRIPT]),
    ("evalsha", &[SCRIPT_NAME, "0"]),
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
    ("del", &["KEY"]),
    ("publish", &["CHANNEL", ""]),
];

/// The commands that the user of this connection may not run, and the patterns of keys and channels that it lacks.
pub(super) async fn missing(pair: &Pair, keys: &Keys) -> Result<Vec<String>, Failed> {
    let (key, channel) = (format!("{}:p", keys.space), format!("{}:p", keys.space));
    let command = |(name, arguments): &(&str, &[&str])| -> Cmd {
        let mut command = redis::cmd(name.split('|').next().unwrap_or(name));
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
    let mut missing: Vec<String> = Vec::new();
    for ((name, _), reply) in TRIED.iter().zip(&replies) {
        if let Some(right) = refused(name, reply, keys)
            && !missing.contains(&right)
        {
            missing.push(right);
        }
    }
    Ok(missing)
}

/// The same as an ACL writes it, with the right to subscribe, which only the other connection can try.
pub(super) async fn lacking(pair: &Pair, keys: &Keys) -> Result<Vec<String>, Failed> {
    let is_pattern = |right: &str| right.starts_with(['~', '&']);
    let missing = missing(pair, keys).await?.into_iter();
    let mut lacking: Vec<String> =
        missing.map(|right| if is_pattern(&right) { right } else { format!("+{right}") }).collect();
    for (command, result) in [
        ("+subscribe", pair.subscribe(vec![keys.all()]).await),
        ("+unsubscribe", pair.unsubscribe(vec![keys.all()]).await),
    ] {
        let Err(failed) = result else { continue };
        let right = if failed.message.contains("channels") { channels(keys) } else { command.to_owned() };
        if !lacking.contains(&right) {
            lacking.push(right);
        }
    }
    Ok(lacking)
}

/// The right that is missing for a command, as far as the engine says.
fn refused(command: &str, reply: &Value, keys: &Keys) -> Option<String> {
    let Value::ServerError(error) = reply else { return None };
    if error.kind() != Some(ServerErrorKind::NoPerm) {
        return None;
    }
    let said = error.details().unwrap_or_default();
    Some(match () {
        // Redis 7 says "access one of the keys used as arguments", and the same of channels.
        () if said.contains("channel") => channels(keys),
        () if said.contains("key") => format!("~{}*", keys.space),
        () => command.to_owned(),
    })
}

fn channels(keys: &Keys) -> String {
    format!("&{}*", keys.space)
}
