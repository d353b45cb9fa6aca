//! Several nodes that poll each resource once together (contract §13).
//!
//! `simulation` holds the rules of `poll/standing` against everything that fails. Must not know: clients, rules of routes,
//! the proxy.

#[cfg(test)]
mod simulation;
