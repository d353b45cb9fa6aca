//! What a write is, and which paths it bears on (contract §9).
//!
//! Pure. Must not know: resources, writers.

use http::{Method, StatusCode};

/// Methods that change nothing: those of RFC 9110 §9.2.1 and CONNECT, and those of WebDAV and others that only ask
/// (RFC 4918, 3253, 5323, QUERY, LIST of object stores). Any other one may write (RFC 9111 §4.4).
const READS: [&str; 10] =
    ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "REPORT", "SEARCH", "QUERY", "LIST"];

/// Methods whose effect reaches what stands below the path that they name.
const REACH_BELOW: [&str; 5] = ["DELETE", "MOVE", "PUT", "PATCH", "COPY"];

/// Ancestors that are looked at, nearest first: longer paths than these are no collections.
const ANCESTORS_MAX: usize = 32;

/// Whether a request of this method may write.
pub(super) fn is_write(method: &Method) -> bool {
    !READS.contains(&method.as_str())
}

/// Whether an answer says that a write was done. A multi-status says it of none.
pub(super) fn is_done(status: StatusCode) -> bool {
    (status.is_success() && status != StatusCode::MULTI_STATUS) || status.is_redirection()
}

/// Whether what stands below the named path may be another one now.
pub(super) fn reaches_below(method: &Method) -> bool {
    REACH_BELOW.contains(&method.as_str())
}

/// Whether a request of this method says in `Destination` where it writes.
pub(super) fn has_destination(method: &Method) -> bool {
    matches!(method.as_str(), "COPY" | "MOVE")
}

/// The collections that a path is in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Collections {
    /// The one that the path is a member of, as it may be spelled.
    pub(super) parents: Vec<String>,
    /// Those further up, nearest first, and the path itself with the other end.
    pub(super) ancestors: Vec<String>,
}

/// The collections above a canonical path: each with and without `/` at its end, and never `/` itself.
pub(super) fn collections(path: &str) -> Collections {
    let mut found = Collections::default();
    let bare = path.strip_suffix('/').unwrap_or(path);
    if bare.is_empty() {
        return found;
    }
    match path.len() == bare.len() {
        true => found.ancestors.push(format!("{bare}/")),
        // Up to its last segment, which is empty, it is this one.
        false => found.parents.push(bare.to_owned()),
    }
    let mut rest = bare;
    for turn in 0..ANCESTORS_MAX {
        rest = rest.rfind('/').map_or("", |end| &rest[..end]);
        if rest.is_empty() {
            break;
        }
        let to = if turn == 0 { &mut found.parents } else { &mut found.ancestors };
        to.extend([rest.to_owned(), format!("{rest}/")]);
    }
    found
}

/// What the paths below one begin with. Returns `None` for `/`, below which everything stands.
pub(super) fn folder(path: &str) -> Option<String> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    (!bare.is_empty()).then(|| format!("{bare}/"))
}

/// Whether a redirect to `target` shows what was written, rather than a page where one logs in.
pub(super) fn shows(written: &str, target: &str) -> bool {
    let around = collections(written);
    target == written
        || around.parents.iter().chain(&around.ancestors).any(|path| path == target)
        || folder(written).is_some_and(|folder| target.starts_with(&folder))
}

/// The path of a target.
pub(super) fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

/// The lower-case authority and the rest of an absolute URL.
pub(super) fn split_url(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest[..end].to_ascii_lowercase();
    let target = if rest[end..].starts_with('/') { &rest[end..] } else { "/" };
    let authority = authority.strip_suffix(port).unwrap_or(&authority).to_owned();
    (!authority.is_empty()).then_some((authority, target))
}

/// The path that a reference names, seen from `base`. Returns `None` for another authority than these.
pub(super) fn resolve(base: &str, reference: &str, authorities: &[String]) -> Option<String> {
    let network = reference.strip_prefix("//").map(|rest| format!("http://{rest}"));
    let reference = network.as_deref().unwrap_or(reference);
    if let Some((authority, target)) = split_url(reference) {
        let bare = |known: &str| {
            let known = known.to_ascii_lowercase();
            known.strip_suffix(":80").or(known.strip_suffix(":443")).unwrap_or(&known).to_owned()
        };
        let same = authorities.iter().any(|known| bare(known) == authority);
        return same.then(|| path_of(target).to_owned());
    }
    let path = path_of(reference);
    if path.split('/').next().is_some_and(|first| first.contains(':')) {
        // Some other scheme.
        return None;
    }
    if path.starts_with('/') {
        return Some(path.to_owned());
    }
    if path.is_empty() {
        return Some(base.to_owned());
    }
    let folder = &base[..=base.rfind('/')?];
    let mut kept: Vec<&str> = folder.split('/').collect();
    kept.pop();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." if kept.len() > 1 => drop(kept.pop()),
            ".." => {}
            other => kept.push(other),
        }
    }
    Some(kept.join("/"))
}

/// A pattern of `refreshes` with a write's parameters in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Every parameter was known.
    Path(String),
    /// The others match anything.
    Pattern(String),
}

/// Gives a pattern the values of a write: of the route's parameters with the same name, and, of a route that has none
/// but its `{*rest}`, what the written path has at the same place behind the same beginning (`written`).
pub(super) fn bind(pattern: &str, parameters: &[(String, String)], written: Option<&str>) -> Bound {
    let (mut path, mut open, mut is_open) = (String::new(), String::new(), false);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let parameter = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some(brace) = ["{{", "}}"].into_iter().find(|brace| rest.starts_with(brace)) {
            path.push(c);
            open.push_str(brace);
            rest = &rest[2..];
        } else if let Some((name, after)) = parameter {
            let wanted = name.strip_prefix('*').unwrap_or(name);
            let named = parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            let placed = || {
                written.filter(|_| !is_open && !name.starts_with('*')).and_then(|w| value_at(w, &path, after))
            };
            match named.or_else(placed) {
                Some(value) => {
                    open.push_str(&value.replace('{', "{{").replace('}', "}}"));
                    path.push_str(value);
                }
                None => {
                    is_open = true;
                    open.push_str(&rest[..rest.len() - after.len()]);
                }
            }
            rest = after;
        } else {
            path.push(c);
            open.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    if is_open { Bound::Pattern(open) } else { Bound::Path(path) }
}

/// The segment of a written path behind `before`. Returns `None` where there is none, or where it ends both the path and
/// the pattern: that one is the written resource itself, and the pattern means its neighbours.
fn value_at<'a>(written: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = written.strip_prefix(before).filter(|_| before.ends_with('/'))?;
    let (value, more) = rest.split_once('/').map_or((rest, false), |(value, _)| (value, true));
    let is_whole = after.is_empty() || after.starts_with('/');
    (is_whole && !value.is_empty() && (more || !after.is_empty())).then_some(value)
}

/// Whether some path may match both patterns; errs towards yes.
pub(super) fn may_overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(a), _) | (_, Some(a)) if a.contains("{*") => return true,
            (_, Some(b)) if b.contains("{*") => return true,
            (Some(a), Some(b)) if a == b || a.contains('{') || b.contains('{') => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
#[path = "write_reach_tests.rs"]
mod tests;
