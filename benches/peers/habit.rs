//! How clients poll at intervals: what they ask for, how often, and what is in their requests.
//! Must not know: sockets, servers.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habit {
    pub every: Duration,
    /// Bytes of the resource.
    pub size: usize,
    /// With the ETag of the last answer.
    pub is_conditional: bool,
    /// With a `traceparent` that is another one each time.
    pub is_traced: bool,
}

impl Habit {
    /// As an argument of a command.
    pub fn words(self) -> String {
        let (every, size) = (self.every.as_millis(), self.size);
        format!("{every} {size} {} {}", self.is_conditional, self.is_traced)
    }

    pub fn parse(words: &str) -> Result<Self, String> {
        let failed = || format!("no habit: {words:?}");
        let [every, size, is_conditional, is_traced] = words.split(' ').collect::<Vec<_>>()[..] else {
            return Err(failed());
        };
        Ok(Self {
            every: Duration::from_millis(every.parse().map_err(|_| failed())?),
            size: size.parse().map_err(|_| failed())?,
            is_conditional: is_conditional.parse().map_err(|_| failed())?,
            is_traced: is_traced.parse().map_err(|_| failed())?,
        })
    }

    pub fn path(self) -> String {
        format!("/r/{}", self.size)
    }

    /// For the table.
    pub fn title(self) -> String {
        let size =
            if self.size < 1024 { format!("{} B", self.size) } else { format!("{} KB", self.size / 1024) };
        let condition = if self.is_conditional { ", If-None-Match" } else { "" };
        let trace = if self.is_traced { ", traceparent" } else { "" };
        format!("every {} s, {size}{condition}{trace}", self.every.as_secs())
    }
}
