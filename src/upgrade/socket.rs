//! The socket over which the listening sockets change hands. Only the user of this process, and root, can write into
//! its directory, and both processes are that user's.
//!
//! Must not know: what is handed over.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::failure::Failure;

/// How long it is waited for a new process that is to take the sockets.
const SUCCESSOR_WAIT_MAX: Duration = Duration::from_secs(5);

/// How often it is checked whether the socket is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

const ROOT: u32 = 0;

/// Whether the sockets can change hands at this place.
///
/// Pingora's helper lets every user connect to its socket, and removes what is there: so the directory must keep others
/// out, no other user may put another one in its place, and only a socket may be there.
///
/// # Errors
/// The place cannot be used.
pub fn inspect(socket: &Path) -> Result<(), Failure> {
    let bad = |reason: String| Failure::Place { socket: socket.to_owned(), reason };
    let folder = match socket.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Err(bad("is no path of a socket".to_owned())),
    };
    let unusable = |error: io::Error| bad(format!("its directory cannot be used: {error}"));
    let about = fs::metadata(folder).map_err(unusable)?;
    let mode = about.permissions().mode() & 0o777;
    if !about.is_dir() {
        return Err(bad("its directory is not a directory".to_owned()));
    }
    if mode & 0o077 != 0 {
        return Err(bad(format!(
            "its directory is open to others (mode {mode:03o}); only the user that runs \
                                pollcast may enter it: chmod 700"
        )));
    }
    let user = own_user()?;
    if about.uid() != user {
        let owner = about.uid();
        return Err(bad(format!(
            "its directory belongs to user {owner}, and this process to user {user}: chown"
        )));
    }
    let folder = fs::canonicalize(folder).map_err(unusable)?;
    for above in folder.ancestors().skip(1) {
        let about = fs::metadata(above).map_err(unusable)?;
        if let Some(reason) = lets_others_in(&about, user) {
            return Err(bad(format!(
                "{}, above it, {reason}: they could put another in its place",
                above.display()
            )));
        }
    }
    match fs::symlink_metadata(socket) {
        Ok(about) if !about.file_type().is_socket() => {
            Err(bad("is there already, and is no socket".to_owned()))
        }
        Ok(about) if about.uid() != user => {
            Err(bad(format!("is there already, and is user {}'s", about.uid())))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// Returns how another user could replace what is in a directory, or `None` if no other can. Where its sticky bit is set,
/// as that of `/tmp`, a name belongs to the user that made it.
fn lets_others_in(about: &Metadata, user: u32) -> Option<String> {
    let (owner, mode) = (about.uid(), about.permissions().mode());
    if owner != user && owner != ROOT {
        return Some(format!("belongs to user {owner}"));
    }
    let is_open = mode & 0o022 != 0 && mode & 0o1000 == 0;
    is_open.then(|| format!("can be written by others (mode {:03o})", mode & 0o777))
}

/// Waits until a process of this user accepts connections at this place, and returns one to it.
///
/// # Errors
/// None came, or it is another user's: nothing may be handed to it.
#[expect(
    clippy::disallowed_methods,
    reason = "runs on a thread for calls that block; a path has no event to wait for"
)]
pub(super) fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    let until = Instant::now() + SUCCESSOR_WAIT_MAX;
    loop {
        match UnixStream::connect(socket) {
            Ok(successor) => {
                is_own(&successor, socket)?;
                return Ok(successor);
            }
            Err(error) if Instant::now() >= until => {
                return Err(Failure::NoSuccessor { socket: socket.to_owned(), error });
            }
            Err(_) => std::thread::sleep(LOOK_INTERVAL),
        }
    }
}

/// Holds the user of the process at the other end of a connection against this process's.
///
/// # Errors
/// It is another one.
pub(super) fn is_own(peer: &UnixStream, socket: &Path) -> Result<(), Failure> {
    let (peer, user) = (user_of(peer)?, own_user()?);
    if peer == user {
        return Ok(());
    }
    let reason = format!("the process at the other end is user {peer}'s, and this one user {user}'s");
    Err(Failure::Place { socket: socket.to_owned(), reason })
}

/// Returns the user that made the other end of a connection (SO_PEERCRED), or listens there.
fn user_of(peer: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(peer, PeerCredentials)?.uid())
}

/// Returns the effective user of this process, which made both ends of a pair.
fn own_user() -> io::Result<u32> {
    user_of(&UnixStream::pair()?.0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt, chown};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let path = std::env::temp_dir().join(format!("pollcast-place-{:016x}", fastrand::u64(..)));
            fs::DirBuilder::new().mode(0o700).create(&path).expect("a directory for the test");
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn told(socket: &Path) -> String {
        inspect(socket).err().map(|failure| failure.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_place_must_be_closed_to_others_and_hold_nothing_else() {
        let folder = Folder::new();
        let socket = folder.0.join("sock");
        assert_eq!(told(&socket), "");
        fs::write(&socket, "precious").expect("a file");
        assert!(told(&socket).contains("no socket") && told(&socket).contains("sock"));
        fs::remove_file(&socket).expect("removed");
        drop(UnixListener::bind(&socket).expect("a socket that was left"));
        assert_eq!(told(&socket), "");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o711)).expect("a mode");
        assert!(told(&socket).contains("mode 711"));
        assert!(inspect(&folder.0.join("missing/sock")).is_err());
    }

    #[test]
    fn no_other_user_can_put_another_directory_in_its_place() {
        let folder = Folder::new();
        let own = folder.0.join("own");
        fs::DirBuilder::new().mode(0o700).create(&own).expect("a directory");
        for (mode, fits) in [(0o755, true), (0o1777, true), (0o775, false), (0o757, false), (0o777, false)] {
            fs::set_permissions(&folder.0, fs::Permissions::from_mode(mode)).expect("a mode");
            let told = told(&own.join("sock"));
            assert_eq!(told.is_empty(), fits, "{mode:o}: {told}");
            assert!(fits || told.contains("above it, can be written by others"), "{told}");
        }
        // The target of a link counts, not the place of the link.
        let (open, link) = (folder.0.clone(), Folder::new());
        std::os::unix::fs::symlink(&own, link.0.join("to")).expect("a link");
        assert!(told(&link.0.join("to/sock")).contains(&open.display().to_string()));
    }

    #[test]
    fn another_users_directory_is_refused_wherever_it_stands() {
        // Only root can give a directory away.
        if own_user().expect("a user") != ROOT {
            return;
        }
        const NOBODY: u32 = 65534;
        let folder = Folder::new();
        let own = folder.0.join("own");
        fs::DirBuilder::new().mode(0o700).create(&own).expect("a directory");
        chown(&own, Some(NOBODY), None).expect("given away");
        assert!(told(&own.join("sock")).contains("its directory belongs to user 65534"));
        chown(&own, Some(ROOT), None).expect("taken back");
        assert_eq!(told(&own.join("sock")), "");
        chown(&folder.0, Some(NOBODY), None).expect("given away");
        assert!(told(&own.join("sock")).contains("above it, belongs to user 65534"));
        chown(&folder.0, Some(ROOT), None).expect("taken back");
        drop(UnixListener::bind(own.join("sock")).expect("a socket"));
        chown(own.join("sock"), Some(NOBODY), None).expect("given away");
        assert!(told(&own.join("sock")).contains("is user 65534's"));
    }

    #[test]
    fn a_process_of_this_user_is_its_own() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert!(is_own(&one, Path::new("sock")).is_ok());
        let about = fs::metadata("/proc/self").expect("this process");
        assert_eq!(own_user().expect("a user"), about.uid());
    }
}
