//! Several nodes that poll each resource once together (contract §13).
//!
//! `ownership` decides what a node is for a resource, and what it may show. Must not know: clients, rules of routes, the
//! proxy.

pub mod ownership;
#[cfg(test)]
mod simulation;
