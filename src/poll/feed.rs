//! A feed's side of the poll loop (contract §8): what the next poll asks for, and the pages behind it.
//!
//! Must not know: the readers of items; what is new on a page is `change/feed`.

use http::{HeaderMap, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::change::Unfit;
use crate::change::feed::{Entry, Page, Tracker};
use crate::change::pagination::Said;
use crate::config::{Feed, Order, Pages};
use crate::hub::News;
use crate::resource::{Json, Snapshot};

/// Everything but what a query value may hold as it is.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Longest cursor, or value of a next page, that is sent back.
const VALUE_BYTES_MAX: usize = 1024;

/// What is known of one list.
#[derive(Debug)]
pub(super) struct Follower {
    /// Path and query of the list on the upstream.
    base: String,
    rules: Feed,
    tracker: Tracker,
    /// The upstream's cursor, from its last answer.
    cursor: Option<String>,
    /// The target of the answer that the validators belong to.
    answered: Option<String>,
    /// Whether the upstream's cursor has always been the name of its newest item: then clients' items are
    /// cursors, too. `None` until it was seen.
    is_item: Option<bool>,
}

/// The pages of one poll, and what to ask for next.
#[derive(Debug)]
pub(super) struct Reading {
    pages: Vec<Page>,
    /// Target of the page behind these, if it is to be had.
    pub(super) next: Option<String>,
    /// The last of them says that there is a page behind it.
    has_more: bool,
}

impl Reading {
    fn empty() -> Reading {
        Reading { pages: Vec::new(), next: None, has_more: false }
    }
}

/// The items of a page, oldest first; `None` if it is no list.
pub(super) fn items_of(
    rules: &Feed,
    body: &bytes::Bytes,
    is_newest_first: bool,
) -> Option<Vec<(String, bytes::Bytes)>> {
    let page = Page::read(rules, &Json::parse(body.clone()).ok()?).ok()?;
    let mut items: Vec<_> = page.entries.into_iter().map(|entry| (entry.name, entry.text)).collect();
    if is_newest_first {
        items.reverse();
    }
    Some(items)
}

impl Follower {
    /// `base`: path and query of the list on the upstream.
    pub(super) fn new(rules: &Feed, base: String) -> Follower {
        Follower {
            base,
            tracker: Tracker::new(rules),
            rules: rules.clone(),
            cursor: None,
            answered: None,
            is_item: None,
        }
    }

    /// Goes on where another poll loop was: `page` is the published content, `texts` the items that are remembered, oldest
    /// first, `order` and `cursor` what that loop knew.
    pub(super) fn resumed(
        rules: &Feed,
        base: String,
        page: Option<&Snapshot>,
        texts: &[bytes::Bytes],
        order: Option<Order>,
        cursor: Option<String>,
    ) -> Follower {
        let told: Vec<Entry> = texts.iter().filter_map(|text| Entry::of_text(rules, text)).collect();
        let page = page.and_then(Snapshot::json).and_then(|json| Page::read(rules, json).ok());
        let said = Said::new(base.split_once('?').map(|(_, query)| query), false);
        let tracker = Tracker::resumed(rules, &told, page.as_ref(), order, &said);
        let cursor = cursor.filter(|cursor| rules.cursor.is_some() && cursor.len() <= VALUE_BYTES_MAX);
        // Which request the validators belong to is known only where there is one.
        let answered = rules.cursor.is_none().then(|| base.clone());
        Follower { base, tracker, rules: rules.clone(), cursor, answered, is_item: None }
    }

    /// The upstream's cursor that the next poll is sent with.
    pub(super) fn cursor(&self) -> Option<&String> {
        self.cursor.as_ref()
    }

    /// The order of the upstream's list, as the file says or as far as it shows.
    pub(super) fn order(&self) -> Order {
        self.tracker.order()
    }

    /// Path and query of the next poll, and whether the validators of the last answer belong to it.
    pub(super) fn target(&self) -> (String, bool) {
        let target = match (&self.rules.cursor, &self.cursor) {
            (Some(of), Some(value)) => with_parameter(&self.base, &of.query, value),
            _ => self.base.clone(),
        };
        let same = self.answered.as_ref() == Some(&target);
        (target, same)
    }

    /// The upstream refuses the cursor: the next poll begins without one.
    pub(super) fn forget_cursor(&mut self) {
        self.cursor = None;
        self.answered = None;
    }

    /// Reads the first page of a poll.
    ///
    /// # Errors
    /// As [`Page::read`]; a next page that is none of this resource (`bad-next`).
    pub(super) fn read(&self, snapshot: &Snapshot, headers: &HeaderMap) -> Result<Reading, Unfit> {
        // Nothing is new where there is no content.
        if snapshot.body.is_empty() {
            return Ok(Reading::empty());
        }
        let Some(json) = snapshot.json() else {
            let found = snapshot.media_type.as_ref().map_or("no type", |it| it.essence.as_str());
            let reason = format!("the body ({found}) does not parse as JSON, which the route's `feed` needs");
            return Err(Unfit { class: "not-json", reason });
        };
        let page = Page::read(&self.rules, json)?;
        let mut reading = Reading::empty();
        self.add(&mut reading, page, headers)?;
        Ok(reading)
    }

    /// Reads a further page.
    ///
    /// # Errors
    /// As [`Follower::read`], and for a body that is no JSON (`not-json`).
    pub(super) fn read_on(
        &self,
        reading: &mut Reading,
        body: &bytes::Bytes,
        headers: &HeaderMap,
    ) -> Result<(), Unfit> {
        let json = Json::parse(body.clone()).map_err(|malformed| Unfit {
            class: "not-json",
            reason: format!("page {} is no JSON: {malformed}", reading.pages.len() + 1),
        })?;
        let page = Page::read(&self.rules, &json)?;
        self.add(reading, page, headers)
    }

    fn add(&self, reading: &mut Reading, page: Page, headers: &HeaderMap) -> Result<(), Unfit> {
        let done = page.entries.is_empty() || !self.wants_more(&page);
        let number = reading.pages.len() + 2;
        reading.next = match &self.rules.pages {
            Some(pages) if !done && reading.pages.len() + 1 < pages.max => {
                next(&self.base, pages, &page, headers, number)?
            }
            _ => None,
        };
        reading.has_more = link(headers).is_some();
        reading.pages.push(page);
        Ok(())
    }

    /// Whether what is missing may be on a further page: the newest are first and nothing known is there, or they
    /// are last or anywhere and there is more.
    fn wants_more(&self, page: &Page) -> bool {
        self.tracker.may_be_new_anywhere() || !self.tracker.reaches(page)
    }

    /// Where the upstream is asked for what came after an item. Returns `None` if it has no cursor, or an item's
    /// name is none of its values. An upstream that does not know a value may answer with anything.
    pub(super) fn target_after(&self, id: &str) -> Option<String> {
        let cursor = self.rules.cursor.as_ref().filter(|_| self.is_item == Some(true))?;
        (id.len() <= VALUE_BYTES_MAX).then(|| with_parameter(&self.base, &cursor.query, id))
    }

    /// The items of an answer that stands for itself, oldest first; `None` if it is no list.
    pub(super) fn items(&self, body: &bytes::Bytes) -> Option<Vec<(String, bytes::Bytes)>> {
        items_of(&self.rules, body, self.tracker.is_newest_first())
    }

    /// Everything was had: what is new in it, and from where the next poll goes on.
    pub(super) fn take(&mut self, reading: &Reading) -> News {
        let (target, _) = self.target();
        self.answered = Some(target);
        let mut cursors = reading.pages.iter().filter_map(|page| page.cursor.as_ref());
        // Of several pages the one with the newest items says how far they reach.
        let cursor = if self.tracker.is_newest_first() { cursors.next() } else { cursors.next_back() };
        if let Some(cursor) =
            cursor.filter(|cursor| self.rules.cursor.is_some() && cursor.len() <= VALUE_BYTES_MAX)
        {
            self.cursor = Some(cursor.clone());
        }
        for page in &reading.pages {
            let ends = [page.entries.first(), page.entries.last()];
            let newest = ends.into_iter().flatten().any(|entry| Some(&entry.name) == page.cursor.as_ref());
            if !page.entries.is_empty() {
                self.is_item = Some(newest && self.is_item != Some(false));
            }
        }
        let said = Said::new(self.base.split_once('?').map(|(_, query)| query), reading.has_more);
        let fresh = self.tracker.take(&reading.pages, &said);
        News {
            items: fresh.entries.into_iter().map(|entry| (entry.name, entry.text)).collect(),
            gap: fresh.gap,
        }
    }
}

/// The target of the next page; `None` if this was the last one.
fn next(
    base: &str,
    pages: &Pages,
    page: &Page,
    headers: &HeaderMap,
    number: usize,
) -> Result<Option<String>, Unfit> {
    match (&pages.query, &pages.next) {
        (Some(query), None) => Ok(Some(with_parameter(base, query, &number.to_string()))),
        (Some(query), Some(_)) => {
            let value =
                page.next.as_ref().filter(|value| !value.is_empty() && value.len() <= VALUE_BYTES_MAX);
            Ok(value.map(|value| with_parameter(base, query, value)))
        }
        (None, Some(_)) => {
            page.next.as_deref().filter(|url| !url.is_empty()).map(|url| of_url(base, url)).transpose()
        }
        (None, None) => link(headers).map(|url| of_url(base, &url)).transpose(),
    }
}

/// What a link to the next page asks for. Only its query counts, and its path has to be the
/// resource's: which host is asked is never the upstream's to say.
fn of_url(base: &str, url: &str) -> Result<String, Unfit> {
    let after_scheme = url.split_once("://").map(|(_, rest)| rest);
    let path_and_query = match after_scheme {
        Some(rest) => rest.find(['/', '?']).map_or("", |at| &rest[at..]),
        None => url,
    };
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let query = query.split('#').next().unwrap_or_default();
    let own = base.split('?').next().unwrap_or_default();
    let plain = query.len() <= 4 * VALUE_BYTES_MAX && query.bytes().all(|byte| byte.is_ascii_graphic());
    if (path.is_empty() || path == own) && plain && !query.is_empty() {
        return Ok(format!("{own}?{query}"));
    }
    // Without its query, which may hold a key.
    let said = url.split('?').next().unwrap_or_default();
    Err(Unfit {
        class: "bad-next",
        reason: format!("the next page is {said:?}; it must have the path {own:?} and a query"),
    })
}

/// The target of `Link: <…>; rel="next"` (RFC 8288).
pub(super) fn link(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::LINK).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(",<").flat_map(|part| part.split(", <"))).find_map(|link| {
        let (target, parameters) = link.trim().trim_start_matches('<').split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        is_next.then(|| target.to_owned())
    })
}

/// A target with one parameter set, in place of others of its name.
fn with_parameter(target: &str, name: &str, value: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
    let own = format!("{}={}", utf8_percent_encode(name, VALUE), utf8_percent_encode(value, VALUE));
    let pairs: Vec<&str> = others.chain([own.as_str()]).collect();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cursor;
    use http::HeaderValue;

    fn rules(pages: Option<Pages>) -> Feed {
        Feed {
            items: "/items".into(),
            id: vec!["/id".into()],
            order: None,
            cursor: None,
            pages,
            replay: 0,
            tells_updates: false,
            tells_returns: true,
            history: 100,
        }
    }

    fn body(names: &[u64], more: &str) -> bytes::Bytes {
        let items: Vec<String> = names.iter().map(|n| format!("{{\"id\":{n}}}")).collect();
        format!("{{\"items\":[{}]{more}}}", items.join(",")).into()
    }

    fn read(follower: &Follower, reading: &mut Reading, names: &[u64], more: &str, headers: &HeaderMap) {
        follower.read_on(reading, &body(names, more), headers).expect("a page");
    }

    #[test]
    fn pages_are_followed_until_one_reaches_back() {
        let pages = Pages { next: None, query: Some("page".into()), max: 5 };
        let mut follower = Follower::new(&rules(Some(pages)), "/a".to_owned());
        let none = HeaderMap::new();
        let mut first = Reading::empty();
        read(&follower, &mut first, &[3, 2, 1], "", &none);
        assert_eq!(first.next, None, "there is nothing to reach back to");
        follower.take(&first);
        let mut reading = Reading::empty();
        read(&follower, &mut reading, &[9, 8], "", &none);
        assert_eq!(reading.next.as_deref(), Some("/a?page=2"));
        read(&follower, &mut reading, &[7, 6], "", &none);
        assert_eq!(reading.next.as_deref(), Some("/a?page=3"));
        read(&follower, &mut reading, &[3, 2], "", &none);
        assert_eq!(reading.next, None);
        let news = follower.take(&reading);
        let names: Vec<&str> = news.items.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, news.gap), (vec!["6", "7", "8", "9"], false));
    }

    #[test]
    fn pages_have_a_limit_and_then_there_is_a_gap() {
        let pages = Pages { next: None, query: Some("page".into()), max: 2 };
        let mut follower = Follower::new(&rules(Some(pages)), "/a".to_owned());
        let none = HeaderMap::new();
        let mut first = Reading::empty();
        read(&follower, &mut first, &[1], "", &none);
        follower.take(&first);
        let mut reading = Reading::empty();
        read(&follower, &mut reading, &[9], "", &none);
        read(&follower, &mut reading, &[8], "", &none);
        assert_eq!(reading.next, None);
        assert!(follower.take(&reading).gap);
    }

    #[test]
    fn links_lead_to_pages_of_the_same_resource_only() {
        for (url, wanted) in [
            ("?page=2", Some("/a?page=2")),
            ("/a?page=2#x", Some("/a?page=2")),
            ("https://other.example/a?page=2", Some("/a?page=2")),
            ("http://169.254.169.254/latest?x=1", None),
            ("/b?page=2", None),
            ("/a", None),
            ("/a?page=2 HTTP/1.1", None),
        ] {
            assert_eq!(of_url("/a", url).ok().as_deref(), wanted, "{url}");
        }
        let mut headers = HeaderMap::new();
        headers.append(
            header::LINK,
            HeaderValue::from_static("</a?page=1>; rel=\"prev\", </a?page=3>; rel=\"next last\""),
        );
        assert_eq!(link(&headers).as_deref(), Some("/a?page=3"));
    }

    #[test]
    fn the_upstreams_cursor_is_sent_back() {
        let cursor = Some(Cursor { query: "since".into(), from: "/last".into() });
        let mut follower = Follower::new(&Feed { cursor, ..rules(None) }, "/a".to_owned());
        let none = HeaderMap::new();
        assert_eq!(follower.target(), ("/a".to_owned(), false));
        let mut reading = Reading::empty();
        read(&follower, &mut reading, &[1, 2], ",\"last\":\"2 &\"", &none);
        follower.take(&reading);
        assert_eq!(follower.target(), ("/a?since=2%20%26".to_owned(), false), "another answer's validators");
        let mut reading = Reading::empty();
        read(&follower, &mut reading, &[], "", &none);
        follower.take(&reading);
        assert_eq!(follower.target(), ("/a?since=2%20%26".to_owned(), true), "no news, no new cursor");
        follower.forget_cursor();
        assert_eq!(follower.target(), ("/a".to_owned(), false));
    }

    #[test]
    fn a_parameter_takes_the_place_of_its_name() {
        assert_eq!(with_parameter("/a?x=1&page=1", "page", "2"), "/a?x=1&page=2");
        assert_eq!(with_parameter("/a", "p", "a b"), "/a?p=a%20b");
    }
}
