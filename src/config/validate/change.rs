//! `change`, `delta` and `feed`: what counts as a change and how it is told.
//!
//! Must not know: how the upstream is asked.

use serde_json_path::JsonPath;

use super::super::problem::{Findings, Place};
use super::super::{ArrayKey, Change, Cursor, Delta, Feed, LinePattern, Members, Order, Pages, Route, raw};
use super::value::{Said, at};

/// Puts what is said about changes over the route.
pub fn apply(place: &Place, raw: &raw::RouteSettings, route: &mut Route, findings: &mut Findings) {
    change(at!(place, raw.change), &mut route.change, findings);
    delta(at!(place, raw.delta), &mut route.delta, findings);
    feed(at!(place, raw.feed), &mut route.feed, findings);
}

/// Checks that the settings fit together once all are read.
pub fn together(place: &Place, raw: &raw::RouteSettings, route: &mut Route, findings: &mut Findings) {
    if route.feed.is_none() {
        return;
    }
    // The cursor names a place in the resource, not another resource.
    if let Some(cursor) = route.feed.as_ref().and_then(|feed| feed.cursor.as_ref())
        && !route.query.ignore.contains(&cursor.query)
    {
        route.query.ignore.push(cursor.query.clone());
    }
    if route.change.has_rules() || !route.change.ignore_lines.is_empty() {
        let inherited =
            if raw.change.is_some() { "" } else { "; write change: off here, as defaults has rules" };
        let message = format!("cannot stand beside feed: there every item counts by its id{inherited}");
        findings.problem(&place.key("change"), message);
    }
    // That of `defaults` is for the other routes.
    if raw.delta.is_some() && route.delta.enabled {
        let message = "cannot stand beside feed: items are sent one by one, never as patches";
        findings.problem(&place.key("delta"), message);
    }
}

fn change((place, said): Said<'_, raw::ChangeSetting>, to: &mut Change, findings: &mut Findings) {
    let raw = match said {
        Some(raw::ChangeSetting::On(raw)) => raw,
        Some(raw::ChangeSetting::Word(word)) if word.0 == "off" => return *to = Change::default(),
        Some(raw::ChangeSetting::Word(word)) => {
            return findings.bad(&place, &word.0, "is neither off nor rules, as { ignore: [\"/time\"] }");
        }
        None => return,
    };
    findings.list(at!(place, raw.ignore), ignored, &mut to.ignore);
    match at!(place, raw.ignore_lines) {
        (place, Some(raw::OneOrSeveral::One(pattern))) => {
            to.ignore_lines.extend(line_pattern(findings, &place, &pattern.0));
        }
        (place, Some(raw::OneOrSeveral::Several(patterns))) => {
            findings.list((place, Some(patterns)), line_pattern, &mut to.ignore_lines);
        }
        (_, None) => {}
    }
    if let (place, Some(said)) = at!(place, raw.select) {
        to.select = if said.0 == "off" { None } else { findings.pointer(&place, &said.0, false) };
    }
    findings.choice(at!(place, raw.compare), &[("bytes", false), ("json", true)], &mut to.canonical);
    match at!(place, raw.tolerance) {
        (place, Some(raw::ToleranceSetting::All(said))) => {
            let allowed = findings.read_number(&place, &said.0, 0.0..=f64::MAX);
            to.tolerance =
                allowed.map(|allowed| (Members::Pointer(String::new()), allowed)).into_iter().collect();
        }
        (place, Some(raw::ToleranceSetting::ByPlace(said))) => {
            let read = said.iter().filter_map(|(of, said)| {
                let place = place.key(of);
                let members = findings.members(&place, of);
                members.zip(findings.read_number(&place, &said.0, 0.0..=f64::MAX))
            });
            to.tolerance = read.collect();
        }
        (_, None) => {}
    }
    match at!(place, raw.array_key) {
        (place, Some(raw::ArrayKeySetting::All(said))) => {
            let key = findings.pointer(&place, &said.0, true);
            to.array_keys = key.map(|key| ArrayKey { of: None, key }).into_iter().collect();
        }
        (place, Some(raw::ArrayKeySetting::ByPlace(said))) => {
            let read = said.iter().filter_map(|(of, said)| {
                let place = place.key(of);
                let members = findings.members(&place, of)?;
                let key = findings.pointer(&place, &said.0, true)?;
                Some(ArrayKey { of: Some(members), key })
            });
            to.array_keys = read.collect();
        }
        (_, None) => {}
    }
}

/// Members that do not count; never everything.
fn ignored(findings: &mut Findings, place: &Place, said: &str) -> Option<Members> {
    if said.trim() == "$" {
        findings.bad(place, said, "is the whole body: nothing would ever be a change");
        return None;
    }
    findings.members(place, said)
}

fn line_pattern(findings: &mut Findings, place: &Place, said: &str) -> Option<LinePattern> {
    let pattern = LinePattern::parse(said);
    match pattern {
        Ok(pattern) if pattern.matches("") && pattern.matches("line 1") => {
            findings.bad(place, said, "is found in every line: nothing would ever be a change");
            None
        }
        Ok(pattern) => Some(pattern),
        Err(error) => {
            // The last line of the message says what is wrong; the others point at it.
            let reason = error.lines().last().unwrap_or_default().trim().to_owned();
            let reason = format!("is no regular expression: {}", reason.trim_start_matches("error: "));
            findings.bad(place, said, &reason);
            None
        }
    }
}

fn delta((place, said): Said<'_, raw::DeltaSetting>, to: &mut Delta, findings: &mut Findings) {
    match said {
        Some(raw::DeltaSetting::Word(word)) if word.0 == "true" => to.enabled = true,
        Some(raw::DeltaSetting::Word(word)) if word.0 == "false" || word.0 == "off" => to.enabled = false,
        Some(raw::DeltaSetting::Word(word)) => {
            findings.bad(&place, &word.0, "is neither true nor false nor { patch_max_ratio }");
        }
        Some(raw::DeltaSetting::On(raw)) => {
            to.enabled = true;
            if let (place, Some(said)) = at!(place, raw.patch_max_ratio)
                && let Some(ratio) = findings.read_number(&place, &said.0, 0.01..=1.0)
            {
                to.patch_max_ratio = ratio;
            }
        }
        None => {}
    }
}

fn feed((place, said): Said<'_, raw::FeedSetting>, to: &mut Option<Feed>, findings: &mut Findings) {
    let raw = match said {
        Some(raw::FeedSetting::On(raw)) => raw,
        Some(raw::FeedSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::FeedSetting::Word(word)) => {
            return findings.bad(&place, &word.0, "is neither off nor { items, id }");
        }
        None => return,
    };
    let to = to.get_or_insert_with(Feed::unsaid);
    if let (place, Some(said)) = at!(place, raw.items)
        && let Some(pointer) = findings.pointer(&place, &said.0, true)
    {
        to.items = pointer;
    }
    feed_id(at!(place, raw.id), &mut to.id, findings);
    let orders = [
        ("auto", None),
        ("newest_first", Some(Order::NewestFirst)),
        ("oldest_first", Some(Order::OldestFirst)),
        ("none", Some(Order::Unordered)),
    ];
    findings.choice(at!(place, raw.order), &orders, &mut to.order);
    if let (place, Some(raw)) = at!(place, raw.cursor) {
        let query = raw.query.as_ref().and_then(|said| findings.parameter(&place.key("query"), &said.0));
        let from = raw.from.as_ref().and_then(|said| findings.pointer(&place.key("from"), &said.0, false));
        to.cursor = query.zip(from).map(|(query, from)| Cursor { query, from });
    }
    pages(at!(place, raw.pages), &mut to.pages, findings);
    findings.count(at!(place, raw.replay), 0..=10_000, &mut to.replay);
    findings.choice(at!(place, raw.on_update), &[("ignore", false), ("event", true)], &mut to.tells_updates);
    findings.choice(at!(place, raw.on_return), &[("ignore", false), ("event", true)], &mut to.tells_returns);
    findings.count(at!(place, raw.history), 1..=100_000, &mut to.history);
}

/// Reads the places in an item that name it: one, or several.
fn feed_id((place, said): Said<'_, raw::OneOrSeveral>, to: &mut Vec<String>, findings: &mut Findings) {
    match said {
        Some(raw::OneOrSeveral::One(said)) => {
            if let Some(pointer) = findings.pointer(&place, &said.0, true) {
                *to = vec![pointer];
            }
        }
        Some(raw::OneOrSeveral::Several(said)) => {
            if said.is_empty() {
                findings.problem(&place, "is empty: nothing names an item");
            }
            let read =
                |findings: &mut Findings, place: &Place, said: &str| findings.pointer(place, said, false);
            findings.list((place, Some(said)), read, to);
        }
        None => {}
    }
}

fn pages((place, said): Said<'_, raw::Pages>, to: &mut Option<Pages>, findings: &mut Findings) {
    let Some(raw) = said else { return };
    let to = to.get_or_insert(Pages { next: None, query: None, max: 5 });
    let (query_place, query) = at!(place, raw.query);
    let query = query.and_then(|said| findings.parameter(&query_place, &said.0));
    let (next_place, next) = at!(place, raw.next);
    let needless = "the Link header needs no parameter; for query say number, or a pointer to its value";
    match next.map(|said| said.0.as_str()) {
        None if query.is_some() && to.next.is_none() && to.query.is_none() => {
            findings.problem(&next_place, needless);
        }
        None => to.query = query.or(to.query.take()),
        Some("link") => {
            if raw.query.is_some() {
                findings.problem(&next_place, needless);
            }
            (to.next, to.query) = (None, None);
        }
        Some("number") => {
            (to.next, to.query) = (None, query.or(to.query.take()));
            if to.query.is_none() && raw.query.is_none() {
                findings.problem(&next_place, "numbered pages need the name of their parameter in query");
            }
        }
        // The parameter of another way in `defaults` is not this one's.
        Some(said) => (to.next, to.query) = (findings.pointer(&next_place, said, false), query),
    }
    findings.count(at!(place, raw.max), 1..=100, &mut to.max);
}

impl Findings {
    /// A JSON Pointer (RFC 6901). `whole`: the empty one, which is everything, will do.
    pub fn pointer(&mut self, place: &Place, said: &str, whole: bool) -> Option<String> {
        let escapes = said.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        if (said.is_empty() && whole) || (said.starts_with('/') && escapes) {
            return Some(said.to_owned());
        }
        self.bad(place, said, "is not a JSON Pointer; write it like /data/items");
        None
    }

    /// Members of a body: a JSON Pointer, or JSONPath behind `$`.
    pub fn members(&mut self, place: &Place, said: &str) -> Option<Members> {
        if !said.starts_with('$') {
            return self.pointer(place, said, false).map(Members::Pointer);
        }
        match JsonPath::parse(said) {
            Ok(path) => Some(Members::Path(Box::new(path))),
            Err(error) => {
                self.bad(place, said, &format!("is not JSONPath (RFC 9535): {error}"));
                None
            }
        }
    }

    /// The name of a query parameter.
    pub fn parameter(&mut self, place: &Place, said: &str) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[]:@!$'()*/".contains(&byte);
        if said.is_empty() || said.len() > 64 || !said.bytes().all(plain) {
            self.bad(place, said, "is not the name of a query parameter");
            return None;
        }
        Some(said.to_owned())
    }
}
