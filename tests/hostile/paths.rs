//! Contract §11: one canonical path is matched and polled; a path with two readings goes nowhere near a
//! guarded route, and elsewhere through as it is.

use super::{Fate, Range, attempt_all};
use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Spellings of `/<route>/a` for some server; `R` stands for the route.
const SPELLINGS: [&str; 80] = [
    "//R/a",
    "/R//a",
    "///R///a",
    "/./R/a",
    "/R/./a",
    "/R/a/.",
    "/x/../R/a",
    "/R/x/../a",
    "/R/a/x/..",
    "/../R/a",
    "/../../../R/a",
    "/%2e/R/a",
    "/%2E/R/a",
    "/x/%2e%2e/R/a",
    "/x/%2E%2e/R/a",
    "/x/.%2e/R/a",
    "/x/%2e./R/a",
    "/x/..%2fR/a",
    "/x/..%2FR/a",
    "/x%2f..%2fR%2fa",
    "/x%2f%2e%2e%2fR/a",
    "/%2fR/a",
    "/R%2fa",
    "/R%2f%2fa",
    "/R%5ca",
    "/%5cR%5ca",
    "/x/..%5cR/a",
    "/x/%2e%2e%5cR/a",
    "/R\\a",
    "\\R\\a/",
    "/\\R/a",
    "/x\\..\\R\\a",
    "/x/..\\R/a",
    "/R;x=1/a",
    "/R;/a",
    "/R/a;x",
    "/R/a;.css",
    "/;/R/a",
    "/;x=y/R/a",
    "/x/..;/R/a",
    "/x/..;x=y/R/a",
    "/x/..%3b/R/a",
    "/x/%2e%2e;/R/a",
    "/R%3bx/a",
    "/R/a%3b",
    "/R/a%00",
    "/R/a%00.png",
    "/R/a;%00",
    "/R/a%zz/../",
    "/R/x/%2e%2e/a%",
    "/x/..%252fR/a",
    "/x/%252e%252e/R/a",
    "/x%252f..%252fR%252fa",
    "/x/..%255cR/a",
    "/R%252fa",
    "/%u0052/../R/a",
    "/%u002e%u002e/R/a",
    "/x%u002f..%u002fR/a",
    "/R%u002fa",
    "/R%u005ca",
    "/x/%c0%ae%c0%ae/R/a",
    "/x%c0%af..%c0%afR/a",
    "/R%c0%afa",
    "/R%c1%9ca",
    "/x/..%e0%80%afR/a",
    "/R%f0%80%80%afa",
    "/x/%25252e%25252e/R/a",
    "/x/..%25252525252fR/a",
    "/x/..%20/R/a",
    "/x/%20../R/a",
    "/x/..%09/R/a",
    "/x/.%0d./R/a",
    "/x/.%ff./R/a",
    "/R%20/a",
    "/R%0a/a",
    "/x/%c0%2e%c0%2e/R/a",
    "/x/%f8%80%80%80%ae%f8%80%80%80%ae/R/a",
    "/x/%uff0e%uff0e/R/a",
    "/x/%ef%bc%8e%ef%bc%8e/R/a",
    "/x/..%ef%bc%8fR/a",
];

/// Those which only name no reading of the route for anybody.
const NO_READING: [&str; 2] = ["/R/a%zz/../", "/R/x/%2e%2e/a%"];

/// Those of which every reading is the route itself, which authenticates.
const ALWAYS_THE_ROUTE: [&str; 6] = ["/R/a;x", "/R/a;.css", "/R/a%3b", "/R/a%00", "/R/a%00.png", "/R/a;%00"];

#[tokio::test]
async fn no_spelling_of_a_guarded_path_slips_past_it() {
    let range = Range::open();
    let spelt = |spelling: &&str| get(&spelling.replace('R', "guarded"));
    let is_reading = |spelling: &&&str| !NO_READING.contains(*spelling) && spelling.starts_with('/');
    let fate = |spelling: &&str| Fate::Answered(if ALWAYS_THE_ROUTE.contains(spelling) { 401 } else { 400 });
    let cases: Vec<_> =
        SPELLINGS.iter().filter(is_reading).map(|spelling| (spelt(spelling), fate(spelling))).collect();
    attempt_all(&range, "spellings of a guarded path", &cases).await;
    // Letters spelt as escapes are the same path, by RFC 3986 and here.
    attempt_all(&range, "escapes of plain letters", &[(get("/%67uarded/%61"), Fate::Answered(401))]).await;
    // Letters escaped twice, or as only some servers read them, are not.
    let cases: Vec<_> = ["/%2567uarded/a", "/%25%36%37uarded/a", "/%u0067uarded/a", "/%c1%a7uarded/a"]
        .iter()
        .map(|target| (get(target), Fate::Answered(400)))
        .collect();
    attempt_all(&range, "letters for some servers only", &cases).await;
}

/// Signs that need no escape are the same with one to most servers, and a path whose own spelling has escapes is read
/// without them.
#[tokio::test]
async fn no_escape_of_a_sign_slips_past_a_guarded_path() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("\"ok\""));
    legacy.set("/after", Reply::text("after"));
    let app = app::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         defaults: {{authenticate: {{keys: {{header: x-api-key, clients: {{ann: hunter2hunter2hunter2}}}}}}, \
         share: public}}\n\
         routes:\n\
         - {{path: '/v1/books:search', upstream: legacy}}\n\
         - {{path: '/v1/{{open}}', upstream: legacy, authenticate: off}}\n\
         - {{path: '/my%20orders/{{id}}', upstream: legacy}}\n\
         - {{path: '/caf%C3%A9/{{id}}', upstream: legacy}}\n\
         - {{path: '/v2/a%3Ab', upstream: legacy}}\n",
        legacy.address()
    ));
    let range = Range { legacy, app };
    let guarded = [
        "/v1/books%3Asearch",
        "/v1/books%3asearch",
        "/v2/a:b",
        "/x/%2e%2e/my%20orders/1",
        "/%6dy%20orders%2f1",
        "/my%2520orders/1",
        "/x%2f..%2fcaf%c3%a9/1",
        "/caf%25c3%25a9/1",
    ];
    let cases: Vec<_> = guarded.iter().map(|target| (get(target), Fate::Answered(400))).collect();
    attempt_all(&range, "escapes of signs, guarded", &cases).await;
    for target in ["/v1/books:search", "/my%20orders/1", "/caf%c3%a9/1", "/v2/a%3ab"] {
        Http::connect(range.address()).await.get(target, &[]).await.expect(401);
    }
    let open = ["/v1/books%3Afind", "/v1/a:b", "/your%20orders/1", "/v3/a%3Ab", "/my%20orders"];
    let cases: Vec<_> = open.iter().map(|target| (get(target), Fate::Seen(target))).collect();
    attempt_all(&range, "escapes of signs, elsewhere", &cases).await;
}

#[tokio::test]
async fn elsewhere_a_doubtful_path_goes_through_byte_for_byte() {
    let range = Range::open();
    for route in ["open", "uncovered"] {
        let targets: Vec<String> = SPELLINGS
            .iter()
            .filter(|spelling| spelling.starts_with('/'))
            .map(|spelling| spelling.replace('R', route))
            .collect();
        let cases: Vec<_> = targets.iter().map(|target| (get(target), Fate::Seen(target))).collect();
        attempt_all(&range, &format!("doubtful paths, {route}"), &cases).await;
    }
}

#[tokio::test]
async fn a_covered_path_is_polled_in_its_one_canonical_form() {
    let range = Range::open();
    for (raw, polled) in [
        ("/open/%61", "/open/a"),
        ("/%6fpen/b", "/open/b"),
        ("/open/%7e", "/open/~"),
        ("/open/%c3%a9", "/open/%C3%A9"),
        ("/open/a%20b", "/open/a%20b"),
        ("/open/c%3fd", "/open/c%3Fd"),
        ("/open/c%23d", "/open/c%23d"),
        ("/open/c%0d%0aX:y", "/open/c%0D%0AX:y"),
        ("/open/100%25", "/open/100%25"),
        ("/open/100%2525", "/open/100%2525"),
        ("/open/d?x=%41", "/open/d?x=A"),
        ("/open/d?x=%zz", "/open/d?x=%zz"),
        ("/open/d?a/../b", "/open/d?a/../b"),
        ("/open/d?x=;y", "/open/d?x=;y"),
        ("/open/d?x=%00", "/open/d?x=%00"),
        ("/open/d?x=%0d%0aHost:%20b", "/open/d?x=%0D%0AHost:%20b"),
        ("/open/d?%5fpush=poll", "/open/d"),
    ] {
        attempt_all(&range, &format!("canonical {raw}"), &[(get(raw), Fate::Seen(polled))]).await;
    }
    // A guarded one alike: every reading is the same route.
    for raw in ["/guarded/%62", "/guarded/100%25", "/guarded/100%2541"] {
        attempt_all(&range, &format!("canonical {raw}"), &[(get(raw), Fate::Answered(401))]).await;
    }
}

#[tokio::test]
async fn very_long_paths_cost_little_and_end_in_an_answer() {
    let range = Range::with("", "limits: {url_bytes: 32KiB}");
    let mut cases = Vec::new();
    let long = "a".repeat(20 << 10);
    let plain = format!("/open/{long}");
    cases.push((get(&plain), Fate::Seen(&plain)));
    for doubtful in ["/../", "//", "/;", "/%2e%2e/", "\\..\\", "/%25%32%65/"] {
        cases.push((
            get(&format!("/x{}/../guarded/a", doubtful.repeat((20 << 10) / doubtful.len()))),
            Fate::Answered(400),
        ));
    }
    cases.push((get(&format!("/open/{}", "b".repeat(40 << 10))), Fate::Refused(431)));
    let began = std::time::Instant::now();
    attempt_all(&range, "very long paths", &cases).await;
    println!("very long paths took {:?}", began.elapsed());
}

#[tokio::test]
async fn push_forms_and_streams_of_many_are_matched_by_the_same_rule() {
    let range = Range::open();
    for spelling in ["/guarded//a", "/x/../guarded/a", "/guarded;x/a", "/%2567uarded/a"] {
        let mut http = Http::connect(range.address()).await;
        for fields in
            [&[("accept", "text/event-stream")][..], &[("prefer", "wait=1"), ("if-none-match", "\"x\"")]]
        {
            http.get(spelling, fields).await.expect(400);
        }
        let escaped: String = spelling.bytes().map(|byte| format!("%{byte:02X}")).collect();
        http.get(&format!("/-/pollcast/events?resource={escaped}"), &[]).await.expect(400);
        assert_eq!(range.legacy.all_seen().len(), 0, "{spelling}");
    }
    // The public prefix is no way around either.
    let mut http = Http::connect(range.address()).await;
    for target in
        ["/-/pollcast/../../guarded/a", "/-/pollcast/%2e%2e/metrics", "/-/pollcast/", "/-/pollcast/resources"]
    {
        http.get(target, &[]).await.expect(404);
    }
    assert_eq!(range.legacy.all_seen().len(), 0);
}
