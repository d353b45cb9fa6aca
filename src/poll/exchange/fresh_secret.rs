//! A poll that was refused, made once more with a secret that was replaced meanwhile.
//!
//! Must not know: where secrets stand.

use http::StatusCode;

use super::super::source::Source;
use super::secret::files;
use super::{Allowance, Exchange};
use crate::upstream::{Answer, Ask, FetchError};

impl Exchange {
    /// Gives a request the values of files as they are now. Returns whether one is another than before.
    pub(super) async fn freshen(&self, ask: &mut Ask, at_once: bool) -> bool {
        let mut is_new = false;
        for (name, file) in files(&self.route) {
            let Some(watched) = self.services.settings().secrets.of(file) else { continue };
            let value = watched.value(at_once).await;
            for field in ask.headers.iter_mut().filter(|field| field.0 == *name && field.1 != value) {
                field.1 = value.clone();
                is_new = true;
            }
        }
        is_new
    }

    /// The answer to a request, or to it once more where it was refused and a file holds another value meanwhile.
    pub(super) async fn unless_rotated(
        &self,
        source: &dyn Source,
        ask: &mut Ask,
        allowance: &mut Allowance,
        answer: Answer,
    ) -> Result<Answer, FetchError> {
        if answer.status != StatusCode::UNAUTHORIZED || !self.freshen(ask, true).await {
            return Ok(answer);
        }
        let _turn = source.turn(self.priority).await?;
        self.timed(source, ask, allowance).await
    }
}
