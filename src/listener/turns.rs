//! The turn of the runtime in which a request is begun.
//!
//! Must not know: what is asked.

/// Goes on in a turn of its own. Pingora takes an idle connection to the upstream out of the hands of the task that watches
/// it, and fails if another thread polls that task meanwhile: then the request opens a connection more. Tokio leaves that
/// task to this thread unless several tasks have woken each other just now, as the one that accepts a connection or a stream
/// has woken this one.
pub(super) async fn own_turn() {
    tokio::task::yield_now().await;
}
