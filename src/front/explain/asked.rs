//! The question of an operator: what becomes of this request?
//!
//! Must not know: the answer.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method};
use percent_encoding::NON_ALPHANUMERIC;

/// A request that an operator asks about.
#[derive(Debug, Clone)]
pub struct Asked {
    /// A path with its query, or an absolute URL.
    pub url: String,
    /// The method.
    pub method: Method,
    /// The fields, besides Host.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The address of the client. `None` if limits by address are not to count.
    pub client: Option<IpAddr>,
}

impl Asked {
    /// Returns the call of the admin listener that asks this.
    #[must_use]
    pub fn call(&self, as_json: bool) -> String {
        let escaped = |text: &[u8]| percent_encoding::percent_encode(text, NON_ALPHANUMERIC).to_string();
        let format = if as_json { "json" } else { "text" };
        let method = escaped(self.method.as_str().as_bytes());
        let mut call =
            format!("/-/explain?format={format}&url={}&method={method}", escaped(self.url.as_bytes()));
        for (name, value) in &self.headers {
            let line = [name.as_str().as_bytes(), b": ", value.as_bytes()].concat();
            call.push_str(&format!("&header={}", escaped(&line)));
        }
        call.extend(self.client.map(|client| format!("&client={}", escaped(client.to_string().as_bytes()))));
        call
    }
}
