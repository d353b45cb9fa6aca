//! What a dashboard asks for: which resources, in which order, which page of them, and the one that is open.
//!
//! Must not know: resources.

/// Most bytes of a search text.
const SEARCH_BYTES_MAX: usize = 200;

/// Most resources of one page of the list.
const ROWS_MAX: usize = 100;

/// The column that a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Path and query.
    Path,
    /// The route.
    Route,
    /// Clients that follow.
    Followers,
    /// The interval that counts now.
    Interval,
    /// Changes a minute.
    Changes,
    /// The time since the state was confirmed.
    Age,
    /// The time until the next poll.
    Next,
    /// Bytes of the body.
    Size,
    /// Failing before stale before fresh.
    State,
}

impl Sort {
    const NAMES: [(&str, Sort); 9] = [
        ("path", Sort::Path),
        ("route", Sort::Route),
        ("followers", Sort::Followers),
        ("interval", Sort::Interval),
        ("changes", Sort::Changes),
        ("age", Sort::Age),
        ("next", Sort::Next),
        ("size", Sort::Size),
        ("state", Sort::State),
    ];
}

/// What a dashboard asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    /// Words that all have to be there, lower case.
    pub(super) words: Vec<String>,
    pub(super) sort: Sort,
    pub(super) descending: bool,
    /// Counted from 0.
    pub(super) page: usize,
    /// Resources of a page.
    pub(super) rows: usize,
    /// The number of the resource whose changes are shown.
    pub(super) open: Option<u64>,
    /// The newest sample that the page has, in milliseconds since 1970.
    pub(super) since: u64,
    /// Words that all have to be in a route that is shown, lower case.
    pub(super) route_words: Vec<String>,
    /// The page of the list of routes, counted from 0.
    pub(super) routes_page: usize,
}

impl Query {
    /// Reads `search`, `sort`, `order`, `page`, `rows`, `open`, `since`, `routes` and `routes_page` of a URL's query.
    ///
    /// # Errors
    /// Says which parameter is wrong, and what it may be.
    pub(super) fn read(query: &str) -> Result<Query, String> {
        let mut read = Query {
            words: Vec::new(),
            sort: Sort::Followers,
            descending: true,
            page: 0,
            rows: 25,
            open: None,
            since: 0,
            route_words: Vec::new(),
            routes_page: 0,
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        for (name, value) in pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let value = value.replace('+', " ");
            read.set(name, &percent_encoding::percent_decode_str(&value).decode_utf8_lossy())?;
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let page = || value.parse().map_err(|_| format!("{name} is a number, from 0"));
        match name {
            "search" => self.words = words(name, value)?,
            "sort" => {
                let known = Sort::NAMES.iter().find(|(name, _)| *name == value).map(|(_, sort)| *sort);
                let names = || Sort::NAMES.map(|(name, _)| name).join(", ");
                self.sort = known.ok_or_else(|| format!("sort is one of {}", names()))?;
            }
            "order" => {
                self.descending = match value {
                    "descending" => true,
                    "ascending" => false,
                    _ => return Err("order is ascending or descending".to_owned()),
                }
            }
            "page" => self.page = page()?,
            "rows" => {
                let rows = value.parse().ok().filter(|rows| (1..=ROWS_MAX).contains(rows));
                self.rows = rows.ok_or_else(|| format!("rows is a number from 1 to {ROWS_MAX}"))?;
            }
            "open" => {
                self.open = Some(value.parse().map_err(|_| "open is the number of a resource".to_owned())?);
            }
            "since" => {
                self.since = value.parse().map_err(|_| "since is a number of milliseconds".to_owned())?
            }
            "routes" => self.route_words = words(name, value)?,
            "routes_page" => self.routes_page = page()?,
            _ => {
                let names = "search, sort, order, page, rows, open, since, routes, routes_page";
                return Err(format!("known here: {names}"));
            }
        }
        Ok(())
    }
}

/// The words of a search text, lower case.
fn words(name: &str, text: &str) -> Result<Vec<String>, String> {
    if text.len() > SEARCH_BYTES_MAX {
        return Err(format!("{name} has more than {SEARCH_BYTES_MAX} bytes"));
    }
    Ok(text.split_whitespace().map(str::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_says_what_is_wrong() {
        let read = Query::read("search=Price%20a+b&sort=path&order=ascending&page=3&rows=50&open=7").unwrap();
        assert_eq!(
            (read.words, read.sort, read.descending),
            (vec!["price".to_owned(), "a".to_owned(), "b".to_owned()], Sort::Path, false)
        );
        assert_eq!((read.page, read.rows, read.open), (3, 50, Some(7)));
        let read = Query::read("routes=Switched-Off+/api&routes_page=2&since=5").unwrap();
        assert_eq!(read.route_words, ["switched-off", "/api"]);
        assert_eq!((read.routes_page, read.since), (2, 5));
        assert_eq!(Query::read("").unwrap().rows, 25);
        let long = format!("search={}", "x".repeat(SEARCH_BYTES_MAX + 1));
        for wrong in [
            "sort=colour",
            "order=up",
            "page=-1",
            "rows=0",
            "rows=101",
            "open=x",
            "invented=1",
            "routes_page=x",
            &long,
        ] {
            assert!(Query::read(wrong).is_err(), "{wrong}");
        }
    }
}
