//! How a resource is asked for, as its last answers taught the poll loop.
//!
//! Must not know: when it is polled, what is published.

use std::sync::Arc;

use super::conditional::Conditional;
use super::exchange::{Item, Tag};
use crate::config::Route;
use crate::otlp::Span;
use crate::resource::ResourceKey;
use crate::upstream::BodyClaim;

/// How a resource is asked for.
pub(super) struct FetchState {
    /// What the polls say that they already have.
    pub(super) conditional: Conditional,
    /// What the resource is in a batch. `None` if it is polled by itself.
    pub(super) item: Option<Item>,
    /// The batch that the content is from.
    pub(super) tag: Option<Arc<Tag>>,
    /// Where the last answer came from, if redirects led to another target than the resource's.
    pub(super) settled: Option<String>,
    /// Why the last answer's redirect was not followed, where the route lets some be.
    pub(super) unfollowed: Option<String>,
    /// The last poll carried cookies of the poller's own.
    pub(super) carried_jar: bool,
    /// The room that its bodies take while a poll is in progress.
    pub(super) claim: Arc<BodyClaim>,
    /// The span of the poll in progress, if it is recorded.
    pub(super) span: Option<Span>,
    /// The server of the exchange that just failed, and the whole reason, for the operator's log alone.
    pub(super) failing: (Option<String>, Option<String>),
}

impl FetchState {
    /// Of a resource that was not asked for yet by this loop.
    pub(super) fn new(route: &Route, key: &ResourceKey, claim: Arc<BodyClaim>) -> FetchState {
        FetchState {
            conditional: Conditional::default(),
            item: Item::of(route, key),
            tag: None,
            settled: None,
            unfollowed: None,
            carried_jar: false,
            claim,
            span: None,
            failing: (None, None),
        }
    }

    /// What was published last is no answer of this loop's: the next poll asks with what is published alone.
    pub(super) fn begin_anew(&mut self) {
        self.conditional = Conditional::default();
        self.settled = None;
        self.tag = None;
    }

    /// The last answer was dropped: the next poll asks with what is published.
    pub(super) fn forget_answer(&mut self) {
        self.conditional.forget_renewed();
        self.tag = None;
    }
}
