//! The differences to 0.1.0 that concern a file: the entries of `src/manual/from-0.1.md`.
//!
//! The page is the list, and the table below says which files its entries concern; an entry that no row names concerns
//! every file. Must not know: what the entries say.

use crate::config::{Config, Plain, Route, Share, Upstream};

/// The page. It is in the program, so that both are of one version.
const PAGE: &str = include_str!("../manual/from-0.1.md");

/// Where a user finds it.
const PAGE_NAME: &str = "src/manual/from-0.1.md";

/// The files that entries of the page concern.
enum Whom {
    Routes(fn(&Route) -> bool),
    Upstreams(fn(&Upstream) -> bool),
    /// No file that loads: `check` says by itself what is refused.
    Refused,
}

/// The entries of the page that concern no file or some files only, by their titles; all others concern every file.
const ROWS: [(Whom, &[&str]); 16] = [
    (
        Whom::Routes(|route| route.polled && is_wide(route)),
        &["Plain requests of a route whose path ends in `{*rest}`"],
    ),
    (
        Whom::Routes(|route| route.polled && route.plain == Plain::Share),
        &[
            r#"`Link: <same>; rel="alternate"`"#,
            "`Range` on a plain request",
            "`HEAD`",
            "A plain request whose `Accept` does not admit the known type",
            "During `Retry-After`",
            "Background polling for plain requests",
            "Routes whose new keys cannot be shared",
            "Blocking queries of the API's own",
            "A client whose `Accept` prefers another type",
            "`Vary: User-Agent`",
            "A 401, 403, redirect or other 4xx after a good state",
            "5xx, 429, empty and broken 200s",
            "An answer that may not be shared",
            "`Cache-Control: no-transform`",
            "A 304 of pollcast",
            "Redirects that `follow_redirects` does not follow",
        ],
    ),
    (
        Whom::Routes(|route| route.polled && route.share == Share::Unset),
        &[
            "A push form (event stream, WebSocket, held poll) with credentials that no `share` covers",
            "Credentials in headers of the API's own",
            "Headers that no list names",
            "Fields that may be credentials",
        ],
    ),
    (
        Whom::Routes(|route| route.polled && matches!(route.share, Share::By(_))),
        &[
            "`share: { by: [...] }`, a request with other credentials only",
            "`by: [authorization]` with Digest, DPoP, OAuth 1, AWS4-HMAC-SHA256, SharedKey, Hawk, NTLM, Negotiate or `Signature-Input`",
        ],
    ),
    (
        Whom::Routes(|route| route.polled && route.share == Share::Authorize),
        &[
            "`share: authorize`, what a check costs",
            "`share: authorize`, conditions",
            "`share: authorize` with `authenticate`",
        ],
    ),
    (Whom::Routes(|route| route.authenticate.is_some()), &["Caches in front of routes with `authenticate`"]),
    (Whom::Routes(|route| route.polled && route.cors.is_none()), &["The API's `Access-Control-*` fields"]),
    (Whom::Routes(is_rest), &["`{*rest}`", "`refreshes` on a route whose path ends in `{*rest}`"]),
    (
        Whom::Routes(|route| route.feed.is_some()),
        &["`feed.order` left out", "An item that left the list and came back", "`event_name`"],
    ),
    (
        Whom::Routes(|route| route.feed.as_ref().is_some_and(|feed| feed.cursor.is_some())),
        &["A long-poll by ETag on a feed with a `cursor`"],
    ),
    (Whom::Routes(|route| route.poll.batch.is_some()), &["A refused batch"]),
    (
        Whom::Routes(|route| route.authenticate.is_some()),
        &[
            "Identities",
            "`Authorization` twice",
            "Tokens whose `sub` is a fraction, or whose `iss` is no text,",
        ],
    ),
    (
        Whom::Routes(|route| route.authenticate.as_ref().is_some_and(|by| by.forward.is_some())),
        &["`forward`"],
    ),
    (Whom::Routes(|route| route.polled && route.poll.cookie_jar), &["Cookies of polls"]),
    (
        Whom::Upstreams(|upstream| upstream.tls.as_ref().is_some_and(|tls| tls.ca.is_some())),
        &["`upstreams.<name>.tls.ca`"],
    ),
    (
        Whom::Refused,
        &[
            "`hold_not_modified`",
            "`poll.auth`, `tls.cert` and credentials in `poll.headers`",
            "`jwt.issuer` with several names",
        ],
    ),
];

/// Whether the path of a route ends in `{*rest}`.
fn is_rest(route: &Route) -> bool {
    Plain::of_path(&route.path) == Plain::Pass
}

/// Whether the path of a route names no resources, and nothing else says whose its plain requests are.
fn is_wide(route: &Route) -> bool {
    Plain::of_path(&route.path) == Plain::Pass && route.plain == Plain::Pass
}

/// The titles of the page's entries.
fn titles(page: &str) -> Vec<String> {
    let mut titles = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(begun) = line.strip_prefix("- **") else { continue };
        // A title may be longer than its line.
        let mut title = begun.to_owned();
        while !title.contains("**")
            && let Some(more) = lines.next()
        {
            title.push(' ');
            title.push_str(more.trim());
        }
        titles.push(title.split("**").next().unwrap_or_default().to_owned());
    }
    titles
}

/// The routes, by their paths, or the upstreams, by their names, that entries concern.
fn concerned<'a>(config: &'a Config, whom: &Whom) -> Vec<&'a str> {
    match whom {
        Whom::Routes(concerns) => {
            config.routes.iter().filter(|route| concerns(route)).map(|route| route.path.as_str()).collect()
        }
        Whom::Upstreams(concerns) => {
            let upstreams = config.upstreams.iter().filter(|upstream| concerns(upstream));
            upstreams.map(|upstream| upstream.name.as_str()).collect()
        }
        Whom::Refused => Vec::new(),
    }
}

/// One line for each group of entries that concern routes of this file, and one that counts the others.
pub(super) fn lines(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for (whom, titles) in &ROWS {
        let concerned = concerned(config, whom);
        if !concerned.is_empty() {
            lines.push(format!("since 0.1.0, {}: {}", concerned.join(", "), titles.join("; ")));
        }
    }
    let named: Vec<&str> = ROWS.iter().flat_map(|(_, titles)| titles.iter().copied()).collect();
    let others = titles(PAGE).iter().filter(|title| !named.contains(&title.as_str())).count();
    lines.push(format!(
        "since 0.1.0, every file: {others} entries more; {PAGE_NAME} has them all, and the old ways"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_str;

    fn said(routes: &str) -> Vec<String> {
        let text = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{api: {{servers: ['api.test:80'], host: api.test}}}}\n\
             passthrough: api\nroutes: [{routes}]\n"
        );
        let config = load_str(&text, "since.yaml", std::path::Path::new("."));
        lines(&config.unwrap_or_else(|problems| panic!("{problems}")))
    }

    #[test]
    fn each_row_names_entries_of_the_page_and_none_twice() {
        let titles = titles(PAGE);
        let marks = PAGE.lines().filter(|line| line.starts_with("- ")).count();
        assert_eq!(titles.len(), marks, "an entry begins with its title in bold");
        let named: Vec<&str> = ROWS.iter().flat_map(|(_, titles)| titles.iter().copied()).collect();
        for (at, title) in named.iter().enumerate() {
            assert!(titles.iter().any(|known| known == title), "not on {PAGE_NAME}: {title}");
            assert!(!named[..at].contains(title), "twice: {title}");
        }
    }

    #[test]
    fn a_file_is_told_what_concerns_it_and_nothing_else() {
        let wide = said("{path: '/{*rest}', upstream: api, share: public, cors: {origins: ['*']}}");
        assert_eq!(wide.len(), 4, "{wide:?}");
        assert!(
            wide[0].starts_with("since 0.1.0, /{*rest}: ") && wide[0].contains("Plain requests"),
            "{wide:?}"
        );
        let off = said("{path: '/{*rest}', upstream: api, poll: off}");
        assert_eq!(off.len(), 2, "{off:?}");
        assert!(off[0].contains("`{*rest}`"), "{off:?}");
        let feed = said(
            "{path: /f, upstream: api, share: public, feed: {items: /rows, id: /id, cursor: {query: since, from: /id}}}",
        );
        assert!(feed.iter().any(|line| line.contains("`feed.order` left out")), "{feed:?}");
        assert!(feed.iter().any(|line| line.contains("on a feed with a `cursor`")), "{feed:?}");
        let by = said(
            "{path: /a, upstream: api, share: {by: [authorization]}}, {path: /b, upstream: api, share: public}",
        );
        let one = |part: &str| {
            by.iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {by:?}"))
        };
        assert!(one("`Range` on a plain request").starts_with("since 0.1.0, /a, /b: "), "{by:?}");
        assert!(one("a request with other credentials only").starts_with("since 0.1.0, /a: "), "{by:?}");
        assert!(!by.iter().any(|line| line.contains("share: authorize")), "{by:?}");
    }
}
