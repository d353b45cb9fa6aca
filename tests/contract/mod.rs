//! The wire, as clients and upstreams see it: one file a section of the contract.

pub mod admin;
pub mod command_line;
pub mod conditions;
pub mod drain;
pub mod edge_support;
pub mod failure;
pub mod framing;
pub mod passthrough;
pub mod replicas;
pub mod sharing;
pub mod sse;
