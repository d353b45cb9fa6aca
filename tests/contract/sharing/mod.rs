//! Which clients are let in, and which may share a poll (contract §11).
//!
//! | module | claim it holds |
//! |---|---|
//! | `authorize_certificates` | §11, §12: `share: authorize` of clients that are known by certificates |
//! | `authorize_identity` | §11: the same where pollcast knows who asks |
//! | `authorize` | §11: shared answers, each client admitted by what its own credentials get |
//! | `classes` | §11: which clients may share a poll |
//! | `identity` | §11: which clients are let in, by what, and until when |

pub mod authorize;
pub mod authorize_certificates;
pub mod authorize_identity;
pub mod classes;
pub mod identity;
