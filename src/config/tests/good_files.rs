//! Claims about what a loaded file means.

use std::path::Path;
use std::time::Duration;

use http::{HeaderName, Method};

use super::super::*;
use super::{ROUTE, SMALLEST, loaded, route};

#[test]
fn the_shipped_beginning_loads_from_its_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/pollcast.yaml");
    let config = load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.routes[0].poll.interval, Duration::from_secs(2));
    assert_eq!(config.warnings, []);
}

#[test]
fn the_smallest_file_gets_every_default() {
    let config = loaded(SMALLEST);
    assert_eq!(config.limits.clients, 100_000);
    assert_eq!(config.passthrough.as_ref().map(|upstream| upstream.name.as_str()), Some("api"));
    assert_eq!(config.listeners[0].client_address, ClientAddress::Peer);
    assert!(config.admin.is_none() && config.routes.is_empty() && config.warnings.is_empty());
}

#[test]
fn a_route_takes_the_defaults_key_by_key() {
    let config = loaded(&format!(
        "{ROUTE}    poll: {{ interval: 1s }}
    cors: off
  - {{ path: /other, upstream: api, ignore_query: [], max_clients: off }}
defaults:
  poll: {{ interval: 9s, linger: 1m, headers: {{ X-Api-Key: k }} }}
  cors: {{ origins: [\"https://a.example\"] }}
  max_clients: 7
"
    ));
    let [prices, other] = config.routes.as_slice() else { panic!("two routes") };
    assert_eq!((prices.poll.interval, prices.poll.linger), (Duration::from_secs(1), Duration::from_secs(60)));
    assert_eq!(prices.poll.headers[0].0, "x-api-key");
    assert!(prices.cors.is_none());
    assert_eq!((prices.max_clients, other.max_clients), (Some(7), None));
    assert_eq!(other.poll.interval, Duration::from_secs(9));
    assert_eq!(
        other.cors.as_ref().map(|cors| cors.origins.as_slice()),
        Some(&["https://a.example".to_owned()][..])
    );
    assert!(other.query.ignore.is_empty() && !prices.query.ignore.is_empty());
}

#[test]
fn what_passes_through_may_begin_late_but_not_for_ever_unless_said() {
    let limit = |said: &str| {
        let yaml = format!(
            "listeners: [{{ address: 0.0.0.0:8080 }}]\npassthrough: api\n\
             upstreams: {{ api: {{ servers: [127.0.0.1:3000]{said} }} }}\nroutes: [{{ path: /a, upstream: api }}]\n"
        );
        loaded(&yaml).upstreams[0].passthrough_first_byte_timeout
    };
    assert_eq!(limit(""), Some(Duration::from_secs(900)));
    assert_eq!(limit(", passthrough_first_byte_timeout: 2m"), Some(Duration::from_secs(120)));
    assert_eq!(limit(", passthrough_first_byte_timeout: off"), None);
}

#[test]
fn a_poll_may_take_as_long_as_the_upstream_unless_said() {
    let text = ROUTE.replace("127.0.0.1:3000],", "127.0.0.1:3000], total_timeout: 40s,");
    assert_eq!(loaded(&text).routes[0].poll.timeout, Duration::from_secs(40));
    let said = loaded(&format!("{text}defaults: {{ poll: {{ timeout: 3s }} }}\n"));
    assert_eq!(said.routes[0].poll.timeout, Duration::from_secs(3));
}

#[test]
fn the_usual_credentials_stay_whatever_is_said() {
    let credentials = route("    credentials: [X-Session, cookie, authorization]\n").credentials;
    let names: Vec<_> = credentials.iter().map(HeaderName::as_str).collect();
    assert_eq!(names, ["authorization", "proxy-authorization", "x-api-key", "x-auth-token", "x-session"]);
}

#[test]
fn what_headers_mean_is_said_by_name() {
    let said =
        "    vary: [Api-Version]\n    ignore_vary: [User-Agent]\n    ignore_headers: [X-App-Version]\n";
    let rules = route(said).headers;
    let names = |names: &[HeaderName]| names.iter().map(HeaderName::to_string).collect::<Vec<_>>();
    assert_eq!(names(&rules.vary), ["api-version"]);
    assert_eq!(names(&rules.ignore_vary), ["user-agent"]);
    assert_eq!(names(&rules.ignore), ["x-app-version"]);
    assert_eq!(route("").headers, HeaderRules::default());
}

#[test]
fn sharing_is_read_in_all_its_forms() {
    assert_eq!(route("").share, Share::Unset);
    assert_eq!(route("    share: public\n").share, Share::Public);
    assert_eq!(
        route("    share: { by: [Authorization, \"cookie:Session\"] }\n").share,
        Share::By(vec![
            ClassValue::Header(HeaderName::from_static("authorization")),
            ClassValue::Cookie("Session".to_owned())
        ])
    );
}

#[test]
fn switches_can_be_renamed_and_switched_off() {
    let switches = route("    switches: { push: off, wait: hold, wait_header: off }\n").switches;
    let wanted = Switches {
        resume: Switches::default().resume,
        push: None,
        wait: Some("hold".to_owned()),
        delta: Some("_delta".to_owned()),
        presence: None,
        wait_header: false,
    };
    assert_eq!(switches, wanted);
}

#[test]
fn sending_goes_to_the_routes_own_path_unless_said() {
    let send = route("    websocket: { send: { method: PUT, rate: 3/s } }\n").websocket.send.expect("sends");
    assert_eq!((send.method, send.path.as_str(), send.rate), (Method::PUT, "/prices", 3));
    let text = ROUTE.replace("/prices", "/rooms/{room}/messages");
    let config = loaded(&format!("{text}    websocket: {{ send: {{ path: \"/rooms/{{room}}/inbox\" }} }}\n"));
    assert_eq!(
        config.routes[0].websocket.send.as_ref().map(|send| send.path.as_str()),
        Some("/rooms/{room}/inbox")
    );
}

#[test]
fn servers_are_read_in_both_forms() {
    let text = SMALLEST.replace("[127.0.0.1:3000]", "[\"[::1]:3000\", { address: a.example:80, weight: 3 }]");
    let config = loaded(&text);
    let servers: Vec<_> =
        config.upstreams[0].servers.iter().map(|s| (s.address.as_str(), s.weight)).collect();
    assert_eq!(servers, [("[::1]:3000", 1), ("a.example:80", 3)]);
}

#[test]
fn aliases_and_empty_sections_do_no_harm() {
    let config = loaded(&format!(
        "{ROUTE}    poll: &often {{ interval: 1s }}\n  - {{ path: /b, upstream: api, poll: *often }}\nadmin:\nlimits:\n"
    ));
    assert_eq!(config.routes[1].poll.interval, Duration::from_secs(1));
    assert!(config.admin.is_none());
}

#[test]
fn what_is_suspicious_is_told_without_refusing() {
    let config = loaded(
        "listeners: [{ address: 0.0.0.0:8080, client_address: forwarded }]
admin: { address: 0.0.0.0:9090 }
upstreams:
  api: { servers: [127.0.0.1:3000], tls: { verify: false } }
  spare: { servers: [127.0.0.1:3001] }
passthrough: api
",
    );
    assert_eq!(
        Problems(config.warnings).to_string(),
        "pollcast.yaml:1: listeners[0].client_address: without trusted_proxies, the connection's address is used
pollcast.yaml:2: admin.address: others than this machine may reach it, and no token protects it
pollcast.yaml:4: upstreams.api.tls.verify: anybody on the way can pose as this upstream
pollcast.yaml:5: upstreams.spare: neither a route nor passthrough uses this upstream"
    );
}

#[test]
fn intervals_budgets_and_credentials_are_read_in_all_their_forms() {
    let poll = route("    poll: { interval: { min: 500ms, max: 1m } }\n").poll;
    assert_eq!(
        (poll.interval, poll.adaptive_max),
        (Duration::from_millis(500), Some(Duration::from_secs(60)))
    );
    let config = loaded(
        "listeners: [{ address: 0.0.0.0:8080 }]\n\
         upstreams: { api: { servers: [127.0.0.1:3000], budget: { rate: 30/m }, breaker: { failures: off } } }\n\
         passthrough: api\n",
    );
    let budget = config.upstreams[0].budget.expect("a budget");
    assert_eq!((budget.rate, budget.burst, budget.max_concurrent), (0.5, 1, 16));
    assert_eq!(budget.scope, BudgetScope::Cluster);
    let alone = loaded(
        "listeners: [{ address: 0.0.0.0:8080 }]\n\
         upstreams: { api: { servers: [127.0.0.1:3000], budget: { rate: 30/m, scope: node } } }\n\
         passthrough: api\n",
    );
    assert_eq!(alone.upstreams[0].budget.expect("a budget").scope, BudgetScope::Node);
    assert_eq!(config.upstreams[0].breaker.failures, None);
    let auth = route("    poll: { auth: { basic: { user: ann, password: 'p:w' } } }\n").poll.auth;
    match auth {
        Some(Auth::Static(value)) => assert_eq!(value, "Basic YW5uOnA6dw=="),
        other => panic!("{other:?}"),
    }
    let url = "https://auth.example.com/oauth/token?x=1";
    let oauth = format!("{{ token_url: '{url}', client_id: c, client_secret: hunter2, scope: 'a b' }}");
    let auth = route(&format!("    poll: {{ auth: {{ oauth2: {oauth} }} }}\n")).poll.auth;
    let shown = format!("{auth:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    match auth {
        Some(Auth::ClientCredentials(of)) => {
            assert_eq!(of.server.servers[0].address, "auth.example.com:443");
            assert_eq!(
                (of.path.as_str(), of.server.host.as_deref()),
                ("/oauth/token?x=1", Some("auth.example.com"))
            );
            assert!(of.server.tls.is_some());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn change_rules_are_read_in_all_their_forms() {
    let change = route(
        "    change: { ignore: [/time, '$..id'], select: /data, tolerance: { /a: 0.5 }, array_key: { /rows: /id } }\n",
    )
    .change;
    assert_eq!(change.ignore.len(), 2);
    assert!(matches!(&change.ignore[1], Members::Path(_)));
    assert_eq!(change.select.as_deref(), Some("/data"));
    assert_eq!(change.tolerance, [(Members::Pointer("/a".into()), 0.5)]);
    assert_eq!(change.array_keys[0].key, "/id");
    assert!(change.is_canonical());
    let change = route("    change: { tolerance: 1, array_key: /id }\n").change;
    assert_eq!(change.tolerance, [(Members::Pointer(String::new()), 1.0)]);
    assert_eq!(change.array_keys[0].of, None);
    let change = route("    change: { select: /data }\n").change;
    assert!(change.has_rules() && !change.is_canonical());
    assert!(!route("    delta: false\n").delta.enabled);
    assert_eq!(route("    delta: { patch_max_ratio: 0.5 }\n").delta.patch_max_ratio, 0.5);
}

#[test]
fn one_pattern_of_lines_needs_no_list() {
    for said in ["'^Reading '", "['^Reading ']"] {
        let change = route(&format!("    change: {{ ignore_lines: {said} }}\n")).change;
        assert!(change.ignore_lines.len() == 1 && change.ignore_lines[0].matches("Reading 7"), "{said}");
    }
}

#[test]
fn feeds_and_batches_are_read_in_all_their_forms() {
    let feed = route(
        "    feed: { items: '', id: /id, order: oldest_first, cursor: { query: since, from: /last },\n      \
         pages: { next: number, query: page, max: 3 }, replay: 5, on_update: event, history: 50 }\n",
    )
    .feed
    .expect("a feed");
    assert_eq!((feed.items.as_str(), feed.order), ("", Some(Order::OldestFirst)));
    assert_eq!(feed.cursor, Some(Cursor { query: "since".into(), from: "/last".into() }));
    assert_eq!(feed.pages, Some(Pages { next: None, query: Some("page".into()), max: 3 }));
    assert_eq!((feed.replay, feed.tells_updates, feed.history), (5, true, 50));
    assert_eq!((feed.id, feed.tells_returns), (vec!["/id".to_owned()], true));
    let feed =
        route("    feed: { items: '', id: [/vhost, /meta/name], order: none, on_return: ignore }\n").feed;
    let feed = feed.expect("a feed");
    assert_eq!(feed.id, ["/vhost", "/meta/name"]);
    assert_eq!((feed.order, feed.tells_returns), (Some(Order::Unordered), false));
    let file = |path: &str, batch: &str| {
        format!(
            "listeners: [{{ address: 0.0.0.0:8080 }}]\nupstreams: {{ api: {{ servers: [127.0.0.1:3000] }} }}\n\
             routes: [{{ path: '{path}', upstream: api, poll: {{ batch: {batch} }} }}]\n"
        )
    };
    let batch =
        |path: &str, batch: &str| loaded(&file(path, batch)).routes[0].poll.batch.clone().expect("a batch");
    let plain = batch("/items/{id}", "{ param: ids, items: /items, key: /id }");
    assert_eq!((plain.path.as_str(), plain.parameter.as_str(), plain.max), ("/items", "id", 100));
    assert_eq!(batch("/{id}", "{ param: ids, items: '', key: /id }").path, "/");
    let said = "{ param: ids, items: /items, key: /id, path: '/shops/{shop}/all', parameter: id, max: 10 }";
    let said = batch("/shops/{shop}/items/{id}/price", said);
    assert_eq!((said.path.as_str(), said.parameter.as_str(), said.max), ("/shops/{shop}/all", "id", 10));
    assert_eq!(route("    refreshes: ['/rooms/{room}']\n").refreshes, ["/rooms/{room}"]);
    assert!(route("").refreshes_parent && !route("    refreshes_parent: false\n").refreshes_parent);
    assert_eq!(route("    hold_not_modified: 5s\n").hold_not_modified, Some(Duration::from_secs(5)));
}

#[test]
fn a_wide_route_leaves_plain_requests_to_the_api_unless_the_file_says_otherwise() {
    let plain = |path: &str, route: &str, defaults: &str| {
        loaded(&format!(
            "listeners: [{{ address: 0.0.0.0:8080 }}]\nupstreams: {{ api: {{ servers: [127.0.0.1:3000] }} }}\n\
             routes: [{{ path: '{path}', upstream: api{route} }}]\ndefaults: {{ {defaults} }}\n"
        ))
        .routes[0]
            .plain
    };
    for path in ["/{*rest}", "/api/{*rest}", "/a/{b}/{*all}"] {
        assert_eq!(plain(path, "", ""), Plain::Pass, "{path}");
        assert_eq!(plain(path, ", plain: share", ""), Plain::Share, "{path}");
        assert_eq!(plain(path, "", "plain: share"), Plain::Share, "{path}");
        assert_eq!(plain(path, ", plain: pass", "plain: share"), Plain::Pass, "{path}");
    }
    for path in ["/a", "/a/{b}"] {
        assert_eq!(plain(path, "", ""), Plain::Share, "{path}");
        assert_eq!(plain(path, "", "plain: pass"), Plain::Pass, "{path}");
    }
}

#[test]
fn a_route_is_not_polled_where_it_or_the_defaults_say_so() {
    assert!(route("").polled && !route("    poll: off\n").polled);
    let with =
        |settings: &str| loaded(&format!("{ROUTE}{settings}defaults: {{ poll: off }}\n")).routes[0].polled;
    assert!(!with("") && with("    poll: { interval: 1s }\n"));
}

#[test]
fn places_keep_the_order_of_the_file() {
    let change = route(
        "    change: { tolerance: { /rates/JPY: 1, /rates: 0.01, $.a: 2 }, array_key: { /b: /id, /a: /id } }\n",
    )
    .change;
    let amounts: Vec<f64> = change.tolerance.iter().map(|(_, amount)| *amount).collect();
    assert_eq!(amounts, [1.0, 0.01, 2.0]);
    let of: Vec<_> = change.array_keys.into_iter().filter_map(|key| key.of).collect();
    assert_eq!(of, [Members::Pointer("/b".into()), Members::Pointer("/a".into())]);
}

#[test]
fn pages_of_the_defaults_are_kept_unless_another_way_is_said() {
    let pages = |defaults: &str, own: &str| {
        let text = format!(
            "{ROUTE}    feed: {{ items: /m, id: /id, pages: {own} }}\n\
             defaults: {{ feed: {{ items: /m, id: /id, pages: {defaults} }} }}\n"
        );
        let pages = loaded(&text).routes[0].feed.clone().and_then(|feed| feed.pages).expect("pages");
        (pages.next, pages.query, pages.max)
    };
    let numbered = "{ next: number, query: page, max: 9 }";
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(pages(numbered, "{ max: 3 }"), (None, text("page"), 3));
    assert_eq!(pages(numbered, "{ query: p }"), (None, text("p"), 9));
    assert_eq!(pages(numbered, "{ next: link }"), (None, None, 9));
    assert_eq!(pages(numbered, "{ next: /next }"), (text("/next"), None, 9));
    assert_eq!(pages("{ next: /next, query: after }", "{ max: 3 }"), (text("/next"), text("after"), 3));
    assert_eq!(pages("{ next: /next }", "{ query: after }"), (text("/next"), text("after"), 5));
}

#[test]
fn a_secret_that_leaves_the_machine_in_clear_is_warned_of() {
    let warnings = |url: &str| {
        let oauth = format!("{{ token_url: '{url}', client_id: c, client_secret: s, scope: '' }}");
        let config = loaded(&format!("{ROUTE}    poll: {{ auth: {{ oauth2: {oauth} }} }}\n"));
        match &config.routes[0].poll.auth {
            Some(Auth::ClientCredentials(of)) => assert_eq!(of.scope, None),
            other => panic!("{other:?}"),
        }
        Problems(config.warnings).to_string()
    };
    for url in
        ["https://auth.example.com", "http://localhost:81/t", "http://127.0.0.2/t", "http://[::1]/t?to=a@b"]
    {
        assert_eq!(warnings(url), "", "{url}");
    }
    assert_eq!(
        warnings("http://auth.example.com/token"),
        "pollcast.yaml:6: routes[0].poll.auth.oauth2.token_url: the client's secret goes over the network in clear"
    );
}

#[test]
fn two_ways_in_are_warned_of_as_namesakes_may_come_by_them() {
    let warnings = |authenticate: &str| {
        let text = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{a: {{servers: ['127.0.0.1:1']}}}}\n\
             routes: [{{path: /a, upstream: a, share: public, authenticate: {authenticate}}}]\n"
        );
        Problems(loaded(&text).warnings).to_string()
    };
    let keys = "keys: {clients: {ann: a-key-of-ann-0001}}";
    let jwt = "jwt: {issuer: [a], algorithms: [HS256], keys: [{secret: 'a secret of more than thirty-two characters'}]}";
    assert_eq!(warnings(&format!("{{{keys}}}")), "");
    assert_eq!(warnings(&format!("{{{jwt}}}")), "");
    let both = warnings(&format!("{{{jwt}, {keys}}}"));
    assert!(both.contains("routes[0].authenticate: lets clients in by jwt and keys"), "{both}");
}
