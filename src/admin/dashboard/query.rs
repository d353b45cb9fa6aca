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
}

impl Query {
    /// Reads `search`, `sort`, `order`, `page`, `rows` and `open` of a URL's query.
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
        };
        for (name, value) in query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        {
            let value = value.replace('+', " ");
            let value = percent_encoding::percent_decode_str(&value).decode_utf8_lossy().into_owned();
            match name {
                "search" if value.len() > SEARCH_BYTES_MAX => {
                    return Err(format!("search has more than {SEARCH_BYTES_MAX} bytes"));
                }
                "search" => read.words = value.split_whitespace().map(str::to_lowercase).collect(),
                "sort" => {
                    let known = Sort::NAMES.iter().find(|(name, _)| *name == value);
                    read.sort = known
                        .ok_or_else(|| {
                            format!("sort is one of {}", Sort::NAMES.map(|(name, _)| name).join(", "))
                        })?
                        .1;
                }
                "order" => {
                    read.descending = match value.as_str() {
                        "descending" => true,
                        "ascending" => false,
                        _ => return Err("order is ascending or descending".to_owned()),
                    }
                }
                "page" => read.page = value.parse().map_err(|_| "page is a number, from 0".to_owned())?,
                "rows" => {
                    let rows = value.parse().ok().filter(|rows| (1..=ROWS_MAX).contains(rows));
                    read.rows = rows.ok_or_else(|| format!("rows is a number from 1 to {ROWS_MAX}"))?;
                }
                "open" => {
                    read.open =
                        Some(value.parse().map_err(|_| "open is the number of a resource".to_owned())?)
                }
                _ => return Err("known here: search, sort, order, page, rows, open".to_owned()),
            }
        }
        Ok(read)
    }
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
        assert_eq!(Query::read("").unwrap().rows, 25);
        let long = format!("search={}", "x".repeat(SEARCH_BYTES_MAX + 1));
        for wrong in
            ["sort=colour", "order=up", "page=-1", "rows=0", "rows=101", "open=x", "invented=1", &long]
        {
            assert!(Query::read(wrong).is_err(), "{wrong}");
        }
    }
}
