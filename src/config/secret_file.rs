//! A secret of the operator's that stands in a file of its own, so that another program can replace it (`header_file`,
//! `${file:…}`).
//!
//! Owns how such a file is read. Must not know: when it is read again, what it is sent to.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use http::HeaderValue;

/// Longest file, bytes.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// The value of a header field in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    pub path: PathBuf,
    /// What stands before it in the field: `Bearer `, or nothing.
    pub before: &'static str,
    /// What it was when the configuration was read. Sensitive.
    pub first: HeaderValue,
}

impl SecretFile {
    /// # Errors
    /// Why it holds no value of a field; nothing of the file is in it.
    pub fn load(path: &Path, before: &'static str) -> Result<SecretFile, String> {
        Ok(SecretFile { path: path.to_owned(), before, first: read(path, before)? })
    }

    /// Its value now. Sensitive.
    ///
    /// # Errors
    /// As [`SecretFile::load`].
    pub fn read(&self) -> Result<HeaderValue, String> {
        read(&self.path, self.before)
    }
}

fn read(path: &Path, before: &str) -> Result<HeaderValue, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err("is no file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(unread)?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(format!("is longer than {} KiB", SECRET_BYTES_MAX / 1024));
    }
    // Most editors and programs end a file with a line's end.
    let text = std::str::from_utf8(&bytes).unwrap_or("\0").trim_end_matches(['\r', '\n']);
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    let value = HeaderValue::try_from(format!("{before}{}", text.trim())).ok();
    let Some(mut value) = value.filter(|value| value.to_str().is_ok()) else {
        return Err("holds no value of a header: it must be visible ASCII text on one line".to_owned());
    };
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_line_that_a_header_can_have() {
        let path = std::env::temp_dir().join(format!("pollcast-secret-{:016x}", fastrand::u64(..)));
        let long = vec![b'a'; SECRET_BYTES_MAX + 1];
        for (bytes, wanted) in [
            (&b"abc\n"[..], Ok("Bearer abc")),
            (b"abc\r\n", Ok("Bearer abc")),
            (b" abc", Ok("Bearer abc")),
            (b"", Err("is empty")),
            (b"\n", Err("is empty")),
            (b"a\nb\n", Err("holds no value of a header")),
            (b"a\0", Err("holds no value of a header")),
            ("gr\u{fc}n".as_bytes(), Err("holds no value of a header")),
            (b"\xff", Err("holds no value of a header")),
            (&long, Err("is longer than 16 KiB")),
        ] {
            std::fs::write(&path, bytes).unwrap();
            match (SecretFile::load(&path, "Bearer "), wanted) {
                (Ok(file), Ok(wanted)) => {
                    assert_eq!(file.first.to_str().unwrap(), wanted);
                    assert!(file.first.is_sensitive());
                }
                (Err(found), Err(wanted)) => assert!(found.starts_with(wanted), "{found}"),
                (found, wanted) => panic!("{found:?}, not {wanted:?}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(SecretFile::load(&path, "").unwrap_err().starts_with("cannot be read"));
        assert_eq!(SecretFile::load(&std::env::temp_dir(), "").unwrap_err(), "is no file");
    }
}
