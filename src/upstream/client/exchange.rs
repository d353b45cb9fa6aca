//! One request and its response on one connection, within the bounds of both.
//! Must not know: which server it is, where the connection comes from or goes to, the time of the whole.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora::{Error, ErrorType};
use tokio::time::timeout;

use super::body;
use super::egress::Absolute;
use super::error_text::Cause;
use super::proxy_answer;
use crate::upstream::decode::{self, Coding};
use crate::upstream::failure::Failure;
use crate::upstream::head;
use crate::upstream::poll_bodies::HeldBody;
use crate::upstream::{Answer, Ask, BodyClaim, Document, NoDocument};

/// 1xx heads skipped before one answer.
const INFORMATIONAL_HEADS_MAX: usize = 8;

/// An exchange that failed, and whether the server may be thought not to have seen it.
pub(super) struct Broken {
    pub(super) failure: Failure,
    /// Whether no byte of a response came.
    unanswered: bool,
}

impl Broken {
    fn before_answer(error: Box<Error>) -> Self {
        let failure = Failure::Reset { source: Cause::of(error) };
        Self { failure, unanswered: true }
    }

    /// Returns the same with a better explanation.
    pub(super) fn explained(self, failure: Failure) -> Self {
        Self { failure, ..self }
    }

    /// Whether the same may be asked once more: a reused connection may have been dead before.
    pub(super) fn is_repeatable(&self, ask: &Ask) -> bool {
        self.unanswered && ask.method.is_idempotent()
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self { failure, unanswered: false }
    }
}

/// How a request names what it asks for.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    /// By its path (RFC 9112 §3.2.1). In HTTP/2 its `:scheme` is https, as Pingora assumes.
    Origin,
    /// HTTP/2 without TLS, whose `:scheme` is another one.
    CleartextHttp2,
    /// By a whole URL, to a proxy.
    Absolute(&'a Absolute),
}

/// A whole response, its body as on the wire.
pub(super) struct Response {
    head: Head,
    codings: Vec<Coding>,
    body: Vec<u8>,
    held: Option<HeldBody>,
}

/// Sends `ask` and reads all of what comes back, the head within `first_byte_timeout` from the moment
/// the request is written.
pub(super) async fn exchange(
    session: &mut HttpSession,
    ask: &Ask,
    form: Form<'_>,
    first_byte_timeout: Duration,
) -> Result<Response, Broken> {
    let request = request(ask, form)?;
    write(session, request, &ask.body).await.map_err(Broken::before_answer)?;
    let head = match timeout(first_byte_timeout, read_head(session)).await {
        Ok(head) => head?,
        Err(_) => {
            return Err(Failure::FirstByteTimeout { limit: first_byte_timeout }.into());
        }
    };
    if let Form::Absolute(absolute) = form
        && let Some(reason) = proxy_answer::own(head.status, &head.headers, &absolute.place)
    {
        return Err(Failure::Unreached { reason }.into());
    }
    if !has_body(&ask.method, head.status) {
        let head = Head { close_delimited: false, ..head };
        // There is no body to read, but an HTTP/2 stream has to end.
        body::read(session, None, 0, None).await?;
        return Ok(Response { head, codings: Vec::new(), body: Vec::new(), held: None });
    }
    let announced = head.headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let most = patience(ask, &head, announced)?;
    let codings = decode::codings(&head.headers)?;
    let held = ask.claim.as_ref().map(BodyClaim::body);
    let reading = body::read(session, announced, ask.max_body, held);
    let (body, held) = match most {
        Some(waited) => BodyClaim::timeout(ask.claim.as_ref(), waited, pin!(reading))
            .await
            .unwrap_or(Err(Failure::NoDocument { found: NoDocument::Endless { waited } }))?,
        None => reading.await?,
    };
    Ok(Response { head, codings, body, held })
}

/// How long the body of an answer is waited for; `None` if as long as the whole exchange may take.
///
/// # Errors
/// [`Failure::NoDocument`] where the head says so already. One that is short is read all the same: the client that asked may
/// have it.
fn patience(ask: &Ask, head: &Head, announced: Option<u64>) -> Result<Option<Duration>, Failure> {
    let is_short = announced.is_some_and(|length| length <= ask.max_body as u64);
    if ask.document == Document::Any || is_short {
        return Ok(None);
    }
    if head.status.is_success()
        && let Some(found) = NoDocument::of(&head.headers)
    {
        return Err(Failure::NoDocument { found });
    }
    Ok(match ask.document {
        Document::Unknown { complete_within } => Some(complete_within),
        Document::Known | Document::Any => None,
    })
}

impl Response {
    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// How long the connection may be kept: `keepalive`, or a second less than the server said it would.
    pub(super) fn idle_limit(&self, keepalive: Duration) -> Duration {
        let said = self.head.headers.get("keep-alive").and_then(|value| value.to_str().ok());
        let said = said.and_then(|value| {
            let mut parameters = value.split(',').filter_map(|it| it.split_once('='));
            let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
            crate::upstream::schedule::number::seconds(seconds)
        });
        said.map_or(keepalive, |said| {
            keepalive.min(said.saturating_sub(Duration::from_secs(1)).max(said / 2))
        })
    }

    /// The answer with its content decoded, at most `max` bytes; `elapsed` is not known here.
    pub(super) async fn decoded(self, max: usize) -> Result<Answer, Failure> {
        let body_bytes = self.body.len();
        let (body, held) = body::decoded(self.codings, self.body, max, self.held).await?;
        Ok(Answer {
            status: self.head.status,
            phrase: self.head.phrase,
            headers: self.head.headers,
            body,
            close_delimited: self.head.close_delimited,
            head_bytes: self.head.bytes,
            body_bytes,
            elapsed: Duration::ZERO,
            held: held.map(Arc::new),
        })
    }
}

/// The request as it goes out.
fn request(ask: &Ask, form: Form<'_>) -> Result<Box<RequestHeader>, Failure> {
    let target = ask.path_and_query.as_str();
    // Pingora would cut a fragment off, and another resource would be asked for.
    let is_bad = |byte: u8| byte <= b' ' || byte == 0x7f || byte == b'#';
    if !target.starts_with('/') || target.bytes().any(is_bad) {
        return Err(unsendable(format!("{target:?} is not a path and query")));
    }
    let expects_body =
        !ask.body.is_empty() || matches!(ask.method, Method::POST | Method::PUT | Method::PATCH);
    let mut headers = HeaderMap::with_capacity(ask.headers.len() + 2);
    let host = match form {
        Form::Absolute(absolute) => absolute.host.clone(),
        _ => HeaderValue::from_str(&ask.host).map_err(|error| unsendable(error.to_string()))?,
    };
    headers.append(HOST, host);
    if let Form::Absolute(Absolute { authorization: Some(value), .. }) = form {
        headers.append(PROXY_AUTHORIZATION, value.clone());
    }
    for (name, value) in ask.headers.iter().filter(|(name, _)| !is_set_here(name, form)) {
        let added = headers.try_append(name, value.clone());
        added.map_err(|error| unsendable(error.to_string()))?;
    }
    if expects_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.append(CONTENT_LENGTH, HeaderValue::from(ask.body.len()));
    }
    let (mut parts, ()) = http::Request::new(()).into_parts();
    (parts.method, parts.headers) = (ask.method.clone(), headers);
    let mut request = Box::new(RequestHeader::from(parts));
    // The target is not built from parts, as it need not be a URI.
    let written = match form {
        Form::Absolute(absolute) => absolute.target(target.as_bytes()).into(),
        _ => Cow::Borrowed(target.as_bytes()),
    };
    request.set_raw_path(&written).map_err(|error| unsendable(Cause::of(error).to_string()))?;
    if matches!(form, Form::CleartextHttp2) {
        let uri = Uri::builder().scheme("http").authority(ask.host.as_str()).path_and_query(target);
        request.set_uri(uri.build().map_err(|error| unsendable(error.to_string()))?);
    }
    Ok(request)
}

/// Fields from a client for its own proxy must not reach pollcast's.
fn is_set_here(name: &HeaderName, form: Form<'_>) -> bool {
    name == HOST || (matches!(form, Form::Absolute(_)) && name == PROXY_AUTHORIZATION)
}

fn unsendable(reason: String) -> Failure {
    Failure::Framing { found: format!("the request cannot be sent: {reason}") }
}

async fn write(
    session: &mut HttpSession,
    request: Box<RequestHeader>,
    body: &Bytes,
) -> Result<(), Box<Error>> {
    session.write_request_header(request).await?;
    if !body.is_empty() {
        session.write_request_body(body.clone(), true).await?;
    }
    session.finish_request_body().await
}

struct Head {
    status: StatusCode,
    /// The reason phrase, if it is not the usual one.
    phrase: Option<Box<str>>,
    headers: HeaderMap,
    bytes: usize,
    /// Whether a body would end with the connection, as there are neither a length nor chunks.
    close_delimited: bool,
}

async fn read_head(session: &mut HttpSession) -> Result<Head, Broken> {
    match session {
        HttpSession::H1(http1) => read_head_http1(http1).await,
        _ => {
            session.read_response_header().await.map_err(Broken::before_answer)?;
            let Some(response) = session.response_header() else {
                return Err(Failure::Framing { found: "no response head".to_owned() }.into());
            };
            let headers = response.headers.clone();
            let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            Ok(Head { status: response.status, phrase: None, headers, bytes, close_delimited: false })
        }
    }
}

/// Skips informational heads; every head is judged as received.
async fn read_head_http1(session: &mut Http1Session) -> Result<Head, Broken> {
    for skipped in 0..=INFORMATIONAL_HEADS_MAX {
        session.read_response().await.map_err(|error| head_failure(error, skipped))?;
        let raw = session.get_headers_raw_bytes();
        if raw.len() > head::HEAD_BYTES_MAX {
            return Err(Failure::TooLarge { part: "response head", limit: head::HEAD_BYTES_MAX }.into());
        }
        if let Some(found) = head::fault(&raw) {
            return Err(Failure::Framing { found }.into());
        }
        let Some(response) = session.resp_header() else {
            break;
        };
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Framing { found: "101 without having asked for it".to_owned() }.into());
        }
        if response.status.is_informational() {
            continue;
        }
        let headers = response.headers.clone();
        let close_delimited =
            !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING);
        let usual = response.status.canonical_reason();
        let phrase = response.get_reason_phrase().filter(|phrase| Some(*phrase) != usual).map(Box::from);
        return Ok(Head { status: response.status, phrase, headers, bytes: raw.len(), close_delimited });
    }
    Err(Failure::Framing { found: format!("more than {INFORMATIONAL_HEADS_MAX} informational heads") }.into())
}

fn head_failure(error: Box<Error>, skipped: usize) -> Broken {
    // Pingora tells only in words how much it had read.
    let context = error.context.as_ref().map_or("", |context| context.as_str());
    let unanswered = skipped == 0 && context.ends_with("bytes already read: 0");
    let failure = match error.etype() {
        ErrorType::ConnectionClosed if !unanswered => {
            Failure::Truncated { received: 0, source: Cause::of(error) }
        }
        ErrorType::ConnectionClosed | ErrorType::ReadError => Failure::Reset { source: Cause::of(error) },
        _ => Failure::Framing { found: Cause::of(error).to_string() },
    };
    Broken { failure, unanswered }
}

fn has_body(method: &Method, status: StatusCode) -> bool {
    method != Method::HEAD && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}
