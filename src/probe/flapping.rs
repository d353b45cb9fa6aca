//! Members that differ on every poll while the rest stays the same: times, request ids, counters.
//!
//! A place is only told of members that did differ: by its position in an array, or for all items where each of them did.
//! Must not know: requests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::noise::looks_like_noise;

/// Most differing places between two polls that are still told apart; those of one list's items are one.
const PLACES_MAX: usize = 1000;

/// Most differing values between two polls that are looked at.
const VALUES_MAX: usize = 20_000;

/// Most members reported.
const REPORTED_MAX: usize = 20;

/// A member that differed between every two successive polls.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flapping {
    /// As `change.ignore` takes it: a JSON Pointer, or JSONPath through arrays.
    pub(super) place: String,
    /// Whether it looks like a time, an id of the answer or the like, and not like data.
    pub(super) is_noise: bool,
}

/// What the polls have in common.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Flaps {
    pub(super) members: Vec<Flapping>,
    /// Steps from one poll to the next in which nothing else differed.
    pub(super) alone: usize,
    pub(super) steps: usize,
    /// Every value of the body differs on every poll: without these nothing would be left.
    pub(super) are_all: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Name(String),
    At(usize),
    /// Any item of an array.
    Each,
}

type Place = Vec<Step>;

/// The differences between two polls.
#[derive(Default)]
struct Difference {
    /// Values that differ, and whether they look like noise.
    values: BTreeMap<Place, bool>,
    /// Where an array got another length, or a container came, went or became something else: no telling what of it
    /// differed.
    wholes: Vec<Place>,
    /// The places of `values` without positions.
    general: BTreeSet<Place>,
}

impl Difference {
    /// Whether something of this place may have differed, though it cannot be told.
    fn hides(&self, place: &[Step]) -> bool {
        self.wholes.iter().any(|whole| whole.len() <= place.len() && fits(whole, &place[..whole.len()]))
    }

    fn has(&self, form: &Place) -> bool {
        self.general.contains(form)
            || self.values.contains_key(form)
            || self.values.keys().any(|place| fits(place, form))
    }
}

/// Whether a place with positions is one of those that a form names.
fn fits(place: &[Step], form: &[Step]) -> bool {
    place.len() == form.len()
        && place.iter().zip(form).all(|(place, form)| match (place, form) {
            (Step::At(_), Step::Each) | (Step::Each, Step::At(_)) => true,
            (place, form) => place == form,
        })
}

/// The members that differ in every step of these bodies.
pub(super) fn flaps(bodies: &[Value]) -> Flaps {
    let mut steps = Vec::new();
    for pair in bodies.windows(2) {
        let mut found = Difference::default();
        if let [before, after] = pair
            && differences(before, after, &mut Vec::new(), &mut found)
        {
            steps.push(found);
        } else {
            // Nearly everything differs.
            return Flaps::default();
        }
    }
    if steps.is_empty() {
        return Flaps::default();
    }
    let differed: BTreeSet<&Place> = steps.iter().flat_map(|step| step.values.keys()).collect();
    let mut forms: Vec<Place> = Vec::new();
    // The widest form first: one place for a whole list where that is true.
    for widen in [general, of_items, exact] {
        let wider: BTreeSet<Place> = differed.iter().map(|place| widen(place)).collect();
        // As many positions are no list for people.
        for form in wider.into_iter().take(PLACES_MAX) {
            let is_told = forms.iter().any(|told| fits(&form, told));
            if !form.is_empty()
                && !is_told
                && is_of_every_step(&form, &steps)
                && all_differed(&form, bodies, &differed)
            {
                forms.push(form);
            }
        }
    }
    let is_told = |place: &Place| forms.iter().any(|form| fits(place, form));
    let is_alone = |step: &&Difference| step.wholes.is_empty() && step.values.keys().all(is_told);
    let alone = if forms.is_empty() { 0 } else { steps.iter().filter(is_alone).count() };
    let are_all = !forms.is_empty()
        && bodies.iter().all(|body| leaves(body, &mut Vec::new(), &mut |place| is_told(place)));
    let is_noise = |form: &Place| {
        let mut values = steps.iter().flat_map(|step| &step.values).filter(|(place, _)| fits(place, form));
        values.all(|(_, is_noise)| *is_noise)
    };
    let mut members: Vec<Flapping> =
        forms.iter().map(|form| Flapping { place: written(form), is_noise: is_noise(form) }).collect();
    members.sort_by(|a, b| a.place.cmp(&b.place));
    members.truncate(REPORTED_MAX);
    Flaps { members, alone, steps: steps.len(), are_all }
}

/// Whether members of this form differed in each step, as far as can be told.
fn is_of_every_step(form: &Place, steps: &[Difference]) -> bool {
    let is_exact = form.iter().any(|step| matches!(step, Step::At(_)));
    steps.iter().any(|step| step.has(form))
        && steps.iter().all(|step| match step.hides(form) {
            // The same position of arrays that grow is another item.
            true => !is_exact,
            false => step.has(form),
        })
}

/// Each value that a form names has differed at least once: nothing that stayed as it was would be hidden.
fn all_differed(form: &Place, bodies: &[Value], differed: &BTreeSet<&Place>) -> bool {
    bodies.iter().all(|body| {
        leaves(body, &mut Vec::new(), &mut |place| {
            let is_below = place.len() >= form.len() && fits(&place[..form.len()], form);
            !is_below || differed.contains(place)
        })
    })
}

/// Whether this holds for the place of each value that is no container (an empty one is a value).
fn leaves(value: &Value, at: &mut Place, holds: &mut impl FnMut(&Place) -> bool) -> bool {
    match value {
        Value::Object(members) if !members.is_empty() => members.iter().all(|(name, value)| {
            at.push(Step::Name(name.clone()));
            let all = leaves(value, at, holds);
            at.pop();
            all
        }),
        Value::Array(items) if !items.is_empty() => items.iter().enumerate().all(|(number, value)| {
            at.push(Step::At(number));
            let all = leaves(value, at, holds);
            at.pop();
            all
        }),
        _ => holds(at),
    }
}

fn general(place: &Place) -> Place {
    place.iter().map(|step| if let Step::At(_) = step { Step::Each } else { step.clone() }).collect()
}

/// Any item of a list, but the position in an array of plain values: such an array is one value of several parts.
fn of_items(place: &Place) -> Place {
    let mut form = general(place);
    if let (Some(to), Some(Step::At(number))) = (form.last_mut(), place.last()) {
        *to = Step::At(*number);
    }
    form
}

fn exact(place: &Place) -> Place {
    place.clone()
}

/// Returns `false` if there are too many.
fn differences(a: &Value, b: &Value, at: &mut Place, found: &mut Difference) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                at.push(Step::Name(name.clone()));
                let few = match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => differences(a, b, at, found),
                    (one, other) => note(one.or(other).unwrap_or(&Value::Null), at, found),
                };
                at.pop();
                if !few {
                    return false;
                }
            }
            true
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().all(|(number, (a, b))| {
                at.push(Step::At(number));
                let few = differences(a, b, at, found);
                at.pop();
                few
            })
        }
        _ if a == b => true,
        _ if is_container(a) => note(a, at, found),
        _ => note(b, at, found),
    }
}

fn is_container(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

fn note(value: &Value, at: &Place, found: &mut Difference) -> bool {
    if is_container(value) {
        found.wholes.push(at.clone());
        return found.wholes.len() <= PLACES_MAX;
    }
    let name = at.iter().rev().find_map(|step| match step {
        Step::Name(name) => Some(name.as_str()),
        Step::At(_) | Step::Each => None,
    });
    let is_noise = looks_like_noise(name.unwrap_or_default(), value);
    found.values.insert(at.clone(), is_noise);
    found.general.insert(general(at));
    found.general.len() <= PLACES_MAX && found.values.len() <= VALUES_MAX
}

/// A JSON Pointer; through arrays JSONPath.
fn written(at: &[Step]) -> String {
    if at.iter().any(|step| !matches!(step, Step::Name(_))) {
        let step = |step: &Step| match step {
            Step::Each => "[*]".to_owned(),
            Step::At(number) => format!("[{number}]"),
            Step::Name(name) if is_plain(name) => format!(".{name}"),
            // As JSONPath's double-quoted names, escapes are those of JSON.
            Step::Name(name) => format!("[{}]", Value::from(name.as_str())),
        };
        return format!("${}", at.iter().map(step).collect::<String>());
    }
    let step = |step: &Step| match step {
        Step::Name(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
        Step::At(_) | Step::Each => String::new(),
    };
    at.iter().map(step).collect()
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
