//! The views of a topic with news in them, for followers that live in a task.
//!
//! Must not know: the followers.

use std::sync::Arc;

use tokio::sync::watch;

use super::topic::Topic;
use super::view::View;

/// Tells a follower that lives in a task of every view in which there may be news for it; polls that find
/// nothing wake no follower.
pub struct Views {
    pub(super) topic: Arc<Topic>,
    pub(super) news: watch::Receiver<()>,
}

impl Topic {
    /// Returns the views with news in them, for a follower that lives in a task.
    pub fn views(self: &Arc<Self>) -> Views {
        Views { topic: self.clone(), news: self.news.subscribe() }
    }
}

impl Views {
    /// Returns the current view. What comes from now on is a change.
    pub fn borrow_and_update(&mut self) -> Arc<View> {
        self.news.borrow_and_update();
        self.topic.view()
    }

    /// Waits for news.
    pub async fn changed(&mut self) {
        // The sender lives in the topic, which lives here.
        let _ = self.news.changed().await;
    }
}
