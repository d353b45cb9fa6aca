//! The JSON Schema of the configuration file, made from the types in `raw`.
//!
//! It serves twice: editors check the file while it is typed, and `schema_check` walks it to find unknown keys.
//! Must not know: any key.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};

use super::raw;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    SchemaSettings::draft2020_12()
        // Without references the walk needs no resolver, and nothing here is recursive.
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(without_null))
        .with_transform(RecursiveTransform(closed))
        .into_generator()
        .into_root_schema_for::<raw::File>()
        .to_value()
});

/// The JSON Schema (draft 2020-12) of the configuration file, for editors.
#[must_use]
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// Returns the schema by reference, to walk it.
pub(super) fn root() -> &'static Value {
    &SCHEMA
}

/// An optional key is left out, not null: `null` only blurs what an editor offers.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            object.insert("type".to_owned(), kind);
        }
    }
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else {
        return;
    };
    branches.retain(|branch| branch.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = branches.as_mut_slice() {
        let only: Map<String, Value> = std::mem::take(only);
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

/// A mapping with named keys has no others.
fn closed(schema: &mut Schema) {
    if let Some(object) = schema.as_object_mut()
        && object.contains_key("properties")
    {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
        object.shift_remove("unevaluatedProperties");
    }
}
