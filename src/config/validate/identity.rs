//! `authenticate`: which clients are let in on a route. Its tokens are read in `jwt`.
//!
//! Must not know: how a proof is checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header;

use super::super::identity::{ApiKeys, Authenticate, Forward, TokenPlaces};
use super::super::problem::{Findings, Place};
use super::super::{Route, Secret, Share, raw};
use super::context::Context;
use super::units::{DAY, HOUR, MILLISECOND, MINUTE, SECOND};
use super::value::{Said, at};
use super::{jwt, server};

/// Reads `authenticate`: the ways in, or `off`.
pub fn authenticate(
    (place, said): Said<'_, raw::AuthenticateSetting>,
    context: &Context<'_>,
    to: &mut Option<Authenticate>,
    findings: &mut Findings,
) {
    let raw = match said {
        Some(raw::AuthenticateSetting::On(raw)) => raw,
        Some(raw::AuthenticateSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::AuthenticateSetting::Word(_)) => {
            return findings
                .problem(&place, "is neither off nor some of jwt, keys, forward, client_certificate");
        }
        None => return,
    };
    let mut who = Authenticate::default();
    if let (place, Some(raw)) = at!(place, raw.jwt) {
        who.jwt = jwt::jwt(&place, raw, context, findings).map(Arc::new);
    }
    if let (place, Some(raw)) = at!(place, raw.keys) {
        who.keys = api_keys(&place, raw, findings);
    }
    if let (place, Some(raw)) = at!(place, raw.forward) {
        who.forward = forward(&place, raw, context, findings).map(Arc::new);
    }
    findings.flag(at!(place, raw.client_certificate), &mut who.client_certificate);
    if let (place, Some(raw)) = at!(place, raw.token) {
        token_places(&place, raw, &mut who.token, findings);
    }
    let ways = [
        ("jwt", raw.jwt.is_some()),
        ("keys", raw.keys.is_some()),
        ("forward", raw.forward.is_some()),
        ("client_certificate", who.client_certificate),
    ];
    let ways: Vec<&str> = ways.into_iter().filter(|(_, is_said)| *is_said).map(|(way, _)| way).collect();
    if ways.is_empty() {
        findings.problem(&place, "lets no client in; name some of jwt, keys, forward, client_certificate");
    }
    if ways.len() > 1 {
        let message = format!(
            "lets clients in by {}, so that a subject alone is nobody's name: the API has to read X-Pollcast-Way and \
             X-Pollcast-Issuer beside X-Pollcast-Subject, or takes namesakes for one user",
            ways.join(" and ")
        );
        findings.warning(&place, message);
    }
    *to = Some(who);
}

fn api_keys(place: &Place, raw: &raw::ApiKeys, findings: &mut Findings) -> Option<ApiKeys> {
    let mut header = http::HeaderName::from_static("x-api-key");
    if let (place, Some(said)) = at!(place, raw.header) {
        header = findings.header_name(&place, &said.0)?;
    }
    let (place, said) = at!(place, raw.clients);
    let clients: BTreeMap<_, _> = said?.clone();
    if clients.is_empty() {
        findings.problem(&place, "is empty; write the clients' keys by their names");
    }
    for (name, key) in &clients {
        if key.0.len() < 16 {
            findings.problem(&place.key(name), "is too short for a key; at least 16 characters");
        }
    }
    let clients = clients.into_iter().map(|(name, key)| (name, Secret(key.0))).collect();
    Some(ApiKeys { header, clients })
}

fn forward(
    place: &Place,
    raw: &raw::Forward,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Forward> {
    let mut headers = Vec::new();
    let (headers_place, said) = at!(place, raw.headers);
    match said {
        None => headers = vec![header::AUTHORIZATION, header::COOKIE],
        said => findings.list(
            (headers_place, said),
            |findings, place, said| findings.header_name(place, said),
            &mut headers,
        ),
    }
    let mut subject = http::HeaderName::from_static("x-auth-request-user");
    if let (place, Some(said)) = at!(place, raw.subject) {
        subject = findings.header_name(&place, &said.0)?;
    }
    let (mut timeout, mut cache) = (2 * SECOND, 30 * SECOND);
    findings.time(at!(place, raw.timeout), 10 * MILLISECOND..=MINUTE, &mut timeout);
    findings.time(at!(place, raw.cache), SECOND..=HOUR, &mut cache);
    let way = server::Said {
        place,
        key: "url",
        url: raw.url.as_ref(),
        ca: raw.ca.as_ref(),
        upstream: raw.upstream.as_ref(),
        risk: "clients' credentials go over the network in clear",
    };
    let (server, path) = server::server(&way, context, findings)?;
    Some(Forward { server: Arc::new(server), path, headers, subject, timeout, cache })
}

fn token_places(place: &Place, raw: &raw::TokenPlaces, to: &mut TokenPlaces, findings: &mut Findings) {
    let said = [(at!(place, raw.cookie), &mut to.cookie), (at!(place, raw.query), &mut to.query)];
    for ((place, said), to) in said {
        let Some(said) = said.map(|said| said.0.as_str()).filter(|said| *said != "off") else { continue };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if said.is_empty() || said.len() > 64 || !said.bytes().all(plain) {
            findings.bad(&place, said, "is not a name: 1 to 64 of letters, digits, \"-\", \"_\" and \".\"");
        }
        *to = Some(said.to_owned());
    }
}

/// Reads `authorize.recheck`.
pub fn recheck((place, said): Said<'_, raw::Authorize>, to: &mut Duration, findings: &mut Findings) {
    if let Some(raw) = said {
        findings.time(at!(place, raw.recheck), SECOND..=DAY, to);
    }
}

/// Checks that these settings fit together.
pub fn together(place: &Place, route: &Route, parameters: &[&str], findings: &mut Findings) {
    if let Some(jwt) = route.authenticate.as_ref().and_then(|who| who.jwt.as_ref()) {
        let place = place.key("authenticate").key("jwt").key("claims");
        for (parameter, _) in &jwt.claims {
            if !parameters.contains(&parameter.as_str()) {
                findings.bad(&place, parameter, "is not a parameter of the route's path");
            }
        }
    }
    let (route_place, place) = (place, place.key("share"));
    if route.share == Share::Authorize {
        if route.poll.batch.is_some() {
            findings.problem(&place, "cannot be authorize beside poll.batch: no client asks for a batch");
        }
        if route.feed.as_ref().is_some_and(|feed| feed.cursor.is_some()) {
            findings.problem(&place, "cannot be authorize beside feed.cursor: no two answers are the same");
        }
    }
    let is_everybodys = route.authenticate.is_none() && matches!(route.share, Share::Public | Share::Unset);
    let says_private = |said: &http::HeaderValue| {
        said.to_str().is_ok_and(|said| said.contains("private") || said.contains("no-store"))
    };
    if !is_everybodys && route.downstream_cache.as_ref().is_some_and(|said| !says_private(said)) {
        let message = "does not say private, and not everybody may read this route: caches on the way may hand \
                       it to others";
        findings.warning(&route_place.key("downstream_cache"), message);
    }
    let by_identity = matches!(&route.share, Share::By(by) if by.iter().any(|value| matches!(value, super::super::ClassValue::Identity { .. })));
    if by_identity && route.authenticate.is_none() {
        findings.problem(&place, "is by identity, and nothing says who that is; add authenticate");
    }
}
