//! URI references taken apart and resolved (RFC 3986 §4.1, §5.2).
//!
//! Pure. Must not know: whose they are.

/// Returns scheme and authority of a reference, and the rest. A reference of another scheme has no rest.
pub(super) fn split(reference: &str) -> (&str, &str) {
    let end = reference.find(['/', '?']).unwrap_or(reference.len());
    let scheme = reference[..end].find(':').map_or(0, |at| at + 1);
    match reference[scheme..].strip_prefix("//") {
        Some(rest) => {
            let authority = rest.find(['/', '?']).unwrap_or(rest.len());
            reference.split_at(scheme + 2 + authority)
        }
        None if scheme > 0 => (reference, ""),
        None => ("", reference),
    }
}

/// Returns the authority in the part before a path.
pub(super) fn authority_of(before: &str) -> Option<&str> {
    let (scheme, authority) = before.split_once("//")?;
    let is_web = matches!(scheme.to_ascii_lowercase().as_str(), "" | "http:" | "https:");
    is_web.then_some(authority)
}

/// Whether two authorities are one, their usual ports left out.
pub(super) fn is_one(found: &str, known: Option<&str>) -> bool {
    let bare = |authority: &str| {
        let lower = authority.to_ascii_lowercase();
        lower.strip_suffix(":80").or(lower.strip_suffix(":443")).unwrap_or(&lower).to_owned()
    };
    known.is_some_and(|known| bare(found) == bare(known))
}

/// Resolves a relative reference against the target of its request (RFC 3986 §5.2). The result has no dot segments.
pub(super) fn resolved(from: &str, reference: &str) -> String {
    let base = from.split('?').next().unwrap_or("/");
    let folder = base.rfind('/').map_or("/", |end| &base[..=end]);
    let (path, query) =
        reference.split_once('?').map_or((reference, None), |(path, query)| (path, Some(query)));
    let path = match path {
        "" => base.to_owned(),
        path => without_dots(&format!("{folder}{path}")),
    };
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

/// Returns path and query behind an authority, without dot segments.
pub(super) fn absolute(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let path =
        without_dots(path.strip_prefix('/').map_or_else(|| format!("/{path}"), |_| path.to_owned()).as_str());
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if segments.peek().is_none() {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}
