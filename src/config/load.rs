//! Loads a [`Config`] from a file or its text, through all stages.
//!
//! The only place of the configuration that asks the process for its environment.
//! Must not know: any key.

use std::path::{Path, absolute};

use super::environment::Lookup;
use super::files::{self, FILE_BYTES_MAX};
use super::include::{Join, Source};
use super::problem::{Findings, Place};
use super::{Config, Problem, Problems, schema_check, validate};

/// Reads, checks and validates a configuration file and what it includes. Relative paths in all of them are relative to
/// its directory; those of `include` to the directory of the file that says it.
///
/// # Errors
/// Everything that is wrong with the files, or why they cannot be read.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let name = path.display().to_string();
    let text = files::first_text(path).map_err(|message| {
        Problems(vec![Problem { file: name.clone(), line: 0, place: String::new(), message }])
    })?;
    let origin = Origin { name: &name, path: Some(path), base_dir: directory(path) };
    load_from(&text, &origin, &|name| std::env::var(name).ok())
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
    load_from(text, &Origin { name: file_name, path: None, base_dir }, lookup)
}

/// Where a text comes from.
struct Origin<'a> {
    /// What messages call it.
    name: &'a str,
    /// The file that it is the text of, if it is one.
    path: Option<&'a Path>,
    /// What relative paths in it are relative to.
    base_dir: &'a Path,
}

fn load_from(text: &str, origin: &Origin<'_>, lookup: Lookup<'_>) -> Result<Config, Problems> {
    let mut findings = Findings::new(origin.name);
    let config = read(text, origin, lookup, &mut findings);
    let (problems, warnings) = findings.into_parts();
    match config {
        Some(config) if problems.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Problems(problems)),
    }
}

fn read(text: &str, origin: &Origin<'_>, lookup: Lookup<'_>, findings: &mut Findings) -> Option<Config> {
    if text.len() > FILE_BYTES_MAX {
        findings.problem(&Place::root(), "longer than 1MiB");
        return None;
    }
    let base_dir = origin.base_dir;
    let mut join = Join::new(lookup, findings);
    let source = Source { file: 0, text, shown: directory(Path::new(origin.name)), directory: base_dir };
    let tree = join.tree(origin.path, &source)?;
    let files = join.files();
    let base_dir = absolute(base_dir).or_else(|_| absolute(".")).unwrap_or_else(|_| base_dir.to_owned());
    let file = schema_check::typed(&tree, &base_dir, lookup, findings)?;
    Some(Config { files, ..validate::config(&file, &base_dir, findings) })
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
