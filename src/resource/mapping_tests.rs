//! Claims about where a client's path and query go on the upstream.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::{Route, Upstream};

fn route(path: &str, to: &str, exact: bool) -> Route {
    let mut route = Route::unsaid(Arc::new(Upstream::unsaid("legacy")));
    route.path = path.to_owned();
    route.upstream_path = Some(Arc::new(UpstreamPath::new(path, to)));
    route.exact_spelling = exact;
    route
}

#[test]
fn values_are_written_for_the_place_they_go_to() {
    for (path, to, target, wanted) in [
        ("/inventory/{*rest}", "/legacy/api.php/{*rest}", "/inventory/a/b?x=1", "/legacy/api.php/a/b?x=1"),
        ("/inventory/{*rest}", "/legacy/api.php/{*rest}", "/inventory/", "/legacy/api.php/"),
        ("/inventory/{*rest}", "/legacy/{*rest}", "/inventory/a%2Cb/%C3%A9", "/legacy/a%2Cb/%C3%A9"),
        ("/inventory/{*rest}", "/legacy/{*rest}", "/inventory/a?", "/legacy/a?"),
        ("/{*rest}", "/legacy/{*rest}", "/a", "/legacy/a"),
        ("/legacy/{*rest}", "/{*rest}", "/legacy/", "/"),
        ("/prices/{s}", "/api.php?symbol={s}", "/prices/A", "/api.php?symbol=A"),
        ("/prices/{s}", "/api.php?symbol={s}", "/prices/A?x=1&y", "/api.php?symbol=A&x=1&y"),
        ("/prices/{s}", "/api.php?symbol={s}", "/prices/A?", "/api.php?symbol=A"),
        ("/prices/{s}", "/api.php?symbol={s}", "/prices/A&b=c+d", "/api.php?symbol=A%26b%3Dc%2Bd"),
        ("/prices/{s}", "/api.php?symbol={s}", "/prices/A%26%23%3F%20x", "/api.php?symbol=A%26%23%3F%20x"),
        ("/prices/{s}", "/api.php?a=1&b&symbol=X{s}Y&c=", "/prices/A", "/api.php?a=1&b&symbol=XAY&c="),
        ("/files/{*rest}", "/get.php?file={*rest}", "/files/a/b c", "/get.php?file=a%2Fb%20c"),
        ("/t/{t}/x/{*rest}", "/{t}.svc/{*rest}?for={t}", "/t/a/x/1/2", "/a.svc/1/2?for=a"),
        ("/status", "/cgi/status.cgi?json", "/status?now", "/cgi/status.cgi?json&now"),
    ] {
        let route = route(path, to, false);
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        assert_eq!(check_target(&route, path, query), Ok(()), "{target}");
        assert_eq!(upstream_target(&route, path, query).as_deref(), Some(wanted), "{target}");
    }
}

#[test]
fn what_may_be_read_elsewhere_has_no_target() {
    let rest = route("/{*rest}", "/legacy/{*rest}", false);
    let inner = route("/c/{x}", "/legacy/{x}/details", false);
    let query = route("/c/{*x}", "/api.php?x={x}", false);
    let exact = route("/c/{x}", "/legacy/{x}/details", true);
    for (route, path) in [
        (&rest, "/../secret"),
        (&rest, "/a/%2e%2e/%2e%2e/secret"),
        (&rest, "/..%2fsecret"),
        (&rest, "/%252e%252e/secret"),
        (&rest, "/..;/secret"),
        (&rest, "/..\\secret"),
        (&rest, "/%c0%ae%c0%ae/secret"),
        (&rest, "/x%00/../../secret"),
        (&inner, "/c/a%3Fb"),
        (&inner, "/c/a%23b"),
        (&inner, "/c/a%2Fb"),
        (&inner, "/c/a%252Fb"),
        (&inner, "/c/.."),
        (&inner, "/c/%2e%2e"),
        (&inner, "/c/a%00"),
        (&query, "/c/../../etc/passwd"),
        (&query, "/c/..%2f..%2fetc"),
        (&query, "/c/a%2526admin=1"),
        (&query, "/c/a%c0%a6admin=1"),
        (&exact, "/c/..%2F..%2Fsecret"),
        (&exact, "/c/%252E%252E%252Fsecret"),
    ] {
        assert_eq!(check_target(route, path, None), Err(NoTarget::Leaves), "{path}");
    }
    // The operator's word: a slash may be a part of a name.
    assert_eq!(check_target(&exact, "/c/group%2Fproject", None), Ok(()));
    let target = upstream_target(&exact, "/c/group%2Fproject", None);
    assert_eq!(target.as_deref(), Some("/legacy/group%2Fproject/details"));
    assert_eq!(check_target(&rest, "/a/../b", None), Ok(()), "it stays below");
}

#[test]
fn a_parameter_that_is_set_is_not_the_clients_to_say() {
    let route = route("/prices/{s}", "/api.php?symbol={s}&user_id=7", false);
    for query in [
        "symbol=B",
        "x=1&symbol",
        "SYMBOL=B",
        "symbol[]=B",
        "symbol%5B%5D=B",
        "symbol%5b0%5d[x]=B",
        "symbol.x=B",
        "s%79mbol=B",
        "s%2579mbol=B",
        "+symbol=B",
        "%20symbol=B",
        "symbol%00x=B",
        "x;symbol=B",
        "user.id=8",
        "user+id=8",
        "user%20id=8",
        "user[id=8",
        "User_ID=8",
        "symbol=A",
    ] {
        let found = check_target(&route, "/prices/A", Some(query));
        assert!(matches!(found, Err(NoTarget::Sets(_))), "{query}: {found:?}");
    }
    for query in ["", "symbols=B", "x=symbol", "a[symbol]=B", "userid=8", "_symbol=1"] {
        assert_eq!(check_target(&route, "/prices/A", Some(query)), Ok(()), "{query}");
    }
}

#[test]
fn the_prefix_is_said_where_both_patterns_end_in_the_same_rest() {
    for (path, to, of, wanted) in [
        ("/inventory/{*rest}", "/legacy/{*rest}", "/inventory/a", Some("/inventory")),
        ("/t/{t}/{*rest}", "/legacy/{t}/{*rest}", "/t/acme/a/b", Some("/t/acme")),
        ("/{*rest}", "/legacy/{*rest}", "/a", Some("/")),
        ("/files/{*rest}", "/get.php?file={*rest}", "/files/a", None),
        ("/prices/{s}", "/{s}", "/prices/a", None),
    ] {
        let prefix = forwarded_prefix(&route(path, to, false), of);
        assert_eq!(prefix.as_ref().map(|prefix| prefix.to_str().unwrap()), wanted, "{path}");
    }
}

/// Pieces of paths that some server reads otherwise than they look.
fn raw() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "[a-z]{1,3}",
        prop::sample::select(vec![
            "/",
            "//",
            ".",
            "..",
            "%2e",
            "%2E%2e",
            "%2f",
            "%252f",
            "%5c",
            "\\",
            ";",
            "%3b",
            "?x",
            "%3f",
            "#",
            "%23",
            "&",
            "%26",
            "%2526",
            "=",
            "+",
            "%00",
            "%",
            "%u002f",
            "%u002e",
            "%c0%af",
            "%c0%ae",
            "%e0%80%ae",
            "%f0%80%80%af",
            "%25%32%66",
            "{x}",
            " ",
            "é",
            "%zz",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_value_of_a_client_leaves_its_place_under_any_reading(value in raw(), exact in any::<bool>()) {
        for (path, to) in [
            ("/c/{*rest}", "/legacy/api.php/{*rest}"),
            ("/{*rest}", "/legacy/{*rest}"),
            ("/c/{x}", "/legacy/{x}/details"),
            ("/c/{x}", "/legacy/v{x}2f.json"),
        ] {
            let route = route(path, to, exact);
            let raw = if path == "/{*rest}" { format!("/{value}") } else { format!("/c/{value}") };
            if check_target(&route, &raw, None).is_err() {
                continue;
            }
            let target = upstream_target(&route, &raw, None).expect("a target");
            for reading in Readings::of(&target).iter() {
                prop_assert!(reading.starts_with("/legacy/"), "{} is {}, read as {}", raw, target, reading);
                if to.ends_with("details") && !exact {
                    prop_assert!(reading.ends_with("/details"), "{} is {}, read as {}", raw, target, reading);
                    prop_assert_eq!(reading.matches('/').count(), 3);
                }
            }
        }
    }

    #[test]
    fn a_value_in_a_query_is_one_value(value in raw(), query in proptest::option::of("[a-z]=[a-z]")) {
        let route = route("/c/{*x}", "/api.php?symbol={x}", false);
        let raw = format!("/c/{value}");
        if check_target(&route, &raw, query.as_deref()).is_ok() {
            let target = upstream_target(&route, &raw, query.as_deref()).expect("a target");
            let own = target.strip_prefix("/api.php?symbol=").expect("the path and the parameter");
            let own = query.as_deref().map_or(own, |query| own.strip_suffix(&format!("&{query}")).expect("behind"));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte);
            prop_assert!(own.bytes().all(is_plain), "{}", target);
            let once = decode_lossy(own);
            prop_assert_eq!(decode(&decode(own)), once);
        }
    }
}
