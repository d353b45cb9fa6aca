//! Loads a [`Config`] from a file or its text, through all stages.
//!
//! The only place of the configuration that asks the process for its environment.
//! Must not know: any key.

use std::fs::File;
use std::io::Read;
use std::path::{Path, absolute};

use super::environment::Lookup;
use super::problem::{Findings, Place};
use super::{Config, Problem, Problems, schema_check, validate, yaml};

/// Longest configuration file, bytes.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Reads, checks and validates a configuration file. Relative paths in it are relative to its directory.
///
/// # Errors
/// Everything that is wrong with the file, or why it cannot be read.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let name = path.display().to_string();
    let refuse = |message: String| {
        Problems(vec![Problem { file: name.clone(), line: 0, place: String::new(), message }])
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        refuse(format!("not UTF-8 text, first on line {line}"))
    })?;
    load_str(&text, &name, path.parent().unwrap_or(Path::new("")))
}

/// As [`load`], from text. `file_name` is what problems call it; relative paths in it are relative to `base_dir`.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn load_str(text: &str, file_name: &str, base_dir: &Path) -> Result<Config, Problems> {
    load_with(text, file_name, base_dir, &|name| std::env::var(name).ok())
}

/// As [`load_str`], with an environment of the caller's choice.
pub(super) fn load_with(
    text: &str,
    file_name: &str,
    base_dir: &Path,
    lookup: Lookup<'_>,
) -> Result<Config, Problems> {
    let mut findings = Findings::new(file_name);
    let config = read(text, base_dir, lookup, &mut findings);
    let (problems, warnings) = findings.into_parts();
    match config {
        Some(config) if problems.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Problems(problems)),
    }
}

fn read(text: &str, base_dir: &Path, lookup: Lookup<'_>, findings: &mut Findings) -> Option<Config> {
    if text.len() > FILE_BYTES_MAX {
        findings.problem(&Place::root(), "longer than 1MiB");
        return None;
    }
    let tree = match yaml::parse(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        Ok(tree) => tree,
        Err(error) => {
            findings.problem_on(error.line, &Place::root(), error.message);
            return None;
        }
    };
    let base_dir = absolute(base_dir).or_else(|_| absolute(".")).unwrap_or_else(|_| base_dir.to_owned());
    let file = schema_check::typed(&tree, &base_dir, lookup, findings)?;
    Some(validate::config(&file, &base_dir, findings))
}
