//! Why the listening sockets did not change hands.
//!
//! Must not know: how they do.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

/// Why the sockets did not change hands.
#[derive(Debug)]
pub enum Failure {
    /// The configuration says nothing of upgrades.
    Unset,
    /// The place of the socket cannot be used.
    Place {
        /// `upgrade.socket`.
        socket: PathBuf,
        /// What is there, and what is wanted.
        reason: String,
    },
    /// No process handed anything over.
    NoPredecessor {
        /// `upgrade.socket`.
        socket: PathBuf,
        /// `upgrade.timeout`.
        waited: Duration,
    },
    /// No process took the sockets.
    NoSuccessor {
        /// `upgrade.socket`.
        socket: PathBuf,
        /// Why the new process could not be reached.
        error: io::Error,
    },
    /// The new process ended, or did not say in time that it accepts.
    Successor(String),
    /// The old process did not wait: it goes on.
    TooLate,
    /// A socket that was handed over does not listen on the address of its name.
    NotASocket {
        /// The name that it was handed over under.
        name: String,
        /// What it is.
        reason: String,
    },
    /// The system refuses.
    System(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unset => {
                f.write_str("the configuration has no upgrade.socket, through which the sockets go")
            }
            Failure::Place { socket, reason } => write!(f, "upgrade.socket {}: {reason}", socket.display()),
            Failure::NoPredecessor { socket, waited } => {
                let waited = humantime::format_duration(*waited);
                let socket = socket.display();
                write!(
                    f,
                    "upgrade.socket {socket}: no process handed its listening sockets over within {waited}; "
                )?;
                f.write_str("it does when it gets SIGQUIT and has the same upgrade.socket")
            }
            Failure::NoSuccessor { socket, error } => {
                write!(f, "upgrade.socket {}: no new process took the sockets: {error}", socket.display())
            }
            Failure::Successor(reason) => write!(f, "the new process {reason}"),
            Failure::TooLate => {
                f.write_str("the old process did not wait any longer (its upgrade.timeout) and goes on")
            }
            Failure::NotASocket { name, reason } => write!(f, "what was handed over as {name:?} {reason}"),
            Failure::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::NoSuccessor { error, .. } | Failure::System(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::System(error)
    }
}
