//! The suggestions of several URLs as one file: a `routes:` section, or a whole configuration with them in it.
//!
//! Must not know: where the suggestions come from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// The `routes:` section with these routes, each path once.
pub(super) fn section(items: &[&Item]) -> String {
    let mut text = String::from("routes:\n");
    for item in once(items) {
        text.push_str(&item.yaml);
    }
    text
}

fn once<'a>(items: &[&'a Item]) -> Vec<&'a Item> {
    let mut found: Vec<&Item> = Vec::new();
    for item in items {
        if found.iter().all(|known| known.path != item.path) {
            found.push(item);
        }
    }
    found
}

/// The text of a configuration with the new ones of these routes in it; those that it has already are left as they are
/// and stand there as comments.
///
/// # Errors
/// Its routes are not written one below the other, so that none can be added without writing them anew.
pub(super) fn merged(text: &str, items: &[&Item]) -> Result<String, String> {
    let items = once(items);
    let new = items.iter().filter(|item| item.is_new).map(|item| item.yaml.as_str()).collect::<String>();
    let known: Vec<&&Item> = items.iter().filter(|item| !item.is_new).collect();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if !new.is_empty() {
        match lines.iter().position(|line| line.starts_with("routes:")) {
            None => lines.extend(std::iter::once("routes:").chain(new.lines()).map(str::to_owned)),
            Some(at) => {
                let rest = lines[at]["routes:".len()..].split('#').next().unwrap_or_default().trim();
                let first = lines[at + 1..]
                    .iter()
                    .find(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
                let Some(indent) = first.and_then(|line| line.find("- ")).filter(|_| rest.is_empty()) else {
                    return Err(
                        "its routes are not written one below the other (`routes:`, then `- path: …`)"
                            .to_owned(),
                    );
                };
                // Items begin with two spaces as they are printed.
                let fitted = new.lines().map(|line| " ".repeat(indent) + line.get(2..).unwrap_or_default());
                let fitted: Vec<String> = fitted.collect();
                lines.splice(at + 1..at + 1, fitted);
            }
        }
    }
    for item in known {
        lines.push(format!("# What the probe suggests for {}, which has a route already:", item.path));
        lines.extend(item.yaml.lines().map(|line| format!("#{line}")));
    }
    Ok(lines.join("\n") + "\n")
}

/// Writes a new file that only its user can read, as configurations hold secrets.
///
/// # Errors
/// There is a file of that name, or it cannot be written.
pub(super) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// A route that is suggested.
#[derive(Debug)]
pub struct Item {
    pub(super) path: String,
    /// The file has no route of this path.
    pub(super) is_new: bool,
    /// As an item of `routes:`.
    pub(super) yaml: String,
}
