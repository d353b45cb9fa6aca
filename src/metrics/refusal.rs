//! Why a request is refused: one closed set for the access log, for the label `reason` of `pollcast_requests_total` and
//! for that of `pollcast_refusals_total`, which counts limits and rules.
//!
//! Must not know: how any of it is found out.

use super::make::words;

words! {
    /// Why a request is refused. Where a request would pass through for the same reason, the word is that of
    /// [`Bypass`](super::Bypass).
    RefusalReason {
        /// Its head does not say one thing to all readers (contract §12).
        Framing = "framing",
        /// `limits.header_bytes`.
        HeaderBytes = "header-bytes",
        /// `limits.header_fields`.
        HeaderFields = "header-fields",
        /// `limits.url_bytes`.
        UrlBytes = "url-bytes",
        /// `limits.request_body`.
        RequestBody = "request-body",
        /// `limits.body_timeout`.
        BodyTimeout = "body-timeout",
        /// `limits.requests`.
        Requests = "requests",
        /// `limits.requests_per_address`.
        AddressRequests = "address-requests",
        /// `max_requests` of the upstream.
        UpstreamRequests = "upstream-requests",
        /// `limits.clients`, `clients_per_address`, `clients_per_subject` or `max_clients`.
        Clients = "clients",
        /// `limits.accept_rate`.
        AcceptRate = "accept-rate",
        /// `limits.resources`.
        Resources = "resources",
        /// `max_resources` of the route.
        RouteResources = "route-resources",
        /// `limits.resources_per_address`.
        AddressResources = "address-resources",
        /// `limits.resources_per_subject`.
        SubjectResources = "subject-resources",
        /// `max_clients_per_resource` of the route.
        ResourceClients = "resource-clients",
        /// `limits.snapshot_bytes`.
        SnapshotBytes = "snapshot-bytes",
        /// `limits.snapshot_bytes_per_address`.
        AddressSnapshotBytes = "address-snapshot-bytes",
        /// `limits.new_resources_per_address`.
        AddressNewResources = "address-new-resources",
        /// The credentials of followers take as much memory as they may (`share: authorize`).
        CredentialsBytes = "credentials-bytes",
        /// It names no resource, or more than `limits.resources_per_client`.
        ResourcesPerClient = "resources-per-client",
        /// `limits.query_parameters`, on a protected path.
        QueryParameters = "query-parameters",
        /// The listener serves other hosts (`listeners[].hosts`).
        Host = "host",
        /// Servers read its path in several ways, and some of them are protected.
        AmbiguousPath = "ambiguous-path",
        /// Servers read its path in several ways, so that an event stream of it follows no route (contract §11).
        Path = "path",
        /// No route covers its path, and nothing is passed through.
        Uncovered = "uncovered",
        /// Nothing of this name lives under the public prefix.
        PublicPrefix = "public-prefix",
        /// `upstream_path` leads it nowhere.
        UpstreamPath = "upstream-path",
        /// The route knows no query parameter of this name (`unknown_query: reject`).
        UnknownParameter = "unknown-parameter",
        /// Its method is none that this address has.
        Method = "method",
        /// Its body is no list of resources, or too long for one.
        Body = "body",
        /// None of the resources that it names can be had.
        NoResource = "no-resource",
        /// It is no handshake of a WebSocket, or a wrong one.
        Handshake = "websocket-handshake",
        /// The URL has no WebSocket of the subprotocols that it offers.
        WebSocket = "websocket",
        /// The origin of its page is not let in.
        Origin = "origin",
        /// It accepts nothing that the route has.
        Accept = "accept",
        /// The resource is no text, and the route has no `encoding: base64`.
        NotText = "not-text",
        /// It proves no identity, or one that may not read this (`authenticate`).
        Authentication = "authentication",
        /// Its own credentials do not get what is shared (`share: authorize`).
        Authorization = "authorization",
        /// The API was asked first, and no `share` covers what the request carries (contract §11).
        Unshared = "unshared",
        /// It carries credentials, and the route does not say which clients may share its answers.
        Credentials = "credentials",
        /// It has a header whose meaning is not known (contract §11).
        Header = "header",
        /// The class that it belongs to cannot be told.
        Class = "class",
        /// The answer says that it is for one client alone.
        NotShareable = "not-shareable",
        /// The answer cannot be a snapshot (contract §1).
        Uncoverable = "uncoverable",
        /// The upstream's 404 or 410 lasted for `gone_after`.
        Gone = "gone",
        /// Its user was not there for `max_session_polls`.
        SessionIdle = "session-idle",
        /// The upstream refuses the resource.
        Upstream = "upstream",
        /// The answer depends on more header fields with every poll.
        Vary = "vary",
        /// It wants no poll on its behalf, and no fresh answer is held.
        OnlyIfCached = "only-if-cached",
        /// The upstream has not answered in time (`first_answer`).
        FirstAnswer = "first-answer",
        /// The poll for it failed, and nothing young enough is held.
        PollFailed = "poll-failed",
        /// It did not get through to the upstream, or its client broke off.
        NotPassed = "not-passed",
        /// `passthrough_first_byte_timeout` of the upstream: no answer began in time.
        UpstreamFirstByte = "upstream-first-byte",
        /// The version in its `If-Match` is not the current one.
        Condition = "condition",
        /// What let the client in ran out while it was held.
        Expired = "expired",
        /// What let the client in was revoked while it was held.
        Revoked = "revoked",
        /// The upstream gave the client something else while it was held.
        Forbidden = "forbidden",
        /// It ended by an error before anything was decided.
        Error = "error",
    }
}
