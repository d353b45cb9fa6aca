//! A configuration file, or two of which the first may include the other: loads or is refused with words, and never
//! panics.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, other) = text.split_once("\n# included.yaml\n").unwrap_or((text, ""));
    let folder = std::env::temp_dir().join(format!("pollcast-fuzz-{}", std::process::id()));
    let base = match other.is_empty() {
        true => Path::new("/nonexistent"),
        false => {
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join("included.yaml"), other).expect("a file");
            folder.as_path()
        }
    };
    if let Err(problems) = pollcast::config::load_str(text, "fuzz.yaml", base) {
        assert!(!problems.to_string().is_empty());
    }
});
