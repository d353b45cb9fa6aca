//! The wire, as clients and upstreams see it: one file a section of the contract.

pub mod sse;
