//! Why a client may not share a resource, or not follow it (contract §11): one closed set of reasons, and one table of
//! what each means in every form. A request of its own, one resource of many and a new token are refused by it alike.
//!
//! Must not know: how an answer is written.

use std::borrow::Cow;

use http::{HeaderName, StatusCode};

use crate::config::Route;
use crate::hub::{ExceptionKind, Full};
use crate::identity::Denied;
use crate::metrics::{Bypass, RefusalReason};
use crate::resource::NoTarget;
use crate::transport::code;

/// Why a client may not share, or not follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::front) enum Reason {
    /// The request proves no identity, or one that may not read this.
    Denied(Denied),
    /// The route knows no parameter of this name.
    UnknownParameter(String),
    /// `upstream_path` leads it nowhere.
    NoTarget(NoTarget),
    /// It carries credentials that no `share` covers.
    Credentials,
    /// Its credential is good for this request, or for its connection, alone.
    OneRequest,
    /// This header may choose the content, and no key of the route says whether it does.
    Doubt(HeaderName),
    /// A class value is there twice: which one the upstream takes is not known.
    Ambiguous,
    /// The identity has no such claim: it belongs to no class.
    Nameless,
    /// `limits.clients_per_subject`.
    SubjectFull,
    /// `max_clients`.
    RouteFull,
    /// A limit of resources, their followers or their memory.
    Full(Full),
    /// What is known against the resource, and why.
    Exception(ExceptionKind, String),
    /// The upstream's own refusal of the resource.
    Upstream(StatusCode),
    /// `share: authorize`: the client's own credentials get something else.
    OtherAnswer,
    /// `share: authorize`: the upstream refuses the client's own credentials.
    RefusedByUpstream,
    /// `share: authorize`: the upstream did not answer the question about the client.
    UnansweredCheck,
    /// `share: authorize`: followers' credentials take as much memory as they may.
    CredentialsFull,
    /// The upstream's Vary names something else with each answer.
    EverNewVary,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::front) struct Told {
    /// Of a request, and of one resource of many.
    pub(in crate::front) status: StatusCode,
    /// The code and the words with which a WebSocket is closed. `None` if the handshake gets the status.
    pub(in crate::front) close: Option<(u16, &'static str)>,
    /// An EventSource is told by this status not to come back.
    pub(in crate::front) event_source: Option<StatusCode>,
    pub(in crate::front) detail: Cow<'static, str>,
    /// The label of `pollcast_refusals_total`. `None` if it is counted where the limit bites, or is no refusal of
    /// pollcast's.
    pub(in crate::front) counted: Option<RefusalReason>,
}

impl Reason {
    /// What a client of this route is told.
    pub(in crate::front) fn told(&self, route: &Route) -> Told {
        let counted = match self {
            Reason::Denied(_)
            | Reason::SubjectFull
            | Reason::RouteFull
            | Reason::OtherAnswer
            | Reason::RefusedByUpstream
            | Reason::UnansweredCheck => Some(self.refusal()),
            _ => None,
        };
        let (status, close) = self.codes();
        let event_source =
            matches!(self, Reason::Exception(ExceptionKind::Gone | ExceptionKind::SessionIdle, _))
                .then_some(StatusCode::NO_CONTENT);
        Told { status, close, event_source, detail: self.detail(&route.path), counted }
    }

    fn codes(&self) -> (StatusCode, Option<(u16, &'static str)>) {
        match self {
            Reason::Denied(denied) => {
                let code = match denied.status {
                    StatusCode::UNAUTHORIZED => code::UNAUTHORIZED,
                    StatusCode::FORBIDDEN => code::FORBIDDEN,
                    _ => code::TRY_AGAIN,
                };
                (denied.status, Some((code, denied.reason)))
            }
            Reason::UnknownParameter(_) | Reason::NoTarget(_) | Reason::Ambiguous => {
                (StatusCode::BAD_REQUEST, None)
            }
            Reason::Credentials | Reason::OneRequest | Reason::Doubt(_) | Reason::Nameless => {
                (StatusCode::FORBIDDEN, None)
            }
            Reason::SubjectFull | Reason::RouteFull | Reason::CredentialsFull => {
                (StatusCode::SERVICE_UNAVAILABLE, None)
            }
            Reason::Full(full) => (limit_status(full.reason()), None),
            Reason::Exception(kind, _) => match kind {
                ExceptionKind::Gone => (StatusCode::GONE, Some((code::NOT_FOUND, "gone"))),
                ExceptionKind::SessionIdle => (StatusCode::FORBIDDEN, Some((code::POLICY, "session-idle"))),
                ExceptionKind::Uncoverable | ExceptionKind::OwnStream => {
                    (StatusCode::UNPROCESSABLE_ENTITY, Some((code::INTERNAL, "uncoverable")))
                }
                ExceptionKind::NotShareable | ExceptionKind::Denied => (StatusCode::FORBIDDEN, None),
            },
            Reason::Upstream(status) => {
                let code = match status.as_u16() {
                    404 | 410 => code::NOT_FOUND,
                    403 => code::FORBIDDEN,
                    _ => code::UNAUTHORIZED,
                };
                (*status, Some((code, "the upstream refuses")))
            }
            Reason::OtherAnswer | Reason::RefusedByUpstream | Reason::UnansweredCheck => {
                (StatusCode::FORBIDDEN, Some((code::FORBIDDEN, "not authorized")))
            }
            Reason::EverNewVary => (StatusCode::BAD_GATEWAY, None),
        }
    }

    fn detail(&self, path: &str) -> Cow<'static, str> {
        match self {
            Reason::Denied(denied) => denied.detail.clone().into(),
            Reason::UnknownParameter(name) => {
                format!("the query parameter {name:?} is not known on this route").into()
            }
            Reason::NoTarget(no) => no.detail().into(),
            Reason::Credentials | Reason::OneRequest | Reason::Doubt(_) => format!(
                "this request says who it is from, or asks in a way that may choose the content, and route {path} does \
                 not say who may share its answers: set `share: public`, or `share: {{by: [...]}}` with what tells users \
                 apart, or name what means nothing in `ignore_headers` and `ignore_cookies`"
            )
            .into(),
            Reason::Ambiguous => "a value that says who may share is there twice".into(),
            Reason::Nameless => "who asks is known, and nothing of it says to which class it belongs".into(),
            Reason::SubjectFull => {
                "there are as many clients of this subject or class as may be (limits.clients_per_subject)".into()
            }
            Reason::RouteFull => "there are as many clients of this route as may be (max_clients)".into(),
            Reason::Full(full) => format!("there is no room for it ({})", full.key()).into(),
            Reason::Exception(ExceptionKind::NotShareable, reason) => {
                format!("{reason}: set `share: public` or `share: {{by: [...]}}` on route {path}").into()
            }
            Reason::Exception(_, reason) => reason.clone().into(),
            Reason::Upstream(_) => "the upstream refuses it".into(),
            Reason::OtherAnswer => "the upstream gives these credentials something else".into(),
            Reason::RefusedByUpstream => "the upstream refuses these credentials".into(),
            Reason::UnansweredCheck => "the upstream cannot be asked about these credentials now".into(),
            Reason::CredentialsFull => "there is no room for the credentials of more followers now".into(),
            Reason::EverNewVary => "the upstream's Vary changes with every answer".into(),
        }
    }

    /// Why a push form is refused that may not share or follow.
    pub(in crate::front) fn refusal(&self) -> RefusalReason {
        match self {
            Reason::Denied(_) => RefusalReason::Authentication,
            Reason::UnknownParameter(_) => RefusalReason::UnknownParameter,
            Reason::NoTarget(_) => RefusalReason::UpstreamPath,
            Reason::Credentials | Reason::OneRequest => RefusalReason::Credentials,
            Reason::Doubt(_) => RefusalReason::Header,
            Reason::Ambiguous | Reason::Nameless => RefusalReason::Class,
            Reason::SubjectFull | Reason::RouteFull => RefusalReason::Clients,
            Reason::Full(full) => full.reason(),
            Reason::Exception(kind, _) => match kind {
                ExceptionKind::Uncoverable | ExceptionKind::OwnStream => RefusalReason::Uncoverable,
                ExceptionKind::NotShareable | ExceptionKind::Denied => RefusalReason::NotShareable,
                ExceptionKind::Gone => RefusalReason::Gone,
                ExceptionKind::SessionIdle => RefusalReason::SessionIdle,
            },
            Reason::Upstream(_) => RefusalReason::Upstream,
            Reason::OtherAnswer | Reason::RefusedByUpstream | Reason::UnansweredCheck => {
                RefusalReason::Authorization
            }
            Reason::CredentialsFull => RefusalReason::CredentialsBytes,
            Reason::EverNewVary => RefusalReason::Vary,
        }
    }

    /// Why a plain request passes through that may not share. Whatever it is, the API answers it.
    pub(in crate::front) fn bypass(&self) -> Bypass {
        match self {
            Reason::Credentials | Reason::OneRequest => Bypass::Credentials,
            Reason::Doubt(_) => Bypass::Header,
            Reason::Exception(kind, _) => (*kind).into(),
            Reason::Full(_) | Reason::SubjectFull | Reason::RouteFull | Reason::CredentialsFull => {
                Bypass::Limit
            }
            Reason::OtherAnswer | Reason::RefusedByUpstream | Reason::UnansweredCheck => Bypass::Unauthorized,
            Reason::EverNewVary => Bypass::Vary,
            Reason::Ambiguous
            | Reason::Nameless
            | Reason::Denied(_)
            | Reason::UnknownParameter(_)
            | Reason::NoTarget(_)
            | Reason::Upstream(_) => Bypass::Class,
        }
    }

    /// Whether the API itself is to be asked first by a push form (contract §11): its own streams may need what
    /// pollcast cannot share by.
    pub(in crate::front) fn asks_first(&self) -> bool {
        matches!(self, Reason::Credentials | Reason::OneRequest | Reason::Doubt(_))
    }
}

/// The status of a refusal for now: whether this client wants too much, or all together do.
pub(in crate::front) fn limit_status(reason: RefusalReason) -> StatusCode {
    match reason {
        RefusalReason::AddressResources => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::route::route;

    fn denied(status: StatusCode) -> Reason {
        Reason::Denied(Denied { status, detail: "no".to_owned(), reason: "claims" })
    }

    /// One of each reason, with what a request and a WebSocket get, and whether an EventSource is told to stay away.
    fn table() -> Vec<(Reason, u16, Option<u16>, bool)> {
        use ExceptionKind::{Denied as Poll, Gone, NotShareable, OwnStream, SessionIdle, Uncoverable};
        let exception = |kind| Reason::Exception(kind, "why".to_owned());
        vec![
            (denied(StatusCode::UNAUTHORIZED), 401, Some(4401), false),
            (denied(StatusCode::FORBIDDEN), 403, Some(4403), false),
            (denied(StatusCode::SERVICE_UNAVAILABLE), 503, Some(1013), false),
            (Reason::UnknownParameter("x".to_owned()), 400, None, false),
            (Reason::NoTarget(NoTarget::Leaves), 400, None, false),
            (Reason::NoTarget(NoTarget::Sets("x".to_owned())), 400, None, false),
            (Reason::Credentials, 403, None, false),
            (Reason::OneRequest, 403, None, false),
            (Reason::Doubt(HeaderName::from_static("x-color")), 403, None, false),
            (Reason::Ambiguous, 400, None, false),
            (Reason::Nameless, 403, None, false),
            (Reason::SubjectFull, 503, None, false),
            (Reason::RouteFull, 503, None, false),
            (Reason::Full(Full::Bytes), 503, None, false),
            (Reason::Full(Full::Address), 429, None, false),
            (exception(NotShareable), 403, None, false),
            (exception(SessionIdle), 403, Some(1008), true),
            (exception(Gone), 410, Some(4404), true),
            (exception(Uncoverable), 422, Some(1011), false),
            (exception(OwnStream), 422, Some(1011), false),
            (exception(Poll), 403, None, false),
            (Reason::Upstream(StatusCode::UNAUTHORIZED), 401, Some(4401), false),
            (Reason::Upstream(StatusCode::FORBIDDEN), 403, Some(4403), false),
            (Reason::Upstream(StatusCode::NOT_FOUND), 404, Some(4404), false),
            (Reason::Upstream(StatusCode::GONE), 410, Some(4404), false),
            (Reason::OtherAnswer, 403, Some(4403), false),
            (Reason::RefusedByUpstream, 403, Some(4403), false),
            (Reason::UnansweredCheck, 403, Some(4403), false),
            (Reason::CredentialsFull, 503, None, false),
            (Reason::EverNewVary, 502, None, false),
        ]
    }

    #[test]
    fn each_reason_means_one_thing_in_every_form() {
        for (reason, status, close, stays_away) in table() {
            let told = reason.told(&route());
            assert_eq!(told.status.as_u16(), status, "{reason:?}");
            assert_eq!(told.close.map(|(code, _)| code), close, "{reason:?}");
            assert_eq!(told.event_source.is_some(), stays_away, "{reason:?}");
            assert!(!told.detail.is_empty(), "{reason:?}");
        }
    }

    #[test]
    fn a_refusal_tells_nothing_of_the_clients_credentials_or_of_others_headers() {
        for (reason, ..) in table() {
            let detail = reason.told(&route()).detail;
            assert!(!detail.contains("x-color"), "{reason:?}: {detail}");
        }
    }

    #[test]
    fn only_what_the_api_may_read_otherwise_asks_it_first() {
        for (reason, ..) in table() {
            let wanted = matches!(reason.bypass(), Bypass::Credentials | Bypass::Header);
            assert_eq!(reason.asks_first(), wanted, "{reason:?}");
        }
    }
}
