//! `poll.auth`, `poll.batch`, and an upstream's `budget` and `breaker`: how much and on whose behalf
//! an upstream is asked.
//!
//! Must not know: when.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri, header};

use super::super::environment::file_of;
use super::super::problem::{Findings, Place};
use super::super::{
    Auth, Batch, Breaker, Budget, ClassValue, ClientCredentials, DigestCredentials, Route, Secret, Server,
    Share, Upstream, UpstreamTls, raw,
};
use super::{HOUR, MILLISECOND, MINUTE, SECOND, Said, at, paths, poll, tls, upstreams};

pub fn auth(
    (place, said): Said<'_, raw::AuthSetting>,
    base_dir: &Path,
    to: &mut Option<Auth>,
    findings: &mut Findings,
) {
    let raw = match said {
        Some(raw::AuthSetting::On(raw)) => raw,
        Some(raw::AuthSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::AuthSetting::Word(_)) => {
            // Not quoted: an operator may have written a password here.
            return findings
                .problem(&place, "is neither off nor one of basic, bearer, header_file, digest and oauth2");
        }
        None => return,
    };
    let said = [
        raw.basic.is_some(),
        raw.bearer.is_some(),
        raw.oauth2.is_some(),
        raw.digest.is_some(),
        raw.header_file.is_some(),
    ];
    if said.into_iter().filter(|said| *said).count() != 1 {
        return findings
            .problem(&place, "wants exactly one of basic, bearer, header_file, digest and oauth2");
    }
    if let (place, Some(raw)) = at!(place, raw.basic)
        && let (Some(user), Some(password)) = (&raw.user, &raw.password)
    {
        if user.0.contains(':') {
            findings.problem(&place.key("user"), "has a \":\", which no name can have (RFC 7617)");
        }
        let pair = STANDARD.encode(format!("{}:{}", user.0, password.0));
        *to = authorization(&place, &format!("Basic {pair}"), findings);
    }
    if let (place, Some(said)) = at!(place, raw.header_file) {
        *to =
            poll::secret_file(&place, &said.0, "", base_dir, findings).map(|file| Auth::File(Arc::new(file)));
    }
    if let (place, Some(said)) = at!(place, raw.bearer)
        && let Some(path) = file_of(&said.0)
    {
        *to = poll::secret_file(&place, path, "Bearer ", base_dir, findings)
            .map(|file| Auth::File(Arc::new(file)));
    } else if let (place, Some(said)) = at!(place, raw.bearer) {
        let token = said.0.trim();
        if token.is_empty() {
            findings.problem(&place, "is empty");
        } else if token.contains(char::is_whitespace) {
            findings
                .problem(&place, "has a space, which no token has; write only the token, without \"Bearer\"");
        }
        *to = authorization(&place, &format!("Bearer {token}"), findings);
    }
    if let (place, Some(raw)) = at!(place, raw.digest) {
        *to = digest(&place, raw, findings);
    }
    if let (place, Some(raw)) = at!(place, raw.oauth2) {
        *to = client_credentials(&place, raw, base_dir, findings)
            .map(|of| Auth::ClientCredentials(Arc::new(of)));
    }
}

fn digest(place: &Place, raw: &raw::Digest, findings: &mut Findings) -> Option<Auth> {
    let (username, password) = (raw.username.as_ref()?, raw.password.as_ref()?);
    if username.0.is_empty() || username.0.contains(':') {
        findings
            .problem(&place.key("username"), "is empty or has a \":\", which no name can have (RFC 7616)");
    }
    let is_plain = |text: &str| !text.chars().any(char::is_control);
    if !is_plain(&username.0) || !is_plain(&password.0) {
        findings.problem(place, "has a control character in it");
    }
    let credentials =
        DigestCredentials { username: username.0.clone(), password: Secret(password.0.clone()) };
    Some(Auth::Digest(Arc::new(credentials)))
}

fn authorization(place: &Place, value: &str, findings: &mut Findings) -> Option<Auth> {
    let mut value: HeaderValue = findings.header_value(place, value)?;
    value.set_sensitive(true);
    Some(Auth::Static(value))
}

fn client_credentials(
    place: &Place,
    raw: &raw::OAuth,
    base_dir: &Path,
    findings: &mut Findings,
) -> Option<ClientCredentials> {
    let ca = tls::authorities(at!(place, raw.ca), base_dir, findings);
    let mut in_body = false;
    findings.flag(at!(place, raw.in_body), &mut in_body);
    let mut refresh_before = MINUTE;
    findings.time(at!(place, raw.refresh_before), SECOND..=HOUR, &mut refresh_before);
    let (url_place, url) = at!(place, raw.token_url);
    let risk = "the client's secret goes over the network in clear";
    let (server, path) = server(&url_place, &url?.0, ca, risk, findings)?;
    if raw.ca.is_some() && server.tls.is_none() {
        findings.problem(&place.key("ca"), "has no effect: token_url is not https");
    }
    let text = |said: &Option<raw::Text>| said.as_ref().map(|said| said.0.clone());
    // An empty one is what `${NAME:-}` gives when nothing is set.
    let some = |said: &Option<raw::Text>| text(said).filter(|said| !said.is_empty());
    for (key, said) in [("client_id", &raw.client_id), ("client_secret", &raw.client_secret)] {
        if said.as_ref().is_some_and(|said| said.0.is_empty()) {
            findings.problem(&place.key(key), "is empty");
        }
    }
    Some(ClientCredentials {
        server: Arc::new(server),
        path,
        client_id: text(&raw.client_id)?,
        client_secret: Secret(text(&raw.client_secret)?),
        scope: some(&raw.scope),
        audience: some(&raw.audience),
        in_body,
        refresh_before,
    })
}

/// The server of a URL, as an upstream of its own, and its path and query. `risk`: of asking it in clear.
pub fn server(
    place: &Place,
    said: &str,
    ca: Option<std::path::PathBuf>,
    risk: &str,
    findings: &mut Findings,
) -> Option<(Upstream, String)> {
    let uri = said.parse::<Uri>().ok().filter(|_| !said.contains('#'));
    let parts = uri.as_ref().and_then(|uri| {
        // The port of `host:99999` would be left out without a word.
        let authority = upstreams::authority(uri.authority()?.as_str())?;
        let authority = Some(authority).filter(|authority| authority.port_u16() != Some(0))?;
        Some((uri.scheme_str()?, authority, uri.path_and_query()?))
    });
    let Some((scheme @ ("http" | "https"), authority, path)) = parts else {
        match said.contains('@') {
            // Not quoted: what stands before it may be a password.
            true => findings
                .problem(place, "is not a URL without a user; client_id and client_secret say who asks"),
            // Nor is a query, which may hold a key.
            false => findings.bad(
                place,
                said.split('?').next().unwrap_or_default(),
                "is not a URL; write it like https://auth.example.com/token",
            ),
        }
        return None;
    };
    let secure = scheme == "https";
    let ip = authority.host().trim_matches(['[', ']']).parse::<IpAddr>();
    if !secure && !ip.map_or(authority.host() == "localhost", |ip| ip.is_loopback()) {
        findings.warning(place, risk);
    }
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    // Upstreams that reach the same server the same way share its connections.
    let by = ca.as_ref().map_or(String::new(), |ca| format!(" by {}", ca.display()));
    let mut server = Upstream::unsaid(&format!("{scheme}://{}:{port}{by}", authority.host()));
    server.servers = vec![Server { address: format!("{}:{port}", authority.host()), weight: 1 }];
    server.host = Some(authority.as_str().to_owned());
    server.tls = secure.then(|| UpstreamTls { ca, ..UpstreamTls::unsaid() });
    Some((server, path.as_str().to_owned()))
}

pub fn batch((place, said): Said<'_, raw::BatchSetting>, to: &mut Option<Batch>, findings: &mut Findings) {
    let raw = match said {
        Some(raw::BatchSetting::On(raw)) => raw,
        Some(raw::BatchSetting::Word(word)) if word.0 == "off" => return *to = None,
        Some(raw::BatchSetting::Word(word)) => {
            return findings.bad(&place, &word.0, "is neither off nor { param, items, key }");
        }
        None => return,
    };
    let to = to.get_or_insert_with(Batch::unsaid);
    if let (place, Some(said)) = at!(place, raw.param)
        && let Some(name) = findings.parameter(&place, &said.0)
    {
        to.query = name;
    }
    if let (place, Some(said)) = at!(place, raw.separator) {
        if said.0.is_empty() || said.0.len() > 8 || !said.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            findings.bad(&place, &said.0, "cannot stand between two names: 1 to 8 visible ASCII characters");
        }
        to.separator = said.0.clone();
    }
    findings.count(at!(place, raw.max), 1..=1000, &mut to.max);
    if let (place, Some(said)) = at!(place, raw.items)
        && let Some(pointer) = findings.pointer(&place, &said.0, true)
    {
        to.items = pointer;
    }
    if let (place, Some(said)) = at!(place, raw.key)
        && let Some(pointer) = findings.pointer(&place, &said.0, true)
    {
        to.key = pointer;
    }
    if let (place, Some(said)) = at!(place, raw.path) {
        if let Err(message) = paths::parameters(&said.0) {
            findings.bad(&place, &said.0, message);
        }
        to.path = said.0.clone();
    }
    if let (_, Some(said)) = at!(place, raw.parameter) {
        to.parameter = said.0.clone();
    }
    findings.time(at!(place, raw.window), MILLISECOND..=SECOND, &mut to.window);
}

/// What must fit together once everything is said.
pub fn together(place: &Place, route: &mut Route, parameters: &[&str], findings: &mut Findings) {
    if route.poll.auth.is_some() {
        let is_header = |(name, _): &(http::HeaderName, HeaderValue)| *name == header::AUTHORIZATION;
        let of_class = matches!(&route.share, Share::By(values)
            if values.contains(&ClassValue::Header(header::AUTHORIZATION)));
        if route.poll.headers.iter().any(is_header) {
            findings.problem(&place.key("auth"), "says Authorization, and so does poll.headers");
        } else if of_class {
            findings.problem(&place.key("auth"), "says Authorization, which share.by takes from the clients");
        }
    }
    let (is_feed, by_user) = (route.feed.is_some(), matches!(route.share, Share::By(_)));
    // The request is the upstream's.
    let path = route.upstream_path.as_ref().map_or(route.path.as_str(), |to| to.text.as_str()).to_owned();
    let Some(batch) = &mut route.poll.batch else { return };
    let place = place.key("batch");
    if is_feed {
        findings.problem(&place, "cannot stand beside feed: an item of a batch is a resource of its own");
    }
    if by_user {
        findings.problem(
            &place,
            "cannot stand beside share.by: one request would carry the values of several users",
        );
    }
    let (parent, last) = path.rsplit_once('/').unwrap_or(("", &path));
    if batch.parameter.is_empty() {
        match last.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !name.starts_with('*') => name.clone_into(&mut batch.parameter),
            _ => {
                findings.problem(&place, "the route's last segment is no {parameter}; say path and parameter")
            }
        }
    } else if !parameters.contains(&batch.parameter.as_str()) {
        let message = "is not a parameter of the route's path";
        findings.bad(&place.key("parameter"), &batch.parameter.clone(), message);
    }
    if batch.path.is_empty() {
        (if parent.is_empty() { "/" } else { parent }).clone_into(&mut batch.path);
    }
    // One that is no path was told where it was said.
    let used = paths::parameters(&batch.path).unwrap_or_default();
    let unknown = used.iter().find(|used| !parameters.contains(used) || **used == batch.parameter);
    if let Some(unknown) = unknown {
        let message =
            format!("has {{{unknown}}}, which is not among the other parameters of the route's path");
        findings.bad(&place.key("path"), &batch.path, &message);
    }
}

/// `shared`: whether the upstream's own quota is one for all of its resources.
pub fn budget(
    (place, said): Said<'_, raw::Budget>,
    shared: &mut bool,
    findings: &mut Findings,
) -> Option<Budget> {
    let raw = said?;
    findings.choice(at!(place, raw.quota), &[("route", false), ("shared", true)], shared);
    let rate = match at!(place, raw.rate) {
        (place, Some(said)) => findings.read_rate(&place, &said.0),
        (_, None) => None,
    };
    let mut burst = rate.map_or(1, |rate| (rate.ceil() as usize).max(1));
    findings.count(at!(place, raw.burst), 1..=100_000, &mut burst);
    let mut max_concurrent = Budget::MAX_CONCURRENT;
    findings.count(at!(place, raw.max_concurrent), 1..=10_000, &mut max_concurrent);
    if raw.rate.is_none() {
        for (key, is_said) in
            [("burst", raw.burst.is_some()), ("max_concurrent", raw.max_concurrent.is_some())]
        {
            if is_said {
                findings.problem(&place.key(key), "needs rate beside it: without one there is no budget");
            }
        }
    }
    Some(Budget { rate: rate?, burst: burst as u32, max_concurrent })
}

pub fn breaker((place, said): Said<'_, raw::Breaker>, to: &mut Breaker, findings: &mut Findings) {
    let Some(raw) = said else { return };
    let mut failures = to.failures.map(|failures| failures as usize);
    findings.count_or_off(at!(place, raw.failures), 1..=100_000, &mut failures);
    to.failures = failures.map(|failures| failures as u32);
    findings.time(at!(place, raw.wait), 100 * MILLISECOND..=HOUR, &mut to.wait);
}
