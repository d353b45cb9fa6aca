//! Why a request passed through or was refused: one word, in the access log, the metric and `/resources`.

use std::collections::HashSet;

use pollcast::metrics::{Bypass, RefusalReason};

use crate::contract::edge::support::{Extra, process_yaml};
use crate::support::client::{Http, Sse, Ws};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;

/// How a request was counted: the metric's `answer` and `reason`, and the route.
type Counted = (&'static str, &'static str, &'static str);

type Fields = &'static [(&'static str, &'static str)];

/// A request, its status, and how it is counted.
type Case = (&'static str, String, Fields, u16, Counted);

/// A length that is there twice.
const TWICE: [(&str, &str); 2] = [("content-length", "0"), ("content-length", "0")];

const ROUTE: &str = "/r/{name}";

fn cases() -> Vec<Case> {
    let (passed, refused) = ("passthrough", "refused");
    let get = |path: &str| ("GET", path.to_owned());
    let case =
        |(method, path): (&'static str, String), fields: Fields, status: u16, counted: Counted| -> Case {
            (method, path, fields, status, counted)
        };
    vec![
        case(("POST", "/r/a".to_owned()), &[], 200, (passed, "method", ROUTE)),
        case(get("/r/a"), &[("range", "bytes=0-1")], 200, (passed, "range", ROUTE)),
        case(get("/r/a"), &[("if-match", "\"x\"")], 200, (passed, "condition", ROUTE)),
        case(get("/r/a"), &[("x-color", "red")], 200, (passed, "header", ROUTE)),
        case(get("/r/a"), &[("authorization", "Bearer secret-of-ann")], 200, (passed, "credentials", ROUTE)),
        case(get("/x"), &[], 200, (passed, "uncovered", "")),
        case(get("/r/a?b=1"), &[], 400, (refused, "unknown-parameter", ROUTE)),
        case(get("/r/cold"), &[("cache-control", "only-if-cached")], 504, (refused, "only-if-cached", ROUTE)),
        case(get("/r/a"), &[("accept", "text/event-stream")], 503, (refused, "clients", ROUTE)),
        case(get("/-/pollcast/nothing"), &[], 404, (refused, "public-prefix", "")),
        case(("POST", "/x".to_owned()), &TWICE, 400, (refused, "framing", "")),
        case(get(&format!("/x?{}", "y".repeat(9000))), &[], 414, (refused, "url-bytes", "")),
    ]
}

#[tokio::test]
async fn each_reason_is_one_word_in_the_log_the_metric_and_the_list_of_routes() {
    let legacy = Legacy::start();
    for path in ["/r/a", "/r/cold", "/x"] {
        legacy.set(path, Reply::json("1"));
    }
    let route = ", query: [a], unknown_query: reject, soft_refusal: never";
    let yaml = process_yaml(&legacy, Extra { route, top: "limits: {clients: 1}", ..Extra::default() });
    let process = Process::start(&yaml).await;
    let mut stream = Sse::open(process.address, "/r/a", &[]).await;
    stream.next_event().await;
    for (method, path, fields, status, (.., reason, _)) in cases() {
        let mut client = Http::connect(process.address).await;
        let answer = client.request(method, &path, fields, b"").await;
        assert_eq!(answer.status, status, "{method} {path} {fields:?}: {answer:?}");
        process.wait_stderr(&format!("reason=\"{reason}\"")).await;
    }
    assert!(Ws::try_open(process.address, "/r/a", &[]).await.is_err_and(|answer| answer.status == 503));
    process.wait_stderr("transport=\"refused\"").await;

    let mut admin = Http::connect(process.admin).await;
    let metrics = admin.get("/metrics", &[]).await.expect(200).text();
    let list = admin.get("/resources", &[]).await.expect(200).json();
    assert_eq!((&list["routes"][0]["path"], &list["routes"][0]["poll"]), (&ROUTE.into(), &"on".into()));
    for (.., (answer, reason, route)) in cases() {
        let sample =
            format!("pollcast_requests_total{{answer=\"{answer}\",reason=\"{reason}\",route=\"{route}\"}} ");
        assert!(metrics.contains(&sample), "{sample} is missing:\n{metrics}");
        let of_route = if route.is_empty() { &list["no_route"] } else { &list["routes"][0] };
        let column = if answer == "refused" { "refused" } else { "passed_through" };
        assert!(of_route[column][reason].as_u64() >= Some(1), "{reason}: {list}");
    }
    assert!(!metrics.contains("reason=\"error\""), "{metrics}");
    for text in [process.stderr(), metrics, list.to_string()] {
        assert!(!text.contains("secret-of-ann"), "{text}");
    }
}

#[test]
fn each_reason_has_a_word_of_its_own_which_the_manual_explains() {
    let manual = include_str!("../../../src/manual/operations.md");
    let part = |from: &str, to: &str| {
        let section = manual.split_once(from).and_then(|(_, rest)| rest.split_once(to));
        section.map(|(section, _)| section.to_owned()).expect("the manual has the section")
    };
    let told = part("### Reasons to pass through", "### Reasons to refuse");
    let refused = part("### Reasons to refuse", "\n## ");
    // The dashboard shows the same sentences.
    let check = |words: Vec<(&str, &str)>, section: &str| {
        assert_eq!(
            words.iter().map(|(word, _)| word).collect::<HashSet<_>>().len(),
            words.len(),
            "{words:?}"
        );
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
        let rows = rows.filter_map(|row| row.split_once("` | "));
        assert_eq!(rows.collect::<HashSet<_>>(), words.into_iter().collect::<HashSet<_>>());
    };
    check(Bypass::ALL.iter().map(|reason| (reason.word(), reason.meaning())).collect(), &told);
    check(RefusalReason::ALL.iter().map(|reason| (reason.word(), reason.meaning())).collect(), &refused);
}
