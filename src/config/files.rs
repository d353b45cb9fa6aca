//! The files that a configuration was read from: their texts, what patterns find, and whether any of it is another by
//! now.
//!
//! Must not know: YAML, any key.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest file, bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The files of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The files, in the order in which they were read, the first one first; none if it was a text.
    pub files: Vec<PathBuf>,
    /// The patterns that named files: their directories, and their last parts.
    pub patterns: Vec<(PathBuf, String)>,
}

impl Files {
    /// A digest of what the files hold now and of the names that the patterns find now: with another one it is worth
    /// to read the configuration again. It reads all files. What cannot be read counts as such.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("pollcast 2026 configuration files");
        let mut part = |kind: &[u8], bytes: &[u8]| {
            hasher.update(kind);
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for path in &self.files {
            match bytes(path) {
                Ok(bytes) => part(b"file", &bytes),
                Err(reason) => part(b"none", reason.as_bytes()),
            }
        }
        for (directory, pattern) in &self.patterns {
            let names = matching(directory, pattern, usize::MAX).unwrap_or_default();
            part(b"names", names.join("/").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// The path without links, or as it is if it cannot be resolved.
pub fn resolved(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The text of the first file, which may be a pipe. The error says what is wrong with it: `cannot be read: …`.
pub fn first_text(path: &Path) -> Result<String, String> {
    utf8(read(path)?)
}

/// As [`first_text`], of another file, which is no pipe.
pub fn text(path: &Path) -> Result<String, String> {
    utf8(bytes(path)?)
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("is not UTF-8 text, first on line {line}")
    })
}

fn unread(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err("is no file".to_owned());
    }
    read(path)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(unread)?;
    opened.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err("is longer than 1MiB".to_owned());
    }
    Ok(bytes)
}

/// Whether a text holds `*` or `?`.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The names in a directory that a pattern fits, sorted. Hidden ones need the dot. The error says what is wrong.
pub fn matching(directory: &Path, pattern: &str, names_max: usize) -> Result<Vec<String>, String> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = std::fs::read_dir(here).map_err(unread)?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_hidden = |name: &str| name.starts_with('.') && !pattern.starts_with('.');
    let mut names: Vec<String> = names
        .filter(|name| !is_hidden(name) && fits(pattern.as_bytes(), name.as_bytes()))
        .take(names_max)
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Whether `*` (any text) and `?` (one byte) make the pattern into the name. Its steps are at most the product of both
/// lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut here, mut star) = (0, 0, None);
    while here < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[here] => (at, here) = (at + 1, here + 1),
            _ => match star {
                // The last star takes one byte more.
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, here) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_shells_have_them() {
        for (pattern, name, wanted) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", ".yaml", true),
            ("*.yaml", "a.yml", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*ab", "aab", true),
            ("*", "", true),
            ("a", "ab", false),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
    }
}
