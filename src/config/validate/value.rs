//! Readers of plain values: text of the file into a number, a time, a header, within its bounds.
//!
//! A value that is missing leaves what was there; a bad one is told and leaves it too.
//! Must not know: any key.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::super::problem::{Findings, Place, suggestion};
use super::super::raw::{Count, Flag, List, Rate, Size, Text, Time};

/// A key of a mapping: where it is and what it holds. Made by [`at!`](at), so that the place cannot differ
/// from the field.
pub type Said<'a, T> = (Place, Option<&'a T>);

/// The place of a field and what it holds: place and field cannot differ.
macro_rules! at {
    ($place:expr, $raw:ident.$field:ident) => {
        ($place.key(stringify!($field)), $raw.$field.as_ref())
    };
}
pub(super) use at;

/// A length of time as people write it: `2s`, `1m 30s`.
pub fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Bytes as people write them: `64KiB`.
fn size(bytes: usize) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift)) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

impl Findings {
    /// Tells that a value is not what was wanted: `"x" is not …`.
    pub fn bad(&mut self, place: &Place, value: &str, message: &str) {
        let message = format!("{} {message}", self.quote(place, value));
        self.problem(place, message);
    }

    /// Tells a value out of bounds; the words are those for below and above.
    fn bounded<T: PartialOrd>(
        &mut self,
        place: &Place,
        said: &str,
        value: T,
        bounds: &RangeInclusive<T>,
        words: (&str, &str),
        show: fn(&T) -> String,
    ) -> Option<T> {
        if value < *bounds.start() {
            self.bad(place, said, &format!("is too {}; at least {}", words.0, show(bounds.start())));
        } else if value > *bounds.end() {
            self.bad(place, said, &format!("is too {}; at most {}", words.1, show(bounds.end())));
        } else {
            return Some(value);
        }
        None
    }

    /// Reads a length of time. Returns `None`, and reports the problem, if the text is not one or is out of bounds.
    pub fn read_time(
        &mut self,
        place: &Place,
        said: &Time,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        match humantime::parse_duration(&said.0) {
            Ok(value) => self.bounded(place, &said.0, value, bounds, ("short", "long"), |bound| time(*bound)),
            Err(_) => {
                self.bad(place, &said.0, "is not a length of time; write it like 500ms, 2s or 1m 30s");
                None
            }
        }
    }

    /// Reads a length of time into `to`.
    pub fn time(
        &mut self,
        (place, said): Said<'_, Time>,
        bounds: RangeInclusive<Duration>,
        to: &mut Duration,
    ) {
        if let Some(value) = said.and_then(|said| self.read_time(&place, said, &bounds)) {
            *to = value;
        }
    }

    /// As [`Findings::time`]; `off` becomes `None`.
    pub fn time_or_off(
        &mut self,
        (place, said): Said<'_, Time>,
        bounds: RangeInclusive<Duration>,
        to: &mut Option<Duration>,
    ) {
        match said {
            Some(said) if said.0 == "off" => *to = None,
            Some(said) => *to = self.read_time(&place, said, &bounds).or(*to),
            None => {}
        }
    }

    /// Two times, the second no shorter than the first.
    pub fn times(
        &mut self,
        (place, said): Said<'_, List<Time>>,
        bounds: RangeInclusive<Duration>,
        to: &mut (Duration, Duration),
    ) {
        let Some(said) = said else { return };
        let [shortest, longest] = said.as_slice() else {
            self.problem(&place, "expected two times, the shortest and the longest, as [2s, 8s]");
            return;
        };
        let mut read = |index: usize, item: &Option<Time>| {
            item.as_ref().and_then(|item| self.read_time(&place.index(index), item, &bounds))
        };
        if let (Some(shortest), Some(longest)) = (read(0, shortest), read(1, longest)) {
            match shortest <= longest {
                true => *to = (shortest, longest),
                false => self
                    .problem(&place, "the first time is longer than the second; write [shortest, longest]"),
            }
        }
    }

    /// Reads a whole number. Returns `None`, and reports the problem, if the text is not one or is out of bounds.
    pub fn read_count(
        &mut self,
        place: &Place,
        said: &Count,
        bounds: &RangeInclusive<usize>,
    ) -> Option<usize> {
        match said.0.parse() {
            Ok(value) => self.bounded(place, &said.0, value, bounds, ("small", "large"), usize::to_string),
            Err(_) => {
                self.bad(
                    place,
                    &said.0,
                    &format!("is not a whole number from {} to {}", bounds.start(), bounds.end()),
                );
                None
            }
        }
    }

    /// Reads a whole number into `to`.
    pub fn count(&mut self, (place, said): Said<'_, Count>, bounds: RangeInclusive<usize>, to: &mut usize) {
        if let Some(value) = said.and_then(|said| self.read_count(&place, said, &bounds)) {
            *to = value;
        }
    }

    /// As [`Findings::count`]; `off` becomes `None`.
    pub fn count_or_off(
        &mut self,
        (place, said): Said<'_, Count>,
        bounds: RangeInclusive<usize>,
        to: &mut Option<usize>,
    ) {
        match said {
            Some(said) if said.0 == "off" => *to = None,
            Some(said) => *to = self.read_count(&place, said, &bounds).or(*to),
            None => {}
        }
    }

    /// Reads a number of bytes, as `64KiB`, into `to`.
    pub fn size(&mut self, (place, said): Said<'_, Size>, bounds: RangeInclusive<usize>, to: &mut usize) {
        let Some(said) = said else { return };
        let bytes =
            said.0.parse::<bytesize::ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
        match bytes {
            Some(bytes) => {
                let show = |bound: &usize| size(*bound);
                if let Some(bytes) = self.bounded(&place, &said.0, bytes, &bounds, ("small", "large"), show) {
                    *to = bytes;
                }
            }
            None => self.bad(&place, &said.0, "is not a size; write it like 512B, 64KiB or 1MiB"),
        }
    }

    /// Reads a number of bytes into `to`; `off` is `None`.
    pub fn size_or_off(
        &mut self,
        (place, said): Said<'_, Size>,
        bounds: RangeInclusive<usize>,
        to: &mut Option<usize>,
    ) {
        if said.is_some_and(|said| said.0 == "off") {
            *to = None;
            return;
        }
        let mut bytes = to.unwrap_or(0);
        self.size((place, said), bounds, &mut bytes);
        *to = Some(bytes).filter(|bytes| *bytes > 0);
    }

    /// Reads a rate, as `10/s`, into `to`.
    pub fn rate(&mut self, (place, said): Said<'_, Rate>, bounds: RangeInclusive<u32>, to: &mut u32) {
        let Some(said) = said else { return };
        match said.0.strip_suffix("/s").and_then(|count| count.trim().parse().ok()) {
            Some(rate) => {
                let show = |bound: &u32| format!("{bound}/s");
                if let Some(rate) = self.bounded(&place, &said.0, rate, &bounds, ("small", "large"), show) {
                    *to = rate;
                }
            }
            None => self.bad(&place, &said.0, "is not a rate; write it like 10/s"),
        }
    }

    /// As [`Findings::rate`]; `off` becomes `None`.
    pub fn rate_or_off(
        &mut self,
        (place, said): Said<'_, Rate>,
        bounds: RangeInclusive<u32>,
        to: &mut Option<u32>,
    ) {
        if said.is_some_and(|said| said.0 == "off") {
            *to = None;
            return;
        }
        let mut rate = to.unwrap_or(0);
        self.rate((place, said), bounds, &mut rate);
        *to = Some(rate).filter(|rate| *rate > 0);
    }

    /// Reads a rate a second or a minute. Returns requests a second.
    pub fn read_rate(&mut self, place: &Place, said: &str) -> Option<f64> {
        let read = |unit: &str| said.strip_suffix(unit).and_then(|count| count.trim().parse::<f64>().ok());
        let rate = read("/s").or_else(|| read("/m").map(|count| count / 60.0));
        match rate.filter(|rate| (0.001..=100_000.0).contains(rate)) {
            Some(rate) => Some(rate),
            None => {
                self.bad(place, said, "is not a rate from 0.001/s to 100000/s; write it like 50/s or 30/m");
                None
            }
        }
    }

    /// Reads a number. Returns `None`, and reports the problem, if the text is not one or is out of bounds.
    pub fn read_number(&mut self, place: &Place, said: &str, bounds: RangeInclusive<f64>) -> Option<f64> {
        match said.parse::<f64>().ok().filter(|number| number.is_finite()) {
            Some(number) => self.bounded(place, said, number, &bounds, ("small", "large"), f64::to_string),
            None => {
                self.bad(place, said, "is not a number");
                None
            }
        }
    }

    /// Reads `true` or `false` into `to`.
    pub fn flag(&mut self, (place, said): Said<'_, Flag>, to: &mut bool) {
        match said.map(|said| said.0.as_str()) {
            Some("true") => *to = true,
            Some("false") => *to = false,
            Some(other) => self.bad(&place, other, "is neither true nor false"),
            None => {}
        }
    }

    /// Reads one of a few words into `to`.
    pub fn choice<T: Copy>(&mut self, (place, said): Said<'_, Text>, choices: &[(&str, T)], to: &mut T) {
        if let Some(value) = said.and_then(|said| self.read_choice(&place, &said.0, choices)) {
            *to = value;
        }
    }

    /// Returns the value of one of a few words, or tells the problem with the nearest word.
    pub fn read_choice<T: Copy>(&mut self, place: &Place, said: &str, choices: &[(&str, T)]) -> Option<T> {
        let found = choices.iter().find(|(word, _)| *word == said);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let near = suggestion(said, words.iter().copied());
            self.bad(place, said, &format!("is not one of {}{near}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// The name of a header, in lower case.
    pub fn header_name(&mut self, place: &Place, said: &str) -> Option<HeaderName> {
        let name = said.parse().ok();
        if name.is_none() {
            self.bad(place, said, "is not the name of a header");
        }
        name
    }

    /// The value of a header. Never quoted: it may be a secret.
    pub fn header_value(&mut self, place: &Place, said: &str) -> Option<HeaderValue> {
        let value = HeaderValue::from_str(said.trim()).ok().filter(|value| value.to_str().is_ok());
        if value.is_none() {
            self.problem(place, "is not the value of a header: it must be visible ASCII text on one line");
        }
        value
    }

    /// A list of texts, each read by `read`; an item twice is told.
    pub fn list<T: PartialEq>(
        &mut self,
        (place, said): Said<'_, List<Text>>,
        mut read: impl FnMut(&mut Findings, &Place, &str) -> Option<T>,
        to: &mut Vec<T>,
    ) {
        let Some(said) = said else { return };
        let mut values = Vec::with_capacity(said.len());
        for (index, item) in said.iter().enumerate() {
            let (place, Some(item)) = (place.index(index), item) else {
                continue;
            };
            match read(self, &place, &item.0) {
                Some(value) if values.contains(&value) => self.bad(&place, &item.0, "is there twice"),
                Some(value) => values.push(value),
                None => {}
            }
        }
        *to = values;
    }
}
