//! Why the client of an upstream cannot be built from its configuration.
//!
//! Must not know: exchanges.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// An upstream whose client cannot be built.
#[derive(Debug)]
pub enum NewError {
    /// A server's address is not `host:port`.
    Server {
        /// Name of the upstream.
        upstream: String,
        /// What the file says.
        address: String,
    },
    /// The CA bundle cannot be read.
    CaFile {
        /// Name of the upstream.
        upstream: String,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The CA bundle holds no certificate, or one that is none.
    CaContent {
        /// Name of the upstream.
        upstream: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// pollcast's own certificate or key cannot be used.
    Identity {
        /// Name of the upstream.
        upstream: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// OpenSSL does not take what `tls` says.
    Terms {
        /// Name of the upstream.
        upstream: String,
        /// What OpenSSL says.
        found: String,
    },
    /// The system's roots are needed and missing.
    SystemRoots {
        /// Name of the upstream.
        upstream: String,
        /// What the system says.
        found: String,
    },
    /// The health check's path or host cannot be sent.
    HealthCheck {
        /// Name of the upstream.
        upstream: String,
        /// What is wrong with it.
        found: String,
    },
}

impl fmt::Display for NewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { upstream, address } => {
                write!(f, "upstream {upstream:?}: server {address:?} is not host:port")
            }
            Self::CaFile { upstream, path, source } => {
                write!(f, "upstream {upstream:?}: cannot read the CA file {}: {source}", path.display())
            }
            Self::CaContent { upstream, path, found } => {
                write!(
                    f,
                    "upstream {upstream:?}: the CA file {} is not a PEM bundle of certificates: {found}",
                    path.display()
                )
            }
            Self::Identity { upstream, path, found } => {
                write!(f, "upstream {upstream:?}: {} cannot be used: {found}", path.display())
            }
            Self::Terms { upstream, found } => {
                write!(f, "upstream {upstream:?}: its `tls` cannot be used: {found}")
            }
            Self::SystemRoots { upstream, found } => write!(
                f,
                "upstream {upstream:?}: the system's root certificates cannot be used: {found}; install them or set tls.ca"
            ),
            Self::HealthCheck { upstream, found } => {
                write!(f, "upstream {upstream:?}: the health check cannot be sent: {found}")
            }
        }
    }
}

impl Error for NewError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::CaFile { source, .. } => Some(source),
            _ => None,
        }
    }
}
