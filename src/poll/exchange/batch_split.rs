//! One request for many items and its answer taken apart: names, targets, raw slices.
//!
//! Pure. Must not know: when requests are made, which polls wait for an item.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::config::upstream_path::Pattern;
use crate::config::{Batch, Route};
use crate::resource::{Json, Kind, set_query, stays};
use crate::upstream::Answer;
use crate::upstream::schedule::is_quota_field;

/// Longest target of one request, bytes: what servers take everywhere.
pub(super) const TARGET_BYTES_MAX: usize = 8 * 1024;

/// What a name leaves as it is in a query.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What cannot stand in a query at all.
const SEPARATOR: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A resource as an item of a batch, and what the request for it and others has of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
}

/// What a path and query of a batch's route are about. Returns `None` if the name cannot stand in a list of names, or
/// another part of the path would be read as more than it is.
pub(super) fn item(route: &Route, batch: &Batch, path: &str, query: Option<&str>) -> Option<Share> {
    let mut router = matchit::Router::new();
    router.insert(&route.path, ()).ok()?;
    let found = router.at(path).ok()?;
    let pattern = Pattern::of(&batch.path);
    let values: Vec<(&str, &str)> =
        found.params.iter().filter(|(name, _)| *name != batch.parameter).collect();
    let shared = pattern.fill(&values).filter(|shared| stays(&pattern, shared, route.exact_spelling))?;
    // What the route sets for one resource it sets for several, but for the name.
    let set = match &route.upstream_path {
        Some(to) => set_query(to, &values, Some(&batch.parameter))?,
        None => String::new(),
    };
    let query = match query.filter(|query| !query.is_empty()) {
        _ if set.is_empty() => query.map(str::to_owned),
        Some(query) => Some(format!("{set}&{query}")),
        None => Some(set),
    };
    let name = percent_decode_str(found.params.get(&batch.parameter)?).decode_utf8().ok()?;
    // Upstreams decode first and take the list apart then.
    let fits = !name.is_empty() && !name.contains(&batch.separator);
    fits.then(|| Share { name: name.into_owned(), path: shared, query })
}

/// The target of a request for these items.
pub(super) fn target(batch: &Batch, path_and_query: &str, names: &[&str]) -> String {
    let mark = if path_and_query.contains('?') { '&' } else { '?' };
    let query = utf8_percent_encode(&batch.query, NAME);
    let separator = utf8_percent_encode(&batch.separator, SEPARATOR).to_string();
    let names: Vec<String> = names.iter().map(|name| utf8_percent_encode(name, NAME).to_string()).collect();
    format!("{path_and_query}{mark}{query}={}", names.join(&separator))
}

/// Which names go with which request: at most `max` and [`TARGET_BYTES_MAX`] each.
pub(super) fn portions(batch: &Batch, path_and_query: &str, names: &[&str]) -> Vec<Range<usize>> {
    let empty = target(batch, path_and_query, &[]).len();
    let separator = utf8_percent_encode(&batch.separator, SEPARATOR).map(str::len).sum::<usize>();
    let mut portions: Vec<Range<usize>> = Vec::new();
    let mut length = 0;
    for (at, name) in names.iter().enumerate() {
        let more = utf8_percent_encode(name, NAME).map(str::len).sum::<usize>() + separator;
        match portions.last_mut() {
            Some(portion) if portion.len() < batch.max && length + more <= TARGET_BYTES_MAX => {
                portion.end = at + 1;
                length += more;
            }
            _ => {
                portions.push(at..at + 1);
                length = empty + more;
            }
        }
    }
    portions
}

/// The items of an answer that are wanted, by name, as they stand in it. Of two with one name the
/// first counts.
///
/// # Errors
/// Why the answer cannot be taken apart.
pub(super) fn items(
    body: Bytes,
    batch: &Batch,
    wanted: &HashSet<String>,
) -> Result<HashMap<String, Bytes>, String> {
    let json = Json::parse(body).map_err(|error| format!("the answer to a batch is no JSON: {error}"))?;
    let list = json.root().pointer(&batch.items);
    let Some(list) = list.filter(|list| list.kind() == Kind::Array) else {
        let place = if batch.items.is_empty() { "its root" } else { &batch.items };
        return Err(format!("the answer to a batch has no array at {place}"));
    };
    let (mut found, mut nameless) = (HashMap::new(), 0_usize);
    for item in list.items() {
        let name = item.pointer(&batch.key).and_then(|name| match name.kind() {
            Kind::String => name.string().map(|name| name.into_owned()),
            Kind::Number => std::str::from_utf8(name.raw()).ok().map(str::to_owned),
            _ => None,
        });
        match name {
            Some(name) if wanted.contains(&name) => {
                // A copy: a slice would keep the other items alive as long as this one.
                found.entry(name).or_insert_with(|| Bytes::copy_from_slice(item.raw()));
            }
            Some(_) => {}
            None => nameless += 1,
        }
    }
    if found.is_empty() && nameless > 0 {
        // Nothing is gone because of a wrong pointer.
        return Err(format!("the items of a batch have no name at {}", batch.key));
    }
    Ok(found)
}

/// Fields that speak of the whole answer and of no item in it.
const OF_THE_WHOLE: [HeaderName; 8] = [
    header::ETAG,
    header::LAST_MODIFIED,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_LOCATION,
    header::CONTENT_DISPOSITION,
    header::TRANSFER_ENCODING,
    header::LINK,
];

/// Digests of the whole body.
const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

/// The answer about an item that another answer leaves out.
pub(super) fn missing(answer: &Answer) -> Answer {
    let (status, phrase) = (StatusCode::NOT_FOUND, None);
    Answer { status, phrase, headers: HeaderMap::new(), body: Bytes::new(), ..answer.clone() }
}

/// The fields of an answer that say when to ask again.
pub(super) fn pace(headers: &HeaderMap) -> HeaderMap {
    let is_pace =
        |name: &HeaderName| *name == header::DATE || *name == header::RETRY_AFTER || is_quota_field(name);
    headers
        .iter()
        .filter(|(name, _)| is_pace(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Fields whose values are words of HTTP, whatever the items are called.
const OF_HTTP: [HeaderName; 8] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::VARY,
];

/// The fields of an answer about these items as fields of one of them: none that names an item, since most of them are
/// others'.
pub(super) fn fields(headers: &HeaderMap, names: &HashSet<String>) -> HeaderMap {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
    let names_one = |value: &HeaderValue, name: &str| {
        let (value, name) = (value.as_bytes(), name.as_bytes());
        let is_bounded = |at: usize| {
            let before = at.checked_sub(1).and_then(|before| value.get(before));
            !before.is_some_and(is_word) && !value.get(at + name.len()).is_some_and(is_word)
        };
        value.windows(name.len().max(1)).enumerate().any(|(at, found)| found == name && is_bounded(at))
    };
    let is_anothers = |name: &HeaderName, value: &HeaderValue| {
        names.len() > 1
            && !OF_HTTP.contains(name)
            && !is_quota_field(name)
            && names.iter().any(|item| names_one(value, item))
    };
    let of_none = headers.iter().filter(|(name, value)| !is_anothers(name, value));
    let mut kept: HeaderMap = of_none.map(|(name, value)| (name.clone(), value.clone())).collect();
    for name in OF_THE_WHOLE {
        kept.remove(name);
    }
    for name in DIGESTS {
        kept.remove(name);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamPath;
    use crate::hub::tests::route::route;
    use std::sync::Arc;
    use std::time::Duration;

    fn batch() -> Batch {
        Batch {
            path: "/shops/{shop}/items".into(),
            parameter: "id".into(),
            query: "ids".into(),
            separator: ",".into(),
            max: 3,
            items: "/items".into(),
            key: "/id".into(),
            window: Duration::from_millis(20),
        }
    }

    const ROUTE: &str = "/shops/{shop}/items/{id}";

    #[test]
    fn an_item_is_named_by_its_parameter_and_goes_with_those_of_the_same_place() {
        let of = Route { path: ROUTE.to_owned(), exact_spelling: true, ..route() };
        let found = |path| item(&of, &batch(), path, None);
        let wanted = |name: &str, path: &str| {
            Some(Share { name: name.to_owned(), path: path.to_owned(), query: None })
        };
        assert_eq!(found("/shops/7/items/a"), wanted("a", "/shops/7/items"));
        assert_eq!(found("/shops/8%2F9/items/%C3%A9%20b"), wanted("é b", "/shops/8%2F9/items"));
        assert_eq!(found("/shops/7/items/a%2Cb"), None, "two names, once it is decoded");
        assert_eq!(found("/shops/7/items/%FF"), None);
        assert_eq!(found("/elsewhere"), None);
    }

    #[test]
    fn what_upstream_path_sets_is_set_for_a_batch_but_for_the_name() {
        for (to, query, wanted) in [
            ("/api.php?shop={shop}&id={id}&format=json", None, Some("shop=7&format=json")),
            ("/api.php?shop={shop}&id={id}&format=json", Some("x=1"), Some("shop=7&format=json&x=1")),
            ("/api.php?shop={shop}&id={id}&raw", Some(""), Some("shop=7&raw")),
            ("/{shop}/{id}", Some("x=1"), Some("x=1")),
            ("/{shop}/{id}", None, None),
        ] {
            let upstream_path = Some(Arc::new(UpstreamPath::new(ROUTE, to)));
            let of = Route { path: ROUTE.to_owned(), upstream_path, ..route() };
            let found = item(&of, &batch(), "/shops/7/items/a", query).unwrap();
            assert_eq!((found.name.as_str(), found.query.as_deref()), ("a", wanted), "{to} {query:?}");
        }
    }

    #[test]
    fn names_are_written_so_that_each_stays_one() {
        assert_eq!(target(&batch(), "/items", &["a", "é&b=c", "+"]), "/items?ids=a,%C3%A9%26b%3Dc,%2B");
        assert_eq!(target(&batch(), "/items?x=1", &["a"]), "/items?x=1&ids=a");
        let repeated = Batch { query: "id[]".into(), separator: "&id[]=".into(), ..batch() };
        assert_eq!(target(&repeated, "/i", &["a", "b"]), "/i?id%5B%5D=a&id%5B%5D=b");
    }

    #[test]
    fn requests_are_bounded_in_names_and_bytes() {
        assert_eq!(portions(&batch(), "/i", &["a"; 7]), [0..3, 3..6, 6..7]);
        assert!(portions(&batch(), "/i", &[]).is_empty());
        let many = Batch { max: 1000, separator: "|".into(), ..batch() };
        let names: Vec<String> = (0..1000).map(|n| format!("name-é-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let portions = portions(&many, "/i?x=1", &names);
        let longest = portions.iter().map(|p| target(&many, "/i?x=1", &names[p.clone()]).len()).max();
        assert!(longest <= Some(TARGET_BYTES_MAX) && longest > Some(TARGET_BYTES_MAX - 40), "{longest:?}");
        assert_eq!(portions.iter().map(ExactSizeIterator::len).sum::<usize>(), 1000);
    }

    fn split(body: &'static str) -> Result<Vec<(String, Bytes)>, String> {
        let wanted = ["a", "b", "7"].map(str::to_owned).into();
        let found = items(Bytes::from_static(body.as_bytes()), &batch(), &wanted)?;
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort();
        Ok(found)
    }

    #[test]
    fn items_come_out_as_they_stand() {
        let body =
            "{\"items\": [ {\"id\":\"b\", \"n\": 1.50} ,{\"id\":7},{\"id\":\"other\"},{\"id\":\"b\"}, 3]}";
        let found = split(body).unwrap();
        let wanted = [("7", "{\"id\":7}"), ("b", "{\"id\":\"b\", \"n\": 1.50}")];
        assert_eq!(found, wanted.map(|(name, raw)| (name.to_owned(), Bytes::from_static(raw.as_bytes()))));
        assert_eq!(split("{\"items\":[]}").unwrap(), [], "all of them are missing");
        assert_eq!(split("{\"items\":[{\"id\":\"other\"}]}").unwrap(), []);
    }

    #[test]
    fn answers_that_are_no_list_are_told_apart() {
        for (body, told) in [
            ("<html>", "no JSON"),
            ("{\"items\":{}}", "no array at /items"),
            ("[]", "no array at /items"),
            ("{\"items\":[{\"key\":\"a\"}]}", "no name at /id"),
        ] {
            let reason = split(body).unwrap_err();
            assert!(reason.contains(told), "{reason}");
        }
    }
}
