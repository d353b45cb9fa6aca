//! The kinds of clients, by what they say.

use super::scene::Agent;

const BROWSER_ACCEPT: &str =
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

pub const AGENTS: &[Agent] = &[
    Agent { name: "curl", fields: &[("User-Agent", "curl/7.88.1"), ("Accept", "*/*")] },
    Agent {
        name: "app",
        fields: &[("User-Agent", "Shop/4.2"), ("Accept", "application/json"), ("Accept-Encoding", "gzip")],
    },
    Agent {
        name: "browser",
        fields: &[
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/131.0"),
            ("Accept", BROWSER_ACCEPT),
            ("Accept-Language", "en-GB,en;q=0.9"),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ("Upgrade-Insecure-Requests", "1"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "document"),
            ("Sec-CH-UA-Mobile", "?0"),
        ],
    },
    Agent {
        name: "script of a page elsewhere",
        fields: &[
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/131.0"),
            ("Accept", "*/*"),
            ("Accept-Language", "en-GB,en;q=0.9"),
            ("Accept-Encoding", "gzip, deflate, br"),
            ("Origin", "https://dash.example"),
            ("Referer", "https://dash.example/board"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Site", "cross-site"),
        ],
    },
    Agent {
        name: "phone",
        fields: &[
            ("User-Agent", "Mozilla/5.0 (Linux; Android 14) Mobile Safari/537.36"),
            ("Accept", BROWSER_ACCEPT),
            ("Accept-Language", "de-DE,de;q=0.9,en;q=0.5"),
            ("Accept-Encoding", "gzip, deflate, br"),
            ("Sec-CH-UA-Mobile", "?1"),
        ],
    },
    Agent { name: "reader of XML", fields: &[("Accept", "application/xml, */*;q=0.1")] },
    Agent { name: "reader of CSV", fields: &[("Accept", "text/csv")] },
    Agent { name: "page or JSON", fields: &[("Accept", "text/html;q=0.9, application/json;q=0.2")] },
    Agent {
        name: "OData",
        fields: &[("Accept", "application/json;odata=verbose"), ("OData-Version", "4.0")],
    },
    Agent {
        name: "jQuery",
        fields: &[
            ("Accept", "application/json, text/javascript, */*; q=0.01"),
            ("X-Requested-With", "XMLHttpRequest"),
            ("Accept-Encoding", "gzip"),
        ],
    },
    Agent { name: "device", fields: &[] },
    Agent {
        name: "client of an API",
        fields: &[("Accept", "application/json"), ("X-App-Version", "7"), ("Api-Version", "2")],
    },
];

/// More that a request may say.
pub const MORE: &[(&str, &str)] = &[
    ("Cache-Control", "no-cache"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "max-age=0"),
    ("Prefer", "return=minimal"),
    ("X-Device-Id", "d1"),
    ("Save-Data", "on"),
    ("Accept-Language", "de"),
    ("Api-Version", "2"),
    ("Node-RED-API-Version", "v2"),
    ("DNT", "1"),
    ("X-Request-Id", "7"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("Content-Type", "application/json"),
    ("Cookie", "theme=light"),
    ("Cookie", "_ga=GA1.2.3"),
    ("Cookie", "cart=17"),
    ("Range", "bytes=0-3"),
    ("Range", "items=0-3"),
    ("Upgrade", "h2c"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Http-Method-Override", "DELETE"),
    ("Depth", "1"),
    ("Accept-Charset", "utf-8"),
    ("Accept-Encoding", "identity"),
    ("Origin", "https://dash.example"),
    ("Expect", "100-continue"),
    ("TE", "trailers"),
    ("If-None-Match", "*"),
    ("X-Api-Key", "guest"),
];
