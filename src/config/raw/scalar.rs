//! The kinds of plain values: all of them text until `validate` reads them, so that no value stops the run.
//!
//! The kind decides what an editor is told and which reader of `validate` accepts it.
//! Must not know: bounds, defaults.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

macro_rules! leaf {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        #[derive(Deserialize, Clone)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

leaf!(
    /// Any text. A number or `true` will do where the words happen to look like that.
    Text, { "type": ["string", "number", "boolean"] }
);
leaf!(
    /// Any text, or `${file:/path}`: the text of a file, read again when it changes.
    FileText, { "type": ["string", "number", "boolean"], "format": "file-text" }
);
leaf!(
    /// Any text, or `${file:/path}`: the text of a file, read at the start.
    SecretText, { "type": ["string", "number", "boolean"], "format": "secret-text" }
);
leaf!(
    /// `true` or `false`.
    Flag, { "type": ["boolean", "string"] }
);
leaf!(
    /// A whole number, or `off` or `auto` where the key allows it.
    Count, { "type": ["integer", "string"] }
);
leaf!(
    /// A number.
    Number, { "type": ["number", "string"] }
);
leaf!(
    /// A length of time with its unit: `500ms`, `2s`, `1m 30s`; or `off` where the key allows it.
    Time, { "type": "string" }
);
leaf!(
    /// Bytes with a unit: `64KiB`, `1MiB`, `512B`.
    Size, { "type": ["string", "integer"] }
);
leaf!(
    /// So many a second: `10/s`; or `off` where the key allows it.
    Rate, { "type": "string" }
);

/// A list whose unreadable items (already told) are left out but keep their number.
pub type List<T> = Vec<Option<T>>;
