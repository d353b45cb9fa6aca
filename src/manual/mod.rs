//! The manual, page by page, as it also stands in `src/manual/*.md`.
//!
//! Owns no code: the pages are text that `cargo doc` shows beside the items they explain, and
//! `tests/manual.rs` holds them to the code.

#[allow(clippy::doc_lazy_continuation, reason = "the page wraps its lines for readers of the file")]
#[doc = include_str!("protocol.md")]
pub mod protocol {}
