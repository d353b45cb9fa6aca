//! Who pays for the resources that a request asks for first, and how many that may be.
//!
//! Must not know: resources.

use std::net::IpAddr;

use super::Shared;
use crate::hub::{Payer, Purse};

/// None: nobody is charged.
pub(super) fn purse(shared: &Shared, client: Option<IpAddr>) -> Option<Purse> {
    let most = shared.config.limits.resources_per_address?;
    Some(Purse { payer: Payer::Address(client?), most })
}
