//! The manual, page by page, as it also stands in `src/manual/*.md`.
//!
//! Owns no code: the pages are text that `cargo doc` shows beside the items they explain, and
//! `tests/manual.rs` holds them to the code.
//!
//! Pages name each other as `[text][page]`. Each page defines these names as files, for readers of the
//! repository; `links.txt` stands before it here and defines them as modules, as the first definition counts.
#![doc = ""]
#![doc = include_str!("links.txt")]
#![doc = ""]
#![doc = include_str!("README.md")]

macro_rules! pages {
    ($($name:ident: $file:literal,)*) => { $(
        #[allow(clippy::doc_lazy_continuation, reason = "pages wrap their lines for readers of the file")]
        #[doc = include_str!("links.txt")]
        #[doc = ""]
        #[doc = include_str!($file)]
        pub mod $name {}
    )* };
}

pages! {
    concepts: "concepts.md",
    quick_start: "quick-start.md",
    clients: "clients.md",
    browsers: "browsers.md",
    libraries: "libraries.md",
    changes_and_feeds: "changes-and-feeds.md",
    writes: "writes.md",
    upstream: "upstream.md",
    sharing: "sharing.md",
    access: "access.md",
    configuration: "configuration.md",
    operations: "operations.md",
    cluster: "cluster.md",
    upgrade: "upgrade.md",
    presence: "presence.md",
    limits: "limits.md",
    security: "security.md",
    from_0_1: "from-0.1.md",
    protocol: "protocol.md",
    architecture: "architecture.md",
}
