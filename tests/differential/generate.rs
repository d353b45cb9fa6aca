//! How scenes are made: proptest's strategies, so that a scene that fails is reduced by the library.
//!
//! Must not know: what any of it does.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::agents::{AGENTS, MORE};
use super::scene::*;
use super::traits::*;

const PATHS: &[&str] =
    &["/api/items", "/api/items/1", "/api/items/1/parts", "/api/me", "/api/jobs/7", "/feed.xml", "/"];

/// Paths that servers read in several ways, or rarely see (contract §11).
const ODD_PATHS: &[&str] = &[
    "/api/items/",
    "/api/group%2Fname/jobs",
    "/api//items",
    "/api/items//",
    "/api/map;lat=50",
    "/api/a%3Bb",
    "/api/a%5Cb",
    "/api/x/./items",
    "/api/x/../items",
    "/api/%zz",
    "/api/caf%C3%A9",
    "/api/a%252Fb",
    "/api/~ann",
    "/API/Items",
    "/api/a+b",
    "/api/a%20b",
    "/@scope%2fname",
    "/api/a%C0%AEb",
];

const QUERIES: &[&str] = &[
    "a=1&b=2",
    "b=2&a=1",
    "a=1&a=2",
    "last_event_id=3",
    "lastEventId=1",
    "a=1&_=2",
    "_ts=17",
    "cachebuster=a",
    "utm_source=x",
    "_=1795906076548",
    "q=%22x%22",
    "q=\"2\"",
    "q=a%2Fb",
    "q=a+b",
    "q=%41",
    "=",
    "a",
    "a&&b",
    "since=4",
    "wait=3s",
    "x=%zz",
    "a[]=1&a[]=2",
    "callback=f",
    "url=http://a/b?c",
    "q={x}|y",
    "access_token=k",
    "q=caf%C3%A9",
];

const FIELDS: &[(&str, &str)] = &[
    ("Cache-Control", "private"),
    ("Cache-Control", "no-store"),
    ("Cache-Control", "private; max-age=0"),
    ("Cache-Control", "no-store; no-cache; max-age=0"),
    ("Cache-Control", "max-age=0 private"),
    ("Cache-Control", "no-cache, max-age=315360000"),
    ("Cache-Control", "max-age=-1"),
    ("Cache-Control", "max-age=0; public"),
    ("Cache-Control", "public, no-transform"),
    ("Cache-Control", "max-age=31536000, immutable"),
    ("Cache-Control", "no-cache=\"Set-Cookie\", private=\"X-User\""),
    ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ("Pragma", "no-cache"),
    ("Vary", "*"),
    ("Vary", "Cookie"),
    ("Vary", "Accept, Prefer, Range"),
    ("Vary", "Accept-Encoding"),
    ("Vary", "Origin, Access-Control-Request-Headers"),
    ("Set-Cookie", "theme=dark; Path=/"),
    ("Link", "</api/items?page=2>; rel=\"next\""),
    ("Link", "</style.css>; rel=preload; as=style"),
    ("Refresh", "5; url=/status"),
    ("Location", "/api/items/9"),
    ("Content-Location", "/api/items/1"),
    ("Content-Disposition", "attachment; filename=\"a.json\""),
    ("Content-Language", "en"),
    ("X-Total-Count", "250"),
    ("Content-Security-Policy", "default-src 'self'"),
    ("Strict-Transport-Security", "max-age=600"),
    ("Server-Timing", "db;dur=5"),
    ("X-Request-Id", "req-1"),
    ("X-Runtime", "0.01"),
    ("Server", "Legacy/1.0"),
    ("X-Powered-By", "PHP/5.4"),
    ("Warning", "299 - \"old\""),
    ("Age", "3"),
    ("Deprecation", "true"),
    ("Sunset", "Sat, 31 Dec 2044 23:59:59 GMT"),
    ("Digest", "md5=abc"),
    ("Alt-Svc", "h3=\":443\""),
    ("Clear-Site-Data", "\"cache\""),
    ("X-Csrf-Token", "c0ffee"),
    ("X-Next-Page-Token", "p2"),
    ("X-RateLimit-Remaining", "57"),
    ("X-RateLimit-Remaining", "0"),
    ("RateLimit", "\"day\";r=50;t=3000"),
    ("Retry-After", "1"),
    ("X-Content-Type-Options", "nosniff"),
    ("P3P", "CP=\"x\""),
    ("Cache-Status", "edge; hit"),
    ("Via", "1.1 old-proxy"),
    ("Trailer", "X-Sum"),
];

const STATUSES: &[u16] = &[
    201, 202, 203, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406,
    409, 410, 418, 422, 429, 451, 500, 501, 502, 503, 504, 599,
];

const TYPES: &[&str] = &[
    "application/json;charset=utf-8",
    "application/json; charset=\"UTF-8\"",
    "application/json;charset=ISO-8859-1",
    "application/json; charset=binary",
    "application/vnd.shop.v2+json",
    "application/problem+json",
    "application/json;odata=minimalmetadata",
    "text/html",
    "text/plain",
    "text/json",
    "application/octet-stream",
    "image/png",
    "audio/mpeg",
    "not a type",
    "",
];

const BODIES: &[Body] = &[
    Body::List,
    Body::Text,
    Body::Html,
    Body::Xml,
    Body::XmlLatin1,
    Body::Csv,
    Body::Lines,
    Body::Binary,
    Body::Empty,
    Body::Guarded,
    Body::NotANumber,
    Body::Marked,
    Body::Large,
];

const CODINGS: &[Coding] = &[
    Coding::GzipIfAsked,
    Coding::Gzip,
    Coding::GzipAndMore(b"\r\n"),
    Coding::GzipAndMore(b"\0\0\0\0\0\0\0\0"),
    Coding::GzipThatLies,
    Coding::BrotliIfAsked,
    Coding::ZstdIfAsked,
    Coding::None("utf-8"),
    Coding::None("UTF-8"),
    Coding::None("none"),
    Coding::None("binary"),
    Coding::None("identity"),
    Coding::None("aws-chunked"),
];

const FRAMINGS: &[Framing] =
    &[Framing::Chunked, Framing::UntilClose, Framing::Drips, Framing::Endless, Framing::CutShort];

const HEADS: &[Head] =
    &[Head::BareLf, Head::Folded, Head::SpaceBeforeColon, Head::UnreadableLine, Head::Http10];

const VALIDATORS: &[Validator] =
    &[Validator::Strong, Validator::Weak, Validator::Bare, Validator::LastModified];

const CHOOSING: &[&str] = &[
    "Accept",
    "User-Agent",
    "Accept-Language",
    "X-Requested-With",
    "Prefer",
    "Origin",
    "Api-Version",
    "Node-RED-API-Version",
    "Save-Data",
    "Sec-CH-UA-Mobile",
    "X-Device-Id",
    "Cookie",
    "X-App-Version",
];

const SCHEMES: &[Scheme] = &[
    Scheme::Bearer,
    Scheme::Basic,
    Scheme::Session,
    Scheme::Ntlm,
    Scheme::Field("PRIVATE-TOKEN"),
    Scheme::Field("X-MediaBrowser-Token"),
    Scheme::Field("X-Session"),
    Scheme::Field("Api-Key"),
    Scheme::Field("X-Api-Key"),
    Scheme::Field("X-Remote-User"),
];

const MODES: &[u16] = &[0, 301, 302, 401, 403, 404, 410, 422, 429, 500, 503];

fn oddity() -> impl Strategy<Value = Trait> {
    prop_oneof![
        3 => select(STATUSES).prop_map(Trait::Status),
        3 => select(BODIES).prop_map(Trait::Body),
        2 => select(TYPES).prop_map(Trait::Type),
        3 => select(CODINGS).prop_map(Trait::Coding),
        2 => select(FRAMINGS).prop_map(Trait::Framing),
        2 => select(HEADS).prop_map(Trait::Head),
        8 => select(FIELDS).prop_map(|(name, value)| Trait::Field(name, value)),
        1 => Just(Trait::Counts),
        1 => Just(Trait::OnlyFieldsChange),
        3 => select(VALIDATORS).prop_map(Trait::Validator),
        4 => (select(CHOOSING), any::<bool>()).prop_map(|(name, says)| Trait::Chooses(name, says)),
        5 => (select(SCHEMES), any::<bool>()).prop_map(|(scheme, must)| Trait::Knows(scheme, must)),
        2 => select(&[Cors::Any, Cors::Echo, Cors::EchoSilently][..]).prop_map(Trait::Cors),
        1 => Just(Trait::SetsCookie),
        1 => select(&[300_u64, 500, 1200][..]).prop_map(Trait::Slow),
        1 => Just(Trait::Ranges),
        1 => Just(Trait::Acts),
        2 => select(&[201_u16, 202, 204, 207, 302, 303, 400, 409, 500][..]).prop_map(Trait::Writes),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    let path = prop_oneof![5 => select(PATHS), 2 => select(ODD_PATHS)];
    (path, vec(oddity(), 0..=3)).prop_map(|(path, traits)| Place { path, traits })
}

fn places() -> impl Strategy<Value = Vec<Place>> {
    vec(place(), 1..=2).prop_map(|mut places| {
        places.dedup_by_key(|place| place.path);
        places
    })
}

fn ask(method: impl Strategy<Value = &'static str>) -> impl Strategy<Value = Ask> {
    let who = prop_oneof![
        3 => Just(Who::Nobody),
        2 => Just(Who::Ann),
        2 => Just(Who::Bob),
        1 => Just(Who::Passer),
    ];
    let query = prop_oneof![4 => Just(""), 1 => select(QUERIES)];
    let shows = prop_oneof![
        6 => Just(Shows::AsKnown),
        2 => Just(Shows::Nothing),
        1 => select(SCHEMES).prop_map(Shows::Other),
    ];
    let condition = prop_oneof![
        5 => Just(Condition::None),
        2 => Just(Condition::Tag),
        1 => Just(Condition::Date),
        1 => Just(Condition::UnknownTag),
    ];
    let more = prop_oneof![3 => Just(Vec::new()), 1 => vec(select(MORE), 1..=2)];
    let until_new = prop_oneof![9 => Just(false), 1 => Just(true)];
    let parts = (who, method, 0..2_usize, query, select(AGENTS), more, shows, condition, until_new);
    parts.prop_map(|(who, method, place, query, agent, more, shows, condition, until_new)| Ask {
        who,
        method,
        place,
        query,
        agent,
        more,
        shows,
        condition,
        until_new,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let read = prop_oneof![8 => Just("GET"), 1 => Just("HEAD")];
    let write = select(&["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "QUERY"][..]);
    prop_oneof![
        14 => ask(read).prop_map(Step::Ask),
        2 => ask(write).prop_map(|ask| Step::Ask(Ask { until_new: false, ..ask })),
        1 => (ask(Just("GET")), select(&[Following::Stream, Following::Held][..]))
            .prop_map(|(ask, how)| Step::Follow(Ask { until_new: false, ..ask }, how)),
        3 => Just(Step::Move),
        1 => select(MODES).prop_map(Step::Become),
        1 => Just(Step::Pause),
    ]
}

/// All scenes of one configuration.
pub fn scene(setting: Setting) -> impl Strategy<Value = Scene> {
    let followed = prop_oneof![2 => Just(false), 1 => Just(true)];
    (followed, places(), vec(step(), 1..=9)).prop_map(move |(followed, places, steps)| Scene {
        setting,
        followed,
        places,
        steps,
    })
}
