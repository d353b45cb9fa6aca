//! Versions (contract §2, §13): when a state has another name, and what a client does with one.
//!
//! | module | claim it holds |
//! |---|---|
//! | `change` | §2: what counts as a change: rules, selections, what should be JSON and is not |
//! | `conditions` | §2: entity tags on pass-through |
//! | `replicas` | §2: several nodes and lagging upstream replicas behind one address |

pub mod change;
pub mod conditions;
pub mod replicas;
