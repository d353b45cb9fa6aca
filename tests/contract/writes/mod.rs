//! Writes, and what is polled after them (contract §9).
//!
//! | module | claim it holds |
//! |---|---|
//! | `polls` | §9: a write is followed by a poll for every follower, and nothing older is said to be current |
//! | `reach` | §9: what a write is, how far it reaches, and for which clients |

pub mod polls;
pub mod reach;
