//! The one configuration that unit tests start from; they change what they are about.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use crate::config::{
    Backoff, Breaker, Change, Compress, Config, Connections, Delta, Drain, HeaderRules, Limits, Log, Plain,
    Poll, QueryRule, Reload, Route, Server, Share, SoftRefusal, Switches, Threads, Times, Transports,
    UnknownQuery, Upstream, Websocket,
};
use crate::resource::{KeyParts, ResourceKey};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn upstream() -> Upstream {
    Upstream {
        name: "legacy".into(),
        servers: vec![Server { address: "legacy.test:80".into(), weight: 1 }],
        host: None,
        tls: None,
        proxy: None,
        http2: false,
        connect_timeout: 3 * SECOND,
        first_byte_timeout: 5 * SECOND,
        passthrough_first_byte_timeout: None,
        total_timeout: 15 * SECOND,
        keepalive: 60 * SECOND,
        resolve_interval: 30 * SECOND,
        health_check: None,
        forwarded: None,
        budget: None,
        quota_is_shared: false,
        breaker: Breaker { failures: None, wait: SECOND },
        max_requests: None,
        connection_auth: Vec::new(),
        connections: Connections::Shared,
    }
}

/// A public route: polled every second, kept polled for five, backing off from one second.
pub(crate) fn route() -> Route {
    Route {
        index: 0,
        path: "/prices/{symbol}".into(),
        hosts: Vec::new(),
        exact_spelling: false,
        upstream: Arc::new(upstream()),
        upstream_path: None,
        polled: true,
        switched_off: None,
        poll: poll(),
        plain: Plain::Share,
        share: Share::Public,
        authenticate: None,
        recheck: 300 * SECOND,
        transports: Transports { sse: true, websocket: true, long_poll: true, poll: true },
        query: QueryRule { names: None, unknown: UnknownQuery::Drop, any_order: false, ignore: Vec::new() },
        ignore_cookies: vec!["_ga".into(), "AWSALB*".into()],
        credentials: vec![header::AUTHORIZATION, HeaderName::from_static("x-api-key")],
        keep_fields: Vec::new(),
        headers: HeaderRules::default(),
        switches: Switches {
            push: None,
            wait: None,
            delta: None,
            presence: None,
            resume: Vec::new(),
            wait_header: false,
        },
        event_name: None,
        base64: false,
        heartbeat: 20 * SECOND,
        first_answer: 2 * SECOND,
        max_wait: 55 * SECOND,
        retry: (2 * SECOND, 8 * SECOND),
        stale_after: 3 * SECOND,
        stale_if_error: 20 * SECOND,
        history_versions: 8,
        soft_refusal: SoftRefusal::Browsers,
        downstream_cache: None,
        link: true,
        cors: None,
        websocket: Websocket {
            origins: None,
            ping: 25 * SECOND,
            pong: 10 * SECOND,
            max_message: 64 << 10,
            frame_rate: 200,
            max_fragments: 100,
            send: None,
        },
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
        write_wait: SECOND,
        hold_not_modified: None,
        presence: None,
        clustered: true,
    }
}

pub(crate) fn poll() -> Poll {
    Poll {
        interval: SECOND,
        adaptive_max: None,
        linger: 5 * SECOND,
        always: false,
        headers: Vec::new(),
        accept: HeaderValue::from_static("application/json, */*;q=0.5"),
        accept_codings: true,
        timeout: 30 * SECOND,
        max_body: 1 << 20,
        expect: Vec::new(),
        allow_close_delimited: false,
        ignore_cache_control: false,
        backoff: Backoff { min: SECOND, max: 8 * SECOND, retry_after_max: 60 * SECOND },
        cookie_jar: false,
        max_session_polls: None,
        follow_redirects: 0,
        auth: None,
        header_files: Vec::new(),
        batch: None,
    }
}

pub(crate) fn config(route: Route) -> Config {
    Config {
        cluster: None,
        tracing: None,
        warnings: Vec::new(),
        listeners: Vec::new(),
        admin: None,
        upstreams: vec![route.upstream.clone()],
        passthrough: None,
        routes: vec![Arc::new(route)],
        limits: Limits {
            clients: 1000,
            resources: 100,
            snapshot_bytes: 1 << 20,
            history_bytes: 1 << 20,
            ..Limits::default()
        },
        upgrade: None,
        drain: Drain { delay: SECOND, window: 10 * SECOND, retry: (2 * SECOND, 8 * SECOND) },
        threads: Threads { front: 1, shards: 1 },
        public_prefix: "/-/pollcast/".into(),
        version_key: None,
        log: Log { access: crate::config::AccessLines::None, buffer: 16, ..Log::default() },
        reload: Reload::default(),
        times: Times::default(),
        files: crate::config::Files::default(),
    }
}

/// Two keys are equal if their paths are.
pub(crate) fn key(path: &str) -> ResourceKey {
    ResourceKey::new(KeyParts {
        route: 0,
        proto: "http",
        host: Some("api.test".into()),
        path: path.into(),
        query: None,
        class: Vec::new(),
        vary: Vec::new(),
    })
}

/// A key whose polls carry a client's credentials.
pub(crate) fn private_key(path: &str) -> ResourceKey {
    ResourceKey::new(KeyParts {
        class: vec![(header::COOKIE, HeaderValue::from_static("session=1"))],
        ..key(path).parts().clone()
    })
}
