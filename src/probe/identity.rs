//! Whether an answer depends on the client's identity.
//!
//! Must not know: values of credentials; only their names are here.

use http::{HeaderName, StatusCode, header};

use super::polls::{Observed, Said};
use crate::change::Rules;
use crate::config::Change;
use crate::resource::{Version, VersionNamer};
use crate::upstream::Answer;

/// What an answer to a request without some headers shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Same,
    /// Another status.
    Status(StatusCode),
    /// Other content, while that with the headers stayed the same.
    Content,
    /// The content changed anyway.
    Unclear,
}

/// The effects of what was said otherwise, in the order of the trials.
pub(super) fn effects(observed: &Observed, change: &Change) -> Vec<(Said, Effect)> {
    let (Some(before), Some(after)) = (observed.polls.last(), &observed.after) else {
        return Vec::new();
    };
    let (with_before, with_after) = (version(before, change), version(after, change));
    let effect = |answer: &Answer| {
        if answer.status != before.status && answer.status != after.status {
            return Effect::Status(answer.status);
        }
        match version(answer, change) {
            without if without == with_before || without == with_after => Effect::Same,
            _ if with_before == with_after => Effect::Content,
            _ => Effect::Unclear,
        }
    };
    observed.trials.iter().map(|trial| (trial.said.clone(), effect(&trial.answer))).collect()
}

/// Its content under the rules; as it is if they do not fit.
fn version(answer: &Answer, change: &Change) -> Version {
    let namer = VersionNamer::new(None);
    let content = crate::resource::Content {
        status: answer.status,
        content_type: answer.headers.get(header::CONTENT_TYPE).cloned(),
        headers: http::HeaderMap::new(),
        validators: crate::resource::Validators::default(),
        vary: Vec::new(),
        body: answer.body.clone(),
    };
    let plain = content.version(&namer, &content.body);
    Rules::new(change).snapshot(content, None, &namer).map_or(plain, |snapshot| snapshot.version)
}

/// The headers that matter: those whose absence changed the answer; if only all together did, all.
pub(super) fn that_matter(effects: &[(Said, Effect)]) -> Vec<HeaderName> {
    let matters = |effect: &Effect| matches!(effect, Effect::Status(_) | Effect::Content);
    let without = effects.iter().filter_map(|(said, effect)| match said {
        Said::Without(names) if matters(effect) => Some(names),
        _ => None,
    });
    let single = without.clone().filter(|names| names.len() == 1);
    let found: Vec<HeaderName> = single.flatten().cloned().collect();
    if !found.is_empty() {
        return found;
    }
    without.take(1).flatten().cloned().collect()
}

/// Returns the effect of leaving this one header out.
pub(super) fn without(effects: &[(Said, Effect)], name: &HeaderName) -> Option<Effect> {
    let is_it = |said: &Said| matches!(said, Said::Without(names) if names.len() == 1 && names[0] == *name);
    effects.iter().find(|(said, _)| is_it(said)).map(|(_, effect)| *effect)
}

/// Returns the effect of this header, which the polls did not have.
pub(super) fn with(effects: &[(Said, Effect)], name: &HeaderName) -> Option<Effect> {
    let is_it = |said: &Said| matches!(said, Said::With(header, _) if header == name);
    effects.iter().find(|(said, _)| is_it(said)).map(|(_, effect)| *effect)
}
