//! The manual, page by page, as it also stands in `src/manual/*.md`.
//!
//! Owns no code: the pages are text that `cargo doc` shows beside the items they explain, and
//! `tests/manual.rs` holds them to the code.

#[doc = include_str!("protocol.md")]
pub mod protocol {}
