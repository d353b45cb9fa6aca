//! What becomes of a request and why, for operators who ask (`/-/explain`, `pollcast explain`): the request is decided
//! about as one of a client is, by the same code, and nothing is done, counted or remembered.
//!
//! `asked` is the question, `head` makes the request of it, `other_routes` finds the routes that nearly cover it, `outcome` says what it gets, `poll` how its
//! resource is polled; `text` and `json` write it down. Must not know: what is decided.

mod asked;
mod head;
mod json;
mod other_routes;
mod outcome;
mod poll;
mod text;

use std::sync::{Arc, OnceLock};

use http::Method;

use super::application::Front;
use super::context::Context;
use super::services::Shared;
use super::trace::{Step, Trace};
use crate::metrics::Metrics;
pub use asked::Asked;
use other_routes::Near;
use outcome::Outcome;
use poll::{Polled, Scheduled};

/// What becomes of a request, and why.
#[derive(Debug)]
pub struct Explanation {
    method: Method,
    /// Path and query, without what looks like a credential.
    target: String,
    host: String,
    /// The address of the listener that it is explained for.
    listener: String,
    /// The path of the route that covers it. `None` if none does.
    route: Option<String>,
    near: Vec<Near>,
    steps: Vec<Step>,
    outcome: Outcome,
    poll: Option<Polled>,
    schedule: Option<Scheduled>,
}

/// Says what becomes of a request, as far as that is known without asking anything of the API or another server.
///
/// # Errors
/// What is asked is no request.
pub async fn explain(shared: &Arc<Shared>, asked: &Asked) -> Result<Explanation, String> {
    let head = head::Head::of(shared, asked)?;
    let trace = Arc::new(Trace::default());
    let metrics = metrics_apart()?;
    let shared = Arc::new(shared.explaining(trace.clone(), metrics));
    let listener = shared.config.listeners[head.listener].clone();
    let address = listener.address.to_string();
    let home = Arc::new(OnceLock::new());
    let front = Front { shared: shared.clone(), listener, place: head.listener, home };
    let front = Arc::new(front);
    let mut ctx = Context::new(front.clone());
    let outcome = match head.read(&front.listener, asked.client).await {
        Ok(mut unsent) => {
            // As large as the futures of requests are.
            let decided = Box::pin(front.decide(unsent.connection(), &mut ctx)).await;
            outcome::of(decided, &ctx, &unsent.connection().head().headers)
        }
        Err(detail) => Outcome::unreadable(detail),
    };
    let covering = ctx.route.clone();
    let (poll, schedule) = poll::of(&shared, covering.as_ref(), trace.key().as_ref(), &outcome);
    Ok(Explanation {
        near: other_routes::of(&shared, head.routed_host(&front.listener), &head.path, covering.as_deref()),
        method: asked.method.clone(),
        target: head.shown(covering.as_deref()),
        host: head.host,
        listener: address,
        route: covering.map(|route| route.path.clone()),
        steps: trace.steps(),
        outcome,
        poll,
        schedule,
    })
}

/// The metrics of all explanations, which no operator sees: what a decision counts has to go somewhere.
fn metrics_apart() -> Result<Metrics, String> {
    static APART: OnceLock<Metrics> = OnceLock::new();
    if let Some(metrics) = APART.get() {
        return Ok(metrics.clone());
    }
    let made = Metrics::new().map_err(|error| error.to_string())?;
    Ok(APART.get_or_init(|| made).clone())
}
