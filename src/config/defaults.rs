//! The defaults: one value for every key that has one.
//!
//! conf/reference.yaml says the same with reasons; a test holds the two together.
//! Must not know: the file.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};

use super::{
    AccessLines, Backoff, Batch, Breaker, Budget, Change, Compress, Connections, Cors, Delta, Drain, Feed,
    HeaderRules, HealthCheck, Limits, ListenerTls, Log, LogLevel, Plain, Poll, Presence, PresenceNotify,
    QueryRule, Route, Send, Share, SoftRefusal, Switches, Threads, Transports, UnknownQuery, Upstream,
    Websocket,
};

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
pub(super) const GIB: usize = 1 << 30;

pub(super) const PUBLIC_PREFIX: &str = "/-/pollcast/";

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Request headers that are credentials whatever the file says; Cookie always is one.
pub(super) fn credentials() -> Vec<HeaderName> {
    vec![
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("x-api-key"),
        HeaderName::from_static("x-auth-token"),
    ]
}

/// Cookies of load balancers, bot managers and analytics: they tell browsers apart, not users.
const IGNORE_COOKIES: &[&str] = &[
    "AWSALB",
    "AWSALBCORS",
    "AWSALBTG*",
    "AWSELB",
    "AWSELBCORS",
    "ARRAffinity",
    "ARRAffinitySameSite",
    "BIGipServer*",
    "GCLB",
    "__cflb",
    "__cf_bm",
    "__cfruid",
    "_cfuvid",
    "cf_clearance",
    "incap_ses_*",
    "visid_incap_*",
    "nlbi_*",
    "_abck",
    "ak_bmsc",
    "bm_mi",
    "bm_sv",
    "bm_sz",
    "datadome",
    "_ga",
    "_ga_*",
    "_gat",
    "_gat_*",
    "_gcl_*",
    "_gid",
    "_fbc",
    "_fbp",
    "_hj*",
    "_clck",
    "_clsk",
    "_pk_id*",
    "_pk_ses*",
    "_uetsid",
    "_uetvid",
    "__hssc",
    "__hssrc",
    "__hstc",
];

impl Default for Limits {
    fn default() -> Self {
        Limits {
            clients: 100_000,
            clients_said: false,
            clients_per_address: None,
            clients_per_subject: None,
            accept_rate: None,
            http2_streams: 100,
            http2_control_rate: 500,
            first_byte_timeout: seconds(10),
            header_timeout: seconds(10),
            body_timeout: seconds(60),
            idle_timeout: seconds(60),
            send_timeout: seconds(60),
            resources: 10_000,
            resources_per_address: None,
            resources_per_subject: None,
            new_resources_per_address: None,
            snapshot_bytes: GIB,
            snapshot_bytes_per_address: None,
            poll_body_bytes: 64 * MIB,
            metric_routes: 250,
            requests: 20_000,
            requests_per_address: None,
            history_bytes: 256 * MIB,
            header_bytes: 32 * KIB,
            header_fields: 256,
            url_bytes: 8 * KIB,
            query_parameters: 1_000,
            request_body: None,
            stall_timeout: seconds(10),
            send_buffer: 24 * KIB,
            drain_body: 64 * KIB,
            resources_per_client: 200,
        }
    }
}

impl ListenerTls {
    pub(super) const RELOAD_INTERVAL: Duration = seconds(30);
}

impl Default for Drain {
    fn default() -> Self {
        Drain { delay: seconds(5), window: seconds(30), retry: (seconds(2), seconds(8)) }
    }
}

/// `upgrade.timeout`.
pub const UPGRADE_TIMEOUT: Duration = seconds(30);

impl Default for Threads {
    /// Each kind has one thread for each core.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Threads { front: cores, shards: cores }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { json: false, level: LogLevel::Info, access: AccessLines::ALL, buffer: 8192 }
    }
}

impl Upstream {
    /// An upstream as it is before the file says anything about it.
    pub fn unsaid(name: &str) -> Upstream {
        Upstream {
            name: name.to_owned(),
            servers: Vec::new(),
            host: None,
            tls: None,
            proxy: None,
            http2: false,
            connect_timeout: seconds(3),
            first_byte_timeout: seconds(5),
            passthrough_first_byte_timeout: Some(seconds(900)),
            total_timeout: seconds(15),
            keepalive: seconds(60),
            resolve_interval: seconds(30),
            health_check: None,
            forwarded: None,
            budget: None,
            quota_is_shared: false,
            breaker: Breaker { failures: Some(20), wait: seconds(1) },
            max_requests: None,
            connection_auth: Vec::new(),
            connections: Connections::Shared,
        }
    }
}

impl Budget {
    pub(super) const CONCURRENT_MAX: usize = 16;
}

impl Feed {
    /// A feed as it is before the file says where its items are.
    pub(crate) fn unsaid() -> Feed {
        Feed {
            items: String::new(),
            id: Vec::new(),
            order: None,
            cursor: None,
            pages: None,
            replay: 0,
            tells_updates: false,
            tells_returns: true,
            history: 1000,
        }
    }
}

impl Batch {
    /// A batch as it is before the file says how it is asked for; path and parameter follow from the
    /// route where they are left out.
    pub(crate) fn unsaid() -> Batch {
        Batch {
            path: String::new(),
            parameter: String::new(),
            query: String::new(),
            separator: ",".to_owned(),
            max: 100,
            items: String::new(),
            key: String::new(),
            window: Duration::from_millis(20),
        }
    }
}

impl HealthCheck {
    pub(super) const INTERVAL: Duration = seconds(10);
}

impl Route {
    /// A route as it is before the file says anything about it.
    pub fn unsaid(upstream: Arc<Upstream>) -> Route {
        Route {
            index: 0,
            path: String::new(),
            hosts: Vec::new(),
            exact_spelling: false,
            polled: true,
            switched_off: None,
            plain: Plain::Share,
            poll: Poll { timeout: upstream.total_timeout, ..Poll::default() },
            upstream,
            upstream_path: None,
            share: Share::Unset,
            authenticate: None,
            recheck: seconds(300),
            transports: Transports { sse: true, websocket: true, long_poll: true, poll: true },
            query: QueryRule::default(),
            ignore_cookies: owned(IGNORE_COOKIES),
            credentials: credentials(),
            keep_fields: Vec::new(),
            headers: HeaderRules::default(),
            switches: Switches::default(),
            event_name: None,
            base64: false,
            heartbeat: seconds(20),
            first_answer: seconds(2),
            max_wait: seconds(55),
            retry: (seconds(2), seconds(8)),
            stale_after: seconds(10),
            stale_if_error: seconds(300),
            history_versions: 64,
            soft_refusal: SoftRefusal::Browsers,
            downstream_cache: None,
            link: false,
            cors: None,
            websocket: Websocket::default(),
            gone_after: None,
            max_age: None,
            max_clients: None,
            max_clients_per_resource: None,
            max_resources: None,
            compress: Compress::Shared,
            compress_min: 256,
            change: Change::default(),
            delta: Delta { enabled: true, patch_max_ratio: 0.7 },
            feed: None,
            refreshes: Vec::new(),
            refreshes_parent: true,
            write_wait: seconds(1),
            hold_not_modified: None,
            presence: None,
            clustered: true,
        }
    }
}

impl Default for Poll {
    fn default() -> Self {
        Poll {
            interval: seconds(5),
            adaptive_max: None,
            linger: seconds(30),
            always: false,
            headers: Vec::new(),
            accept: HeaderValue::from_static("*/*"),
            accept_codings: true,
            timeout: seconds(15),
            max_body: MIB,
            expect: Vec::new(),
            allow_close_delimited: false,
            ignore_cache_control: false,
            backoff: Backoff { min: seconds(1), max: seconds(60), retry_after_max: seconds(600) },
            cookie_jar: true,
            max_session_polls: Some(seconds(1800)),
            follow_redirects: 0,
            auth: None,
            header_files: Vec::new(),
            batch: None,
        }
    }
}

impl Default for QueryRule {
    fn default() -> Self {
        QueryRule {
            names: None,
            unknown: UnknownQuery::Drop,
            any_order: false,
            ignore: owned(&["_=#", "_ts=#", "cachebuster=#", "utm_*"]),
        }
    }
}

impl Default for Switches {
    fn default() -> Self {
        let named = |name: &str| Some(name.to_owned());
        Switches {
            push: named("_push"),
            wait: named("_wait"),
            delta: named("_delta"),
            presence: named("_presence"),
            resume: owned(&["last_event_id", "lastEventId"]),
            wait_header: true,
        }
    }
}

impl Default for Cors {
    /// There are no origins yet: `validate` wants at least one.
    fn default() -> Self {
        Cors { origins: Vec::new(), credentials: false, max_age: seconds(600) }
    }
}

impl Default for Websocket {
    fn default() -> Self {
        Websocket {
            origins: None,
            ping: seconds(25),
            pong: seconds(10),
            max_message: 64 * KIB,
            frame_rate: 200,
            max_fragments: 100,
            send: None,
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Presence { names: false, interval: seconds(1), linger: seconds(5), subjects: 1000, notify: None }
    }
}

impl Default for PresenceNotify {
    /// There is no path yet: `validate` wants one.
    fn default() -> Self {
        PresenceNotify { path: String::new(), debounce: seconds(2), queue: 1000 }
    }
}

impl Send {
    /// Messages that become a request to `path`.
    pub(super) fn to(path: &str) -> Send {
        Send {
            method: Method::POST,
            path: path.to_owned(),
            content_type: HeaderValue::from_static("application/json"),
            headers: Vec::new(),
            rate: 10,
            errors: false,
        }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
