//! The limits of resources, their followers and their memory, by name.
//!
//! Must not know: how any of them is counted.

use crate::metrics::RefusalReason;

/// The limit that leaves no room: everything that it bounds is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `limits.resources`.
    Resources,
    /// `max_resources` of the route.
    Route,
    /// `limits.resources_per_address`.
    Address,
    /// `limits.resources_per_subject`.
    Subject,
    /// `max_clients_per_resource` of the route.
    Followers,
    /// `limits.snapshot_bytes`.
    Bytes,
    /// `limits.snapshot_bytes_per_address`.
    AddressBytes,
    /// `limits.new_resources_per_address`.
    Newcomers,
}

impl Full {
    /// The limit as metrics and the access log say it.
    pub fn reason(self) -> RefusalReason {
        match self {
            Full::Resources => RefusalReason::Resources,
            Full::Route => RefusalReason::RouteResources,
            Full::Address => RefusalReason::AddressResources,
            Full::Subject => RefusalReason::SubjectResources,
            Full::Followers => RefusalReason::ResourceClients,
            Full::Bytes => RefusalReason::SnapshotBytes,
            Full::AddressBytes => RefusalReason::AddressSnapshotBytes,
            Full::Newcomers => RefusalReason::AddressNewResources,
        }
    }

    /// The key of the limit.
    pub fn key(self) -> &'static str {
        match self {
            Full::Resources => "limits.resources",
            Full::Route => "max_resources",
            Full::Address => "limits.resources_per_address",
            Full::Subject => "limits.resources_per_subject",
            Full::Followers => "max_clients_per_resource",
            Full::Bytes => "limits.snapshot_bytes",
            Full::AddressBytes => "limits.snapshot_bytes_per_address",
            Full::Newcomers => "limits.new_resources_per_address",
        }
    }
}
