//! Two forms of one route: which of its keys differ, and whether its resources are the same.
//!
//! What decides which resource a request names, what is polled for it, and what of that is published, is its meaning.
//! Must not know: how routes are matched with each other, upstreams.

use super::super::identity::Authenticate;
use super::super::{
    Batch, ClassValue, Feed, HeaderRules, Pages, Poll, Presence, PresenceNotify, QueryRule, Route, Share,
    Websocket, says_credential,
};
use super::access;
use super::keys::{Keys, Reach, compare};
use super::poll_credentials;

/// Notes what differs but path, hosts and upstream, which are compared where routes are matched.
pub fn route(old: &Route, new: &Route, keys: &mut Keys) {
    compare!(Route, old, new, keys, {
        Meaning:
            exact_spelling = "spelling", polled = "poll", share = "share", ignore_cookies = "ignore_cookies",
            credentials = "credentials", keep_fields = "keep_fields", switches = "switches", change = "change", clustered = "cluster",
            // Forms that were made already are shared by all that read them.
            event_name = "event_name", base64 = "encoding";
        Settings:
            plain = "plain", authenticate = "authenticate", recheck = "authorize.recheck",
            transports = "transports", heartbeat = "heartbeat",
            first_answer = "first_answer", max_wait = "max_wait", retry = "retry",
            stale_after = "stale_after", stale_if_error = "stale_if_error",
            history_versions = "history.versions", soft_refusal = "soft_refusal",
            downstream_cache = "downstream_cache", link = "link", cors = "cors", gone_after = "gone_after",
            max_age = "max_age", max_clients = "max_clients",
            max_clients_per_resource = "max_clients_per_resource", max_resources = "max_resources",
            compress = "compress", compress_min = "compress_min", delta = "delta", refreshes = "refreshes",
            refreshes_parent = "refreshes_parent", write_wait = "write_wait",
            hold_not_modified = "hold_not_modified";
    }, apart: [
        index, switched_off, path, hosts, upstream, upstream_path, poll, query, headers, websocket, feed, presence
    ]);
    compare!(QueryRule, &old.query, &new.query, keys, {
        Meaning:
            names = "query", unknown = "unknown_query", any_order = "query_order", ignore = "ignore_query";
    }, apart: []);
    compare!(HeaderRules, &old.headers, &new.headers, keys, {
        Meaning: vary = "vary", ignore_vary = "ignore_vary", ignore = "ignore_headers";
    }, apart: []);
    // A running route that is switched off is none of a file's, even of one that says `poll: off`.
    keys.note(old.switched_off.is_some() == new.switched_off.is_some(), Reach::Settings, "poll");
    let target = |route: &Route| route.upstream_path.as_ref().map(|path| path.text.clone());
    keys.note(target(old) == target(new), Reach::Meaning, "upstream_path");
    poll(&old.poll, &new.poll, keys);
    websocket(&old.websocket, &new.websocket, keys);
    feed(old.feed.as_ref(), new.feed.as_ref(), keys);
    presence(old.presence.as_ref(), new.presence.as_ref(), keys);
    // The followers were let in by the old rules: their streams end, so that the new rules decide again.
    let is_kept = access::lets_in_all(old.authenticate.as_ref(), new.authenticate.as_ref());
    keys.note(is_kept, Reach::Meaning, "authenticate");
    keys.note(access::allows_all(old.transports, new.transports), Reach::Meaning, "transports");
    keys.note(access::allows_origins(old.cors.as_ref(), new.cors.as_ref()), Reach::Meaning, "cors");
    let origins = [&old.websocket.origins, &new.websocket.origins].map(Option::as_deref);
    keys.note(access::opens_for_all(origins[0], origins[1]), Reach::Meaning, "websocket.origins");
    let says_identity = |share: &Share| match share {
        Share::By(values) => values.iter().any(|value| matches!(value, ClassValue::Identity { .. })),
        _ => false,
    };
    // Classes are made of identities: who is who is a part of them, and a rotated key is not.
    if says_identity(&old.share) && says_identity(&new.share) {
        let names = [&old.authenticate, &new.authenticate].map(|who| who.as_ref().map(identities));
        keys.note(names[0] == names[1], Reach::Meaning, "authenticate");
    }
}

/// What tells the identities of these ways in apart, whatever proves them.
fn identities(who: &Authenticate) -> impl PartialEq + use<> {
    let issuers = |jwt: &super::super::identity::Jwt| {
        let names: Vec<_> = jwt.issuers.iter().map(|issuer| issuer.name.clone()).collect();
        (names, jwt.subject.clone())
    };
    (
        who.is_bare(),
        who.jwt.as_deref().map(issuers),
        who.keys.is_some(),
        who.forward
            .as_ref()
            .map(|forward| (forward.issuer(), forward.subject.clone(), forward.headers.clone())),
        who.client_certificate,
    )
}

fn poll(old: &Poll, new: &Poll, keys: &mut Keys) {
    compare!(Poll, old, new, keys, {
        Meaning:
            accept = "poll.accept", expect = "poll.expect", cookie_jar = "poll.cookie_jar";
        Settings:
            interval = "poll.interval", adaptive_max = "poll.interval", linger = "poll.linger",
            always = "poll.always", accept_codings = "poll.accept_encoding", timeout = "poll.timeout",
            max_body = "poll.max_body", allow_close_delimited = "poll.allow_close_delimited",
            ignore_cache_control = "poll.ignore_cache_control", backoff = "poll.backoff",
            max_session_polls = "poll.max_session_polls", follow_redirects = "poll.follow_redirects";
    }, apart: [headers, header_files, auth, batch]);
    // Another value of a credential is a rotated one; any other header may choose the content.
    keys.note(old.headers == new.headers, Reach::Settings, "poll.headers");
    keys.note(old.header_files == new.header_files, Reach::Settings, "poll.headers");
    let content = |poll: &Poll| {
        let said = poll
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), (!says_credential(name.as_str())).then(|| value.clone())));
        let files: Vec<_> = poll.header_files.iter().map(|(name, _)| name.clone()).collect();
        (said.collect::<Vec<_>>(), files)
    };
    keys.note(content(old) == content(new), Reach::Meaning, "poll.headers");
    keys.note(old.auth == new.auth, Reach::Settings, "poll.auth");
    let users = [&old.auth, &new.auth].map(|auth| auth.as_ref().map(poll_credentials::user));
    keys.note(users[0] == users[1], Reach::Meaning, "poll.auth");
    batch(old.batch.as_ref(), new.batch.as_ref(), keys);
}

fn batch(old: Option<&Batch>, new: Option<&Batch>, keys: &mut Keys) {
    let (Some(old), Some(new)) = (old, new) else {
        return keys.note(old == new, Reach::Meaning, "poll.batch");
    };
    compare!(Batch, old, new, keys, {
        Meaning:
            path = "poll.batch", parameter = "poll.batch", query = "poll.batch", separator = "poll.batch",
            items = "poll.batch", key = "poll.batch";
        Settings: max = "poll.batch.max", window = "poll.batch.window";
    }, apart: []);
}

fn feed(old: Option<&Feed>, new: Option<&Feed>, keys: &mut Keys) {
    let (Some(old), Some(new)) = (old, new) else {
        return keys.note(old == new, Reach::Meaning, "feed");
    };
    compare!(Feed, old, new, keys, {
        Meaning:
            items = "feed", id = "feed", order = "feed", cursor = "feed", tells_updates = "feed",
            tells_returns = "feed";
        Settings: replay = "feed.replay", history = "feed.history";
    }, apart: [pages]);
    let (Some(old), Some(new)) = (&old.pages, &new.pages) else {
        return keys.note(old.pages == new.pages, Reach::Meaning, "feed");
    };
    compare!(Pages, old, new, keys, {
        Meaning: next = "feed", query = "feed";
        Settings: max = "feed.pages.max";
    }, apart: []);
}

/// Followers are counted from their first moment on: those who came before would be missing.
fn presence(old: Option<&Presence>, new: Option<&Presence>, keys: &mut Keys) {
    let (Some(old), Some(new)) = (old, new) else {
        return keys.note(old == new, Reach::Meaning, "presence");
    };
    compare!(Presence, old, new, keys, {
        Settings:
            names = "presence.names", interval = "presence.interval", linger = "presence.linger",
            subjects = "presence.subjects";
    }, apart: [notify]);
    let (Some(old), Some(new)) = (&old.notify, &new.notify) else {
        return keys.note(old.notify == new.notify, Reach::Settings, "presence.notify");
    };
    compare!(PresenceNotify, old, new, keys, {
        Settings:
            path = "presence.notify", debounce = "presence.notify.debounce", queue = "presence.notify.queue";
    }, apart: []);
}

fn websocket(old: &Websocket, new: &Websocket, keys: &mut Keys) {
    compare!(Websocket, old, new, keys, {
        Settings:
            origins = "websocket.origins", ping = "websocket.ping", pong = "websocket.pong",
            max_message = "websocket.max_message", frame_rate = "websocket.frame_rate",
            max_fragments = "websocket.max_fragments", send = "websocket.send";
    }, apart: []);
}
