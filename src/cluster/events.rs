//! What a node hears: the engine's comings and goings, and what the other nodes say.
//!
//! Nothing is believed that does not open, and no message counts that is said once more. Must not know: what is done on
//! the engine.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::engine::{Event, believed};
use super::message::{Beat, Message, Said, Unchanged};
use super::node::{Node, State};
use super::node_resource::NodeResource;
use super::seal::{HEADER_BYTES, Head, Kind, Name, Secret, Undecodable};
use crate::metrics::ClaimCause;
use crate::poll::backplane::{Found, Release, Report, Role};

/// Sessions of which the last message is remembered.
const HEARD_MAX: usize = 1024;

impl Node {
    /// Takes what the engine tells.
    pub(super) fn event(&self, event: Event) {
        match event {
            Event::Back => self.is_back(),
            Event::Lost(loss) => self.is_lost(loss),
            Event::Returned(took) => self.metrics.returned(took),
            Event::Became { name, sealed } => {
                self.metrics.bytes.with_label_values(&["in"]).inc_by(sealed.len() as u64);
                let resource = self.state.lock().resources.get(&name).cloned();
                if let Some(resource) = resource
                    && let Err(found) = resource.became(&sealed)
                {
                    self.undecodable(found);
                    if found == Undecodable::Version && resource.state.lock().role == Role::Mirror {
                        // What is stored says whether a later version holds it: anyone can say something unreadable.
                        self.claim(&name, ClaimCause::Back, String::new());
                    }
                }
            }
            Event::Said { number, message } => {
                self.metrics.bytes.with_label_values(&["in"]).inc_by(message.len() as u64);
                match self.opened(&message) {
                    Ok(Some((message, secret))) => {
                        // The engine's number stands in front of the seal: one from the future would settle all wants.
                        let believed = number.and_then(|number| believed(number, self.clock_ms()));
                        if believed != number {
                            self.undecodable(Undecodable::Form);
                        }
                        self.heard(message, &secret, believed);
                    }
                    Ok(None) => {}
                    Err(found) => self.undecodable(found),
                }
            }
        }
    }

    /// Opens a message. Returns it with the secret that it was sealed with, or `None` if it is one's own, of a later kind, or
    /// said once more.
    fn opened(&self, sealed: &Bytes) -> Result<Option<(Message, Arc<Secret>)>, Undecodable> {
        let head = Head::read(sealed)?;
        let open = |secret: &Secret| {
            let mut bytes = sealed.to_vec();
            let count = secret.messages().open(Kind::Message, &Name::ALL, &mut bytes)?.len();
            Ok(Bytes::from(bytes).slice(HEADER_BYTES..HEADER_BYTES + count))
        };
        let (plain, secret) = match (open(&self.secret), &self.previous) {
            (Err(Undecodable::Seal), Some(previous)) => (open(previous)?, previous.clone()),
            (opened, _) => (opened?, self.secret.clone()),
        };
        let message = Message::read(plain)?;
        let mut state = self.state.lock();
        // A want comes back to its own node, too, which may be the holder.
        if message.session == state.session && !matches!(message.said, Said::Want(..)) {
            return Ok(None);
        }
        if state.heard.len() >= HEARD_MAX && !state.heard.contains_key(&message.session) {
            let State { heard, members, .. } = &mut *state;
            heard.retain(|session, _| members.lives(session));
            if heard.len() >= HEARD_MAX {
                self.metrics.overflows.inc();
                return Ok(None);
            }
        }
        let is_new = state.heard.entry(message.session.clone()).or_default().is_new(head.order.sequence);
        Ok(is_new.then_some((message, secret)))
    }

    fn heard(&self, message: Message, secret: &Arc<Secret>, number: Option<u64>) {
        let Message { session, said } = message;
        match said {
            Said::Beat(beat) => self.heard_beat(&session, beat),
            Said::Claimed(claimed) => {
                claimed.iter().for_each(|(name, fence)| self.heard_claim(&session, name, *fence))
            }
            Said::Free(name, fence, why) => self.heard_free(&name, fence, why),
            Said::Want(name, kind) => {
                let resource = self.state.lock().resources.get(&name).cloned();
                if let (Some(resource), Some(number)) = (resource, number) {
                    {
                        let mut state = resource.state.lock();
                        state.heard_want = state.heard_want.max(number);
                    }
                    resource.inbox.tell_want(number, kind);
                }
            }
            Said::Written(notice) => {
                if let Some(writes) = self.writes.get() {
                    writes.hear(notice, secret.clone(), number);
                }
            }
            Said::Unknown => {}
        }
    }

    fn heard_beat(&self, session: &str, beat: Beat) {
        self.hear_quotas(&beat.upstreams);
        let resources: Vec<(Unchanged, Arc<NodeResource>)> = {
            let state = self.state.lock();
            let resource = |number: &u64| state.resources.get(state.numbers.get(number)?).cloned();
            beat.unchanged
                .iter()
                .filter_map(|unchanged| Some((*unchanged, resource(&unchanged.resource)?)))
                .collect()
        };
        for (unchanged, resource) in resources {
            let mut state = resource.state.lock();
            if state.role == Role::Mirror && state.holder == session {
                state.settled = state.settled.max(unchanged.settled);
                state.holder_has(unchanged.order);
                let (order, settled, age) = (unchanged.order, unchanged.settled, unchanged.age);
                resource.inbox.tell_report(Report { order, settled, age, found: Found::Unchanged });
            }
        }
        let is_news = {
            let mut state = self.state.lock();
            let is_leaving = beat.is_leaving && state.members.leaves(session);
            if state.told.len() < HEARD_MAX || state.told.contains_key(session) {
                // What it found is of no use any more.
                state
                    .told
                    .insert(session.to_owned(), (Beat { unchanged: Vec::new(), ..beat }, Instant::now()));
            }
            is_leaving
        };
        if is_news {
            self.succeed();
        }
    }

    fn heard_claim(&self, session: &str, name: &Name, fence: u64) {
        let Some(resource) = self.state.lock().resources.get(name).cloned() else { return };
        let mut state = resource.state.lock();
        if fence <= state.fence {
            return;
        }
        (state.fence, state.reports) = (fence, 0);
        session.clone_into(&mut state.holder);
        (state.is_vacant, state.is_dormant) = (false, false);
        if matches!(state.role, Role::Holder { .. } | Role::Mirror) {
            resource.becomes(&mut state, Role::Mirror);
        }
    }

    fn heard_free(&self, name: &Name, fence: u64, why: Release) {
        let Some(resource) = self.state.lock().resources.get(name).cloned() else { return };
        {
            let mut state = resource.state.lock();
            if state.fence != fence || state.role != Role::Mirror {
                return;
            }
            state.holder.clear();
            state.is_dormant = why == Release::Dormant;
            if state.is_dormant {
                // A client of this node may want it polled.
                resource.inbox.tell_role(state.role);
                return;
            }
        }
        // Whichever is asked first has it; the others are refused and mirror it.
        self.claim(name, ClaimCause::Free, String::new());
    }
}
