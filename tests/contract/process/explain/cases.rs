//! Requests of every kind, and the configuration that they meet.

use super::Request;

/// One route for each rule that decides something.
pub fn yaml(api: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]
admin: {{address: '127.0.0.1:0'}}
upstreams: {{api: {{servers: ['{api}']}}}}
passthrough: api
log: {{access: false}}
defaults: {{poll: {{interval: 60s}}, soft_refusal: never, max_wait: 1s}}
routes:
  - {{path: '/r/{{name}}', upstream: api, query: [a], unknown_query: reject}}
  - {{path: '/public/{{name}}', upstream: api, share: public}}
  - {{path: '/by/{{name}}', upstream: api, share: {{by: [authorization, 'cookie:session']}}}}
  - {{path: '/checked/{{name}}', upstream: api, share: authorize}}
  - {{path: '/keys/{{name}}', upstream: api, share: public, authenticate: {{keys: {{clients: {{ann: hunter2hunter2hunter2}}}}}}}}
  - {{path: '/off/{{name}}', upstream: api, poll: off}}
  - {{path: '/wide/{{*rest}}', upstream: api}}
  - {{path: '/plain/{{name}}', upstream: api, transports: [poll]}}
  - {{path: '/cors/{{name}}', upstream: api, cors: {{origins: ['https://shop.test']}}}}
  - {{path: '/mapped/{{name}}', upstream: api, upstream_path: '/r/{{name}}'}}
  - {{path: '/few/{{name}}', upstream: api, max_clients: 1}}
  - {{path: '/slow/{{name}}', upstream: api, hold_not_modified: 300ms}}
"
    )
}

const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A handshake with these fields besides.
fn handshake(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    WEBSOCKET.iter().chain(more).copied().collect()
}

/// A request whose fields are its own.
pub struct Case {
    pub method: &'static str,
    pub path: String,
    pub fields: Vec<(&'static str, &'static str)>,
}

impl Case {
    pub fn request(&self) -> Request<'_> {
        (self.method, &self.path, &self.fields)
    }
}

const SSE: (&str, &str) = ("accept", "text/event-stream");
const ANN: (&str, &str) = ("authorization", "Bearer secret-of-ann");
const KEY: (&str, &str) = ("x-api-key", "hunter2hunter2hunter2");

/// The requests, each of a client of its own.
pub fn cases() -> Vec<Case> {
    let case = |method, path: &str, fields: &[(&'static str, &'static str)]| Case {
        method,
        path: path.to_owned(),
        fields: fields.to_vec(),
    };
    let get = |path: &str, fields: &[(&'static str, &'static str)]| case("GET", path, fields);
    let mut cases = vec![
        // Plain polls and their conditions.
        get("/r/a", &[]),
        get("/r/a?a=1", &[]),
        get("/r/a?b=1", &[]),
        get("/r/a", &[("if-none-match", "*")]),
        get("/r/a", &[("if-match", "\"x\"")]),
        get("/r/a", &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]),
        get("/r/a", &[("range", "bytes=0-1")]),
        get("/r/a", &[("accept", "image/png")]),
        get("/r/a", &[("accept", "application/xml, application/json;q=0.5")]),
        get("/r/cold", &[("cache-control", "only-if-cached")]),
        get("/r/a", &[("accept-language", "de")]),
        get("/r/a", &[("x-requested-with", "XMLHttpRequest")]),
        get("/r/a", &[("origin", "https://page.test")]),
        get("/r/a", &[("prefer", "return=minimal")]),
        get("/slow/a", &[]),
        get("/slow/a", &[("if-none-match", "*")]),
        // Methods and bodies.
        case("HEAD", "/r/a", &[]),
        case("HEAD", "/r/new", &[]),
        case("POST", "/r/a", &[]),
        case("DELETE", "/wide/a", &[]),
        case("OPTIONS", "/r/a", &[("origin", "https://shop.test")]),
        case(
            "OPTIONS",
            "/cors/a",
            &[("origin", "https://shop.test"), ("access-control-request-method", "GET")],
        ),
        // Credentials, classes and doubt.
        get("/r/a", &[ANN]),
        get("/r/a", &[("cookie", "session=ann")]),
        get("/r/a", &[("x-color", "red")]),
        get("/public/a", &[ANN]),
        get("/public/a", &[("x-color", "red")]),
        get("/by/a", &[]),
        get("/by/a", &[ANN]),
        get("/by/a", &[ANN, ("cookie", "session=ann; theme=dark")]),
        get("/by/a", &[("authorization", "Digest username=\"ann\"")]),
        get("/by/a", &[("x-auth-token", "secret")]),
        get("/by/a", &[SSE, ANN]),
        get("/by/a", &[SSE, ("x-color", "red")]),
        get("/r/a", &[SSE, ANN]),
        get("/r/a", &[SSE, ("x-color", "red")]),
        get("/checked/a", &[]),
        get("/checked/a", &[ANN]),
        get("/checked/a", &[ANN, SSE]),
        get("/checked/a", &[("authorization", "Bearer secret-of-bob")]),
        get("/checked/a", &[("authorization", "Bearer secret-of-bob"), SSE]),
        get("/keys/a", &[]),
        get("/keys/a", &[KEY]),
        get("/keys/a", &[("x-api-key", "wrong")]),
        get("/keys/a", &[SSE]),
        get("/keys/a", &[SSE, KEY]),
        case("POST", "/keys/a", &[]),
        case("POST", "/keys/a", &[KEY]),
        get("/KEYS/a", &[]),
        get("/keys%2fa", &[]),
        // Transports.
        get("/r/s", &[SSE]),
        get("/r/s?_push=sse", &[]),
        get("/r/s?_push=poll", &[SSE]),
        get("/r/s", &[("accept", "text/event-stream;q=0.5, application/json")]),
        get("/plain/a", &[SSE]),
        get("/plain/a", &[("accept", "text/event-stream, */*")]),
        get("/plain/a", &[("prefer", "wait=1")]),
        get("/r/s", &[("prefer", "wait=1")]),
        get("/r/s?_wait=1", &[("if-none-match", "*")]),
        get("/few/a", &[SSE]),
        get("/few/a", &[("prefer", "wait=1"), ("if-none-match", "*")]),
        get("/r/gone", &[SSE]),
        get("/r/gone", &[]),
        get("/r/refused", &[SSE]),
        get("/r/private", &[]),
        get("/r/private", &[SSE]),
        get("/r/page", &[]),
        get("/r/image", &[SSE]),
        // Routes and paths.
        get("/x", &[]),
        get("/x", &[SSE]),
        get("/off/a", &[]),
        get("/off/a", &[SSE]),
        get("/wide/a", &[]),
        get("/wide/", &[]),
        get("/wide/a/b", &[SSE]),
        get("/wide/a", &[("prefer", "wait=1"), ("if-none-match", "*")]),
        get("/mapped/a", &[]),
        get("/mapped/..%2fx", &[]),
        get("/r/..%2fx", &[]),
        get("/r/a;v=1", &[SSE]),
        get("//r/a", &[]),
        get("/-/pollcast/nothing", &[]),
        // Heads and limits.
        get("/r/a", &[("x_api_key", "1")]),
        get("/r/a", &[("content_length", "1")]),
        case("POST", "/x", &[("content-length", "0"), ("content-length", "0")]),
        case("POST", "/x", &[("content-length", "0"), ("transfer-encoding", "chunked")]),
    ];
    cases.push(get(&format!("/x?{}", "y".repeat(9000)), &[]));
    cases.push(get(&format!("/r/a?{}", "a&".repeat(1001)), &[]));
    cases.push(get(&format!("/keys/a?{}", "a&".repeat(1001)), &[]));
    let sockets: [(&str, &[(&str, &str)]); 9] = [
        ("/r/w", &[]),
        ("/r/w", &[("sec-websocket-protocol", "pollcast.v1")]),
        ("/r/w", &[("sec-websocket-protocol", "stomp")]),
        ("/r/w", &[("origin", "https://page.test")]),
        ("/r/w", &[ANN]),
        ("/plain/w", &[]),
        ("/keys/w", &[]),
        ("/r/refused", &[]),
        ("/few/w", &[]),
    ];
    for (path, more) in sockets {
        cases.push(get(path, &handshake(more)));
    }
    cases.push(get("/r/w", &WEBSOCKET[..2]));
    cases
}
