//! The files of the page, embedded in the binary. They hold nothing that a token guards.
//!
//! Owns their paths, types and security headers. Must not know: what feeds the page.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::admin::response::typed;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

const FILES: [(&str, &str, &str); 13] = [
    ("/", HTML, include_str!("../page/page.html")),
    ("/-/dashboard/page.css", CSS, include_str!("../page/page.css")),
    ("/-/dashboard/main.js", JS, include_str!("../page/main.js")),
    ("/-/dashboard/parts.js", JS, include_str!("../page/parts.js")),
    ("/-/dashboard/act.js", JS, include_str!("../page/act.js")),
    ("/-/dashboard/explain.js", JS, include_str!("../page/explain.js")),
    ("/-/dashboard/opened.js", JS, include_str!("../page/opened.js")),
    ("/-/dashboard/routes.js", JS, include_str!("../page/routes.js")),
    ("/-/dashboard/plots.js", JS, include_str!("../page/plots.js")),
    ("/-/dashboard/follow.js", JS, include_str!("../page/follow.js")),
    ("/-/dashboard/preact.js", JS, include_str!("../page/vendor/preact.js")),
    ("/-/dashboard/uplot.js", JS, include_str!("../page/vendor/uplot.js")),
    ("/-/dashboard/uplot.css", CSS, include_str!("../page/vendor/uplot.css")),
];

/// Nothing from elsewhere, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The answer to a GET of one of the page's files; `None` for any other path.
pub(in crate::admin) fn file(path: &str) -> Option<Response<Full<Bytes>>> {
    let (_, media_type, content) = FILES.into_iter().find(|(own, ..)| *own == path)?;
    let mut response = typed(StatusCode::OK, media_type, Bytes::from_static(content.as_bytes()));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most bytes of the page with all its files.
    const PAGE_BYTES_MAX: usize = 160 * 1024;

    #[test]
    fn every_file_the_page_names_is_embedded_and_nothing_is_loaded_from_elsewhere() {
        for (path, _, content) in FILES {
            for opening in ["\"/-/dashboard/", "\"./"] {
                for (at, _) in content.match_indices(opening) {
                    let rest = &content[at + 1..];
                    let name = rest.split('"').next().unwrap_or_default().replace("./", "/-/dashboard/");
                    let is_call = [super::super::STREAM, super::super::RESOURCES, super::super::REASONS]
                        .iter()
                        .any(|call| name.starts_with(call));
                    assert!(is_call || file(&name).is_some(), "{path} names {name}");
                }
            }
            for foreign in ["src=\"http", "href=\"http", "url(http", "@import", "from \"http", "fetch(\"http"]
            {
                assert!(!content.contains(foreign), "{path} contains {foreign}");
            }
        }
    }

    #[test]
    fn the_page_is_small() {
        let bytes: usize = FILES.iter().map(|(.., content)| content.len()).sum();
        assert!(bytes < PAGE_BYTES_MAX, "{bytes} bytes");
    }
}
