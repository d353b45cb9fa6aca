//! The nouns of the upstream side: what is polled (key), one successful poll (snapshot) and the
//! name of its content (version).
//!
//! Pure values. Must not know: sockets, time, clients.

mod address_text;
mod ambiguous_path;
mod byte_set;
mod content;
mod digest;
mod header;
mod header_kind;
mod held;
mod json;
mod key;
mod known_headers;
mod mapping;
mod media_type;
mod path_digest;
mod printable;
mod reference;
mod reverse_mapping;
mod snapshot;
mod target;
mod text;
mod version;

pub use crate::resource::content::Validators;
pub use crate::resource::media_type::MediaType;
pub use address_text::{ADDRESS_TEXT_BYTES_MAX, push_address};
pub use ambiguous_path::{Readings, resolved};
pub use byte_set::alphanumerics_and;
pub use content::Content;
pub use digest::{Digest, Digester};
pub use header::header_field;
pub use header_kind::{
    HeaderKind, choosing, cookie_pairs, credentials, first_doubt, header_kind, reads_tracing, why_known,
};
pub use held::{HeldBytes, Ledger, fitted};
pub use json::{DEPTH_MAX, Element, Json, Kind, Malformed};
pub use key::{KeyParts, ResourceKey, shown_target};
pub use known_headers::is_tracing;
pub use mapping::{NoTarget, check_target, forwarded_prefix, set_query, stays, upstream_target};
pub use path_digest::{PathDigest, PathDigester};
pub use printable::printable;
pub use reverse_mapping::{Answered, as_clients_see, client_target, destination, replace};
pub use snapshot::{Ignored, Snapshot, detached, fields_weight};
pub use target::{
    CanonicalPath, QueryProblem, Target, canonical_path, canonical_query, decode_lossy, exact_path,
    has_resume, matches_pattern, resume_switch, switch, target_text, tidied,
};
pub use text::decoded;
pub use version::{IfNoneMatch, Version, VersionNamer, opaque_tag, version_of_tag};
