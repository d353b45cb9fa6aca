//! How an API is asked (contract §10).
//!
//! | module | claim it holds |
//! |---|---|
//! | `batch` | §10: many resources of a route in one request |
//! | `connections` | §10: which clients' requests an upstream connection carries |
//! | `digest` | §10: polls of upstreams that want Digest authentication |
//! | `failure` | §3, §5, §10: what clients see while the upstream misbehaves |
//! | `forwarded_for` | §10: the address that a poll says it is for |
//! | `memory_of_polls` | §10: bodies of polls in progress have one bound |
//! | `nginx` | §10: a real nginx with old protocols × ways of asking, with `curl` beside it |
//! | `other_servers` | §10: servers of tokens, of key sets, of questions about clients: over sockets, through proxies, verified |
//! | `path` | §10: an API that lives on other paths: where requests go, what answers say |
//! | `schedule` | §10: when the upstream is asked: adaptive, its own words, budgets, the breaker |
//! | `secret_file` | §10: secrets of polls in files that other programs replace |
//! | `sharing_of_polls` | §10: one poll an interval, whatever the number and kinds of clients |
//! | `sources` | §10, §11: how a poll reaches its answer: redirects, credentials, cookies, sessions |
//! | `tls_kinds` | §10: kinds of TLS servers × ways of asking: self-signed, pinned, old |
//! | `tls` | the servers that pollcast trusts, and the certificate that it shows |
//! | `ways` | §10: ways to a server × ways of asking: sockets, proxies, and what is told where there is none |

pub mod batch;
pub mod connections;
pub mod digest;
pub mod failure;
pub mod forwarded_for;
pub mod memory_of_polls;
pub mod nginx;
pub mod other_servers;
pub mod path;
pub mod schedule;
pub mod secret_file;
pub mod sharing_of_polls;
pub mod sources;
pub mod tls;
pub mod tls_kinds;
pub mod ways;
