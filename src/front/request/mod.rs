//! What a request says: its framing and limits, its target and route, the form and the codings that it asks for.
//!
//! Must not know: resources, what is answered.

pub(super) mod accept;
pub(super) mod body;
pub(super) mod client_address;
pub(super) mod content_coding;
pub(super) mod cors;
pub(super) mod delta_choice;
pub(super) mod field_names;
pub(super) mod framing;
pub(super) mod hosts;
pub(super) mod limits;
pub(super) mod origin_key;
pub(super) mod origins;
pub(super) mod presence_choice;
pub(super) mod route;
pub(super) mod route_patterns;
pub(super) mod target;
pub(super) mod transport_choice;
