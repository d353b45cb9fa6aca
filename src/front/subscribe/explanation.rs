//! What a push form would come to, for operators who ask (`/-/explain`): the steps that a request takes, up to the first
//! one that would begin or await something.
//!
//! Must not know: how an explanation is shown.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::NotFollowed;
use super::long_poll::Wanted;
use super::websocket::Instead;
use super::websocket_handshake::{self, offers_ours};
use crate::front::access::client_limit;
use crate::front::access::follow::Foresight;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::{Awaited, Decision, Prospect};
use crate::front::request::transport_choice::Form;
use crate::hub::{Topic, View};
use crate::metrics::{Bypass, ENVELOPE, LONG_POLL, SSE, WEBSOCKET};
use crate::resource::ResourceKey;

impl CoveredRequest<'_> {
    /// Foresees what becomes of a request for a resource that may be shared. Nothing is begun.
    pub(in crate::front) async fn foresee(&mut self, base: &ResourceKey, form: Form) -> Decision {
        if form == Form::Poll {
            return self.foresee_poll(base).await;
        }
        if form == Form::WebSocket && self.is_of_another_origin() {
            return self.of_another_origin();
        }
        let (shared, route) = (self.front.shared.clone(), self.route.clone());
        if let Err(full) = client_limit::would_permit(&shared, self.ctx, Some(&route), true) {
            return Decision::refuse_for_now(Some(route), form == Form::Sse, full);
        }
        let mut writes = self.writes;
        let foresight = self.follow(base, form).foresee(&mut writes);
        self.writes = writes;
        match foresight {
            Ok(Foresight::After(awaited)) => self.foresee_after(awaited, form),
            Ok(Foresight::Known { key, topic, view }) => self.foresee_form(&key, &topic, &view, form).await,
            Err(reason) => match self.not_followed(&reason, form) {
                NotFollowed::Decided(decision) => decision,
                NotFollowed::Closed(code, text) => self.foresee_close(code, text),
            },
        }
    }

    /// Foresees a form whose state is not known yet: what it is if there is one.
    fn foresee_after(&mut self, awaited: Awaited, form: Form) -> Decision {
        match form {
            Form::Sse => Decision::foreseen(Prospect::Stream(SSE), Some(awaited)),
            Form::WebSocket => self.foresee_websocket(Some(awaited)),
            // Whether it is held depends on the state.
            _ => Decision::foreseen(Prospect::Answer, Some(awaited)),
        }
    }

    /// Foresees a form that begins with this view.
    async fn foresee_form(
        &mut self,
        key: &ResourceKey,
        topic: &Arc<Topic>,
        view: &Arc<View>,
        form: Form,
    ) -> Decision {
        match form {
            Form::Sse => {
                self.instead_of_sse(view).unwrap_or_else(|| Decision::foreseen(Prospect::Stream(SSE), None))
            }
            Form::WebSocket => match self.instead_of_websocket(key, view) {
                Some(Instead::Decided(decision)) => decision,
                Some(Instead::Closed(code, text)) => self.foresee_close(code, text),
                None => self.foresee_websocket(None),
            },
            Form::LongPoll(asked) => match self.wanted(topic, view, false) {
                Wanted::Cursor => Decision::PassThrough(Bypass::Cursor),
                Wanted::State if self.name_to_confirm(topic, view).is_some() => {
                    Decision::foreseen(Prospect::Answer, Some(Awaited::Confirmation))
                }
                Wanted::State | Wanted::Answer => self.answer(key, view, false).await,
                Wanted::NotAdmitted => Decision::PassThrough(Bypass::Accept),
                Wanted::Items(_) | Wanted::Change { .. } => {
                    Decision::foreseen(Prospect::Hold(asked.min(self.route.max_wait), LONG_POLL), None)
                }
            },
            Form::Poll | Form::PassThrough | Form::NotAcceptable => Decision::PassThrough(Bypass::Transport),
        }
    }

    fn foresee_websocket(&mut self, awaited: Option<Awaited>) -> Decision {
        let label = if offers_ours(&self.headers) { ENVELOPE } else { WEBSOCKET };
        match websocket_handshake::greeting(self.connection.head(), None) {
            ControlFlow::Continue(_) => Decision::foreseen(Prospect::Stream(label), awaited),
            ControlFlow::Break(decision) => decision,
        }
    }

    /// Foresees a WebSocket that is accepted only to be closed with a code.
    pub(in crate::front) fn foresee_close(&mut self, code: u16, text: &'static str) -> Decision {
        let (shared, route) = (self.front.shared.clone(), self.route.clone());
        if let Err(full) = client_limit::would_permit(&shared, self.ctx, Some(&route), true) {
            return Decision::refuse_for_now(Some(route), false, full);
        }
        match websocket_handshake::greeting(self.connection.head(), None) {
            ControlFlow::Continue(_) => Decision::foreseen(Prospect::Close(code, text), None),
            ControlFlow::Break(decision) => decision,
        }
    }
}
