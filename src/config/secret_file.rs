//! A secret of the operator's that stands in a file of its own, so that another program can replace it (`header_file`,
//! `password_file`, `${file:…}`).
//!
//! Owns how such a file is read. Must not know: when it is read again, what it is sent to.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// Longest file, bytes.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// What the text of a file is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretForm {
    /// The whole value of a header field.
    Field,
    /// A token, which is sent behind `Bearer`.
    Bearer,
    /// The password of this user, for HTTP's basic authentication (RFC 7617).
    Basic {
        /// Name of the user, which has no `:`.
        user: String,
    },
    /// A password of which something else is made.
    Password,
}

/// A secret in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The file, absolute or relative to where the process started.
    pub path: PathBuf,
    /// What the text of the file is.
    pub form: SecretForm,
    /// The secret when the configuration was read: the value of a field, or the bytes of a password. It is marked as
    /// sensitive.
    pub first: HeaderValue,
}

impl SecretFile {
    /// # Errors
    /// Why it holds no such secret; nothing of the file is in it.
    pub fn load(path: &Path, form: SecretForm) -> Result<SecretFile, String> {
        let first = read(path, &form)?;
        Ok(SecretFile { path: path.to_owned(), form, first })
    }

    /// Its value now. Sensitive.
    ///
    /// # Errors
    /// As [`SecretFile::load`].
    pub fn read(&self) -> Result<HeaderValue, String> {
        read(&self.path, &self.form)
    }

    /// The text of a password that was read.
    pub fn password(value: &HeaderValue) -> Cow<'_, str> {
        String::from_utf8_lossy(value.as_bytes())
    }
}

fn read(path: &Path, form: &SecretForm) -> Result<HeaderValue, String> {
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
    let mut value = value(text, form)?;
    value.set_sensitive(true);
    Ok(value)
}

fn value(text: &str, form: &SecretForm) -> Result<HeaderValue, String> {
    let field = |text: String| {
        let value = HeaderValue::try_from(text).ok().filter(|value| value.to_str().is_ok());
        value.ok_or("holds no value of a header: it must be visible ASCII text on one line".to_owned())
    };
    // A space may be a part of a password, but not of a field.
    let password = || {
        let is_password = !text.chars().any(char::is_control);
        is_password.then_some(text).ok_or("holds no password: it must be text on one line".to_owned())
    };
    match form {
        SecretForm::Field => field(text.trim().to_owned()),
        SecretForm::Bearer => field(format!("Bearer {}", text.trim())),
        SecretForm::Basic { user } => {
            field(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password()?))))
        }
        SecretForm::Password => HeaderValue::try_from(password()?).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_line_of_what_it_is_for() {
        let path = std::env::temp_dir().join(format!("pollcast-secret-{:016x}", fastrand::u64(..)));
        let long = vec![b'a'; SECRET_BYTES_MAX + 1];
        let (bearer, basic) = (SecretForm::Bearer, SecretForm::Basic { user: "ann".to_owned() });
        for (form, bytes, wanted) in [
            (&bearer, &b"abc\n"[..], Ok("Bearer abc")),
            (&bearer, b"abc\r\n", Ok("Bearer abc")),
            (&bearer, b" abc", Ok("Bearer abc")),
            (&SecretForm::Field, b"Custom abc \n", Ok("Custom abc")),
            (&basic, b"word\n", Ok("Basic YW5uOndvcmQ=")),
            (&basic, b"wo:rd ", Ok("Basic YW5uOndvOnJkIA==")),
            (&basic, "gr\u{fc}n\n".as_bytes(), Ok("Basic YW5uOmdyw7xu")),
            (&SecretForm::Password, b" word\r\n", Ok(" word")),
            (&SecretForm::Password, "gr\u{fc}n".as_bytes(), Ok("gr\u{fc}n")),
            (&bearer, b"", Err("is empty")),
            (&bearer, b"\n", Err("is empty")),
            (&bearer, b"a\nb\n", Err("holds no value of a header")),
            (&bearer, b"a\0", Err("holds no value of a header")),
            (&bearer, "gr\u{fc}n".as_bytes(), Err("holds no value of a header")),
            (&bearer, b"\xff", Err("holds no value of a header")),
            (&bearer, &long, Err("is longer than 16 KiB")),
            (&basic, b"a\nb\n", Err("holds no password")),
            (&SecretForm::Password, b"a\0", Err("holds no password")),
            (&SecretForm::Password, b"\xff", Err("holds no password")),
            (&SecretForm::Password, b"\r\n", Err("is empty")),
        ] {
            std::fs::write(&path, bytes).unwrap();
            match (SecretFile::load(&path, form.clone()), wanted) {
                (Ok(file), Ok(wanted)) => {
                    assert_eq!(SecretFile::password(&file.first), wanted);
                    assert!(file.first.is_sensitive());
                }
                (Err(found), Err(wanted)) => assert!(found.starts_with(wanted), "{found}"),
                (found, wanted) => panic!("{found:?}, not {wanted:?}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(SecretFile::load(&path, SecretForm::Field).unwrap_err().starts_with("cannot be read"));
        assert_eq!(SecretFile::load(&std::env::temp_dir(), SecretForm::Field).unwrap_err(), "is no file");
    }
}
