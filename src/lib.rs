//! pollcast: a reverse proxy that turns polling into push.
//!
//! The path of the data is a sentence, and the modules stand in its order:
//! poll → snapshot → change → frame → subscriber. `resource` and `config` are the nouns,
//! `upstream` asks, `change` says what counts as a change, `poll` is the poll loop, `frame` encodes
//! once, `hub` knows which client follows what, `transport` is each protocol as a state machine, `fanout` the
//! client loop, `identity` says who a client is, `listener` has a socket until there is a request, `front` takes requests in through Pingora, `admin` is
//! the operator's view, `cluster` has several nodes poll as one, `app` wires them, `upgrade` hands the listening sockets to the next process,
//! `access_log` makes the line of a request that has ended, `log_writer` takes log lines without waiting for their reader.
//!
//! Where this departs from the first design: held long-polls over plain TCP keep the bare socket and
//! not the proxy's stream, which cost several times as much memory; signals are `main`'s own.
//!
//! A file imports only from layers below its own; `tests/layers.rs` holds the table.

pub mod access_log;
pub mod admin;
pub mod app;
pub mod change;
pub mod check;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod fanout;
pub mod frame;
pub mod front;
pub mod hub;
pub mod identity;
pub mod listener;
pub mod log_writer;
pub mod manual;
mod memory;
pub mod metrics;
pub mod otlp;
pub mod poll;
pub mod probe;
pub mod resource;
pub mod transport;
pub mod upgrade;
pub mod upstream;
