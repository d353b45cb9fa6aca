//! How much of the body a change is: patches between the polls.
//!
//! Must not know: requests.

use serde_json_path::JsonPath;

use super::destination::Destination;
use super::flapping::Flapping;
use crate::change::{Rules, json_patch};
use crate::config::{Change, Members, Route, Share};
use crate::resource::{Snapshot, VersionNamer};
use crate::upstream::Answer;
use crate::upstream::classify::{Terms, Verdict, judge};

/// The changes among the polls, under the route's rules and those suggested.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Differences {
    /// Polls that could be compared with the one before.
    pub(super) steps: usize,
    pub(super) changed: usize,
    /// Sum of the patches' bytes, and of the bodies they stand for; `None` if a change had no patch.
    pub(super) patches: Option<(usize, usize)>,
    /// Why the rules could not be applied.
    pub(super) unfit: Option<String>,
}

/// The rules of the route with what looks like noise left out too.
pub(super) fn rules(destination: &Destination, flapping: &[Flapping]) -> Change {
    let mut change = destination.route.change.clone();
    let noise = flapping.iter().filter(|member| member.is_noise);
    change.ignore.extend(noise.filter_map(|member| members(&member.place)));
    change
}

fn members(place: &str) -> Option<Members> {
    if place.starts_with('$') {
        return JsonPath::parse(place).ok().map(|path| Members::Path(Box::new(path)));
    }
    Some(Members::Pointer(place.to_owned()))
}

pub(super) fn differences(destination: &Destination, change: &Change, polls: &[Answer]) -> Differences {
    let rules = Rules::new(change);
    // Whether an answer may be shared is another question.
    let route = Route { share: Share::Public, ..(*destination.route).clone() };
    let terms = Terms { route: &route, private: false, known_type: None };
    let namer = VersionNamer::new(None);
    let mut found = Differences { patches: Some((0, 0)), ..Differences::default() };
    let mut previous: Option<Snapshot> = None;
    for answer in polls {
        let Verdict::Data(content) = judge(answer, &terms) else {
            continue;
        };
        let snapshot = match rules.snapshot(*content, previous.as_ref(), &namer) {
            Ok(snapshot) => snapshot,
            Err(unfit) => {
                found.unfit = Some(unfit.reason);
                continue;
            }
        };
        if let Some(previous) = &previous {
            found.steps += 1;
            if previous.version != snapshot.version {
                found.changed += 1;
                let patch = json_patch(previous, &snapshot, usize::MAX);
                found.patches = found
                    .patches
                    .zip(patch)
                    .map(|((patches, bodies), patch)| (patches + patch.len(), bodies + snapshot.body.len()));
            }
        }
        previous = Some(snapshot);
    }
    found
}
