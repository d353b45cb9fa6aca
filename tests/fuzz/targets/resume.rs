//! What a client comes back with: event ids of one resource and of many, entity tags, preferences.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pollcast::resource::{IfNoneMatch, version_of_tag};
use pollcast::transport::{prefer, tags};

fuzz_target!(|data: &[u8]| {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    if let Some(condition) = IfNoneMatch::parse(lines.iter().copied())
        && let Some(version) = condition.first()
    {
        assert!(condition.matches(version));
    }
    let _ = prefer::wait(lines.iter().copied());
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(version) = version_of_tag(text) {
        assert_eq!(version_of_tag(&version.to_string()), Some(version), "one name, one spelling");
    }
    let _ = (prefer::seconds(text), prefer::switch(text));
    for resources in [0, 1, 2, 200] {
        if let Some(tags) = tags(text, resources) {
            assert_eq!(tags.len(), resources);
        }
    }
});
