//! The one test binary (each further one would link the proxy again), as an index:
//!
//! | module | claim it holds |
//! |---|---|
//! | `support` | no claims: a scriptable legacy API, real clients, the process under test |
//! | `support_works` | the tools above show every misbehaviour as it is, so a green test means something |
//! | `contract` | what clients and upstreams see: polls, streams, sockets, held polls, shared polls |
//! | `cluster` | several nodes poll once together, and the engine between them may fail in every way it can |
//! | `hostile` | what hostile clients and upstreams try, in tables, and how each try is answered |
//! | `faults` | no client loses, repeats or goes back, whatever upstream, network and other clients do; nothing leaks |
//! | `leaks` | two users and an anonymous client: no byte that one receives is another's, whatever the options are |
//! | `differential` | a covered URL never works worse: generated exchanges, directly and through pollcast, compared |
//! | `bodies` | recorded bodies of the usual kinds of APIs change in small patches |
//! | `manual` | what comments cite exists, and what README and the manual say is so |
//! | `reload` | the running process takes a new configuration, and no stream that it still allows notices |
//! | `packaging` | conf/ and the readiness probe name only what exists |
//! | `layers` | the source keeps the architecture: which file may import which, which may name the proxy, file sizes |

mod bodies;
mod cluster;
mod contract;
mod differential;
mod faults;
mod hostile;
mod layers;
mod leaks;
mod manual;
mod packaging;
mod reload;
#[allow(dead_code, unused_imports, reason = "a toolbox: not every tool has a user at every commit")]
mod support;
mod support_works;
