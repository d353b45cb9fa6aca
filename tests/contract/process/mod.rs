//! The process: commands, the log, the operators' view, its start and its end.
//!
//! | module | claim it holds |
//! |---|---|
//! | `admin` | §1, §12: the operators' view, on its own listener only |
//! | `command_line` | commands, exit codes, messages, the log |
//! | `dashboard` | the page at `/` of the admin listener, what feeds it, and what it never shows |
//! | `descriptors` | a process with few open files: what it tells, what it keeps for polls, how it goes on |
//! | `drain` | §12: how the process ends |
//! | `explain` | what `/-/explain` and `pollcast explain` foresee is what a request gets, and asking changes nothing |
//! | `log_reader` | what reads the log may hang or go away |
//! | `probe` | `check --probe`: what an upstream's answers say about how to poll them |
//! | `probe_ways` | `check --probe` of a server that is not reached: the lines of `proxy` |
//! | `reasons` | one word for why a request passed through or was refused |
//! | `reuse_port` | several processes listen on one address |
//! | `route_off` | §12: an operator makes a route a plain proxy at once, until the next reload |
//! | `tracing` | spans reach a collector, go on with traces of clients, and hold nothing up |
//! | `upgrade` | a new process takes the listening sockets of the old one, and no client notices |

pub mod admin;
pub mod command_line;
pub mod dashboard;
pub mod descriptors;
pub mod drain;
pub mod explain;
pub mod log_reader;
pub mod probe;
pub mod probe_ways;
pub mod reasons;
pub mod reuse_port;
pub mod route_off;
pub mod tracing;
pub mod upgrade;
