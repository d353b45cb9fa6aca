//! Plain requests that name a state which this process has never held (contract §2, §13): of another node, of an answer
//! that passed through, of a replica that was ahead. What is held may be older than what such a client has seen.
//!
//! One poll confirms it first, which all requests that name such states share; there is at most one beside the schedule in half
//! an interval. Must not know: push clients, which have the same rule (`hub::Subscription`).

use http::header;
use tokio::time::{Instant, timeout};

use crate::front::covered_request::CoveredRequest;
use crate::hub::{Attendance, Name, Outcome, Topic, View};
use crate::resource::{opaque_tag, version_of_tag};

/// Most tags that are looked up for one request.
const TAGS_MAX: usize = 16;

impl CoveredRequest<'_> {
    /// Waits for a poll that starts after the request came, if it names a state that was never held and that poll can
    /// come within `first_answer`. Returns whether it waited.
    pub(super) async fn await_confirmation(&self, attendance: &Attendance) -> bool {
        let topic = attendance.topic();
        let view = topic.view();
        if !matches!(view.outcome, Outcome::Data) || view.closing.is_some() {
            return false;
        }
        let Some(name) = self.unknown_name(topic, &view) else { return false };
        let patience = self.route.first_answer;
        let earliest = view.ended_at.map(|at| at + self.route.poll.interval / 2);
        // Where other nodes publish, too, what they have is looked up at once.
        if !topic.is_shared() && earliest.is_some_and(|at| at > Instant::now() + patience) {
            // A slow resource: half an interval is as near as its polls come.
            return false;
        }
        let number = attendance.next_poll();
        topic.want_confirmed_for(number, name);
        let ended = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
        timeout(patience, ended).await.is_ok()
    }

    /// A state that its If-None-Match names, if all that it names may be newer than what is held here: they were never
    /// held, neither by the version nor by the upstream's own tag.
    fn unknown_name(&self, topic: &Topic, view: &View) -> Option<Name<'static>> {
        let frame = view.frame.as_ref()?;
        let lines = self.headers.get_all(header::IF_NONE_MATCH).iter();
        let tags = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        let mut named = None;
        for tag in tags.map(str::trim).filter(|tag| !tag.is_empty()).take(TAGS_MAX) {
            let version = version_of_tag(tag);
            let is_known = tag == "*"
                || version == Some(frame.version())
                || version.is_some_and(|version| topic.is_not_newer(version))
                || topic.is_tag_not_newer(opaque_tag(tag.as_bytes()));
            if is_known {
                return None;
            }
            named = Some(match (named, version) {
                (None, Some(version)) => Name::Tag(version.tag()),
                // Of several any one may be the newest.
                _ => Name::Other,
            });
        }
        named
    }
}
