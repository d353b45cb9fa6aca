//! The health check of one server: a GET over the same connections as the polls, or a bare connection.
//! Must not know: which servers there are, what follows from their health.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use pingora::lb::Backend;
use pingora::lb::health_check::HealthCheck;
use pingora::{Error, ErrorType};
use tokio::time::timeout;

use super::connector::For;
use super::connector::Link;
use crate::config;
use crate::upstream::failure::Failure;
use crate::upstream::servers::target_of;
use crate::upstream::target::Target;
use crate::upstream::{Ask, Document};
use std::time::Duration;

/// Longest body of an answer, bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Asks a server for its health; two failures in a row take it out, one success takes it back.
pub(super) struct Probe {
    pub(super) link: Arc<Link>,
    pub(super) check: config::HealthCheck,
}

#[async_trait]
impl HealthCheck for Probe {
    async fn check(&self, backend: &Backend) -> pingora::Result<()> {
        let failed = |failure: Failure| Error::because(ErrorType::ConnectError, "health check", failure);
        let Some(target) = target_of(backend) else {
            return Error::e_explain(ErrorType::InternalError, "an unknown server");
        };
        // It checks this address, and not the one that is best now.
        let target = Target { addresses: None, ..target };
        let upstream = &self.link.upstream;
        self.link.way.freshen().await;
        let limit = self.check.interval.min(upstream.total_timeout).max(ROUND_INTERVAL_MIN);
        if self.check.path.is_empty() {
            let group = self.link.group(None);
            return self.link.connect(&target, group, For::REQUESTS).await.map(drop).map_err(failed);
        }
        let ask = Ask {
            method: Method::GET,
            path_and_query: self.check.path.clone(),
            host: upstream.host.clone().unwrap_or_else(|| target.authority()),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: limit,
            max_body: BODY_BYTES_MAX,
            class: None,
            document: Document::Any,
            claim: None,
        };
        let answer = timeout(limit, self.link.ask(&target, &ask)).await;
        let answer = answer.unwrap_or(Err(Failure::TotalTimeout { limit })).map_err(failed)?;
        if !answer.status.is_success() {
            return Error::e_explain(
                ErrorType::HTTPStatus(answer.status.as_u16()),
                format!("health check: {} where 2xx was wanted", answer.status),
            );
        }
        Ok(())
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success { 1 } else { 2 }
    }

    fn backend_summary(&self, backend: &Backend) -> String {
        let server = target_of(backend).map_or_else(|| backend.addr.to_string(), |target| target.to_string());
        format!("upstream {:?}: server {server}", self.link.upstream.name)
    }

    async fn health_status_change(&self, backend: &Backend, is_healthy: bool) {
        if let Some(target) = target_of(backend) {
            target.note_health(is_healthy);
        }
    }
}

/// The least time between two rounds of resolution or of health checks.
pub(super) const ROUND_INTERVAL_MIN: Duration = Duration::from_millis(100);
