//! Which builds of pollcast a bench measures: those that are as what is shipped.
//!
//! Must not know: what is measured.

use std::path::Path;

/// Profiles whose programs are slower than what is shipped (`Cargo.toml`).
const SLOW_PROFILES: &[&str] = &["debug", "demo"];

/// Checks that a program was built as what is shipped.
///
/// # Errors
/// It lies in the folder of a profile that builds slower programs. Says which.
pub fn check(program: &Path) -> Result<(), String> {
    let folder = program.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    match SLOW_PROFILES.contains(&&*folder) {
        true => Err(format!(
            "{} is a build of profile {folder}, which measures nothing: cargo build --release",
            program.display()
        )),
        false => Ok(()),
    }
}
