//! The hand-over of the listening sockets from a running process to the one that takes its place.
//!
//! Pingora's helper sends the descriptors over a unix socket and takes no answer, so that the sender cannot know whether
//! they are served. So one end of a pair of sockets goes with them; on it the new process says that it accepts, and only
//! then the old one says that it leaves. Whatever fails before, the old one stays. `socket` says where this is safe.
//! Must not know: what is served on the sockets; signals.

mod failure;
mod socket;

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use pingora::server::Fds;

use crate::config::Upgrade;

pub use failure::Failure;
pub use socket::inspect;

/// The name of the line among the sockets, whose names begin with an address.
const LINE: &str = "line";

/// How long the new process may take to have room for one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// On the line, from the new process: it accepts connections.
const ACCEPTING: u8 = b'a';

/// On the line, from the old process: it accepts no more.
const LEAVING: u8 = b'l';

/// On the line, from the old process: it has waited long enough, and stays.
const STAYING: u8 = b's';

/// Listening sockets by the addresses of the configuration, in its order.
#[derive(Default)]
pub struct Sockets(Vec<(String, TcpListener)>);

impl Sockets {
    /// Keeps another descriptor of a socket. As long as it lives, the kernel takes connections for it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn keep(&mut self, address: SocketAddr, socket: &TcpListener) -> io::Result<()> {
        let socket = socket.try_clone()?;
        self.0.push((name(address, self.0.len()), socket));
        Ok(())
    }

    /// The socket of this address, if it is among them; with port 0, the first that is left.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = self.0.iter().position(|(name, _)| address_of(name) == Some(address))?;
        Some(self.0.remove(found).1)
    }

    /// The addresses of those that no process took.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|(name, _)| address_of(name))
    }
}

/// Addresses with port 0 may be there twice: the place makes the difference, and keeps the order.
fn name(address: SocketAddr, place: usize) -> String {
    format!("{place:02}={address}")
}

fn address_of(name: &str) -> Option<SocketAddr> {
    name.split_once('=')?.1.parse().ok()
}

/// Hands the sockets to a new process that waits for them, or comes within five seconds, and returns when it accepts
/// connections. Blocks for at most `timeout` beside that.
///
/// # Errors
/// No process took them, or the one that did ended or did not accept in time. This process goes on, the other does not.
pub fn hand_over(upgrade: &Upgrade, sockets: &Sockets) -> Result<(), Failure> {
    inspect(&upgrade.socket)?;
    let successor = socket::connect(&upgrade.socket)?;
    let (mut line, far_end) = UnixStream::pair()?;
    send(&successor, sockets, &far_end)
        .map_err(|error| Failure::NoSuccessor { socket: upgrade.socket.clone(), error })?;
    drop(successor);
    // The only one left is the new process's: the line breaks if that ends.
    drop(far_end);
    line.set_read_timeout(Some(upgrade.timeout))?;
    let mut word = [0];
    match line.read_exact(&mut word) {
        Ok(()) if word == [ACCEPTING] => line
            .write_all(&[LEAVING])
            .map_err(|_| Failure::Successor("ended as soon as it was ready".to_owned())),
        Ok(()) => Err(Failure::Successor("speaks another language".to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            // If it is gone meanwhile there is no process to tell.
            let _ = line.write_all(&[STAYING]);
            let waited = humantime::format_duration(upgrade.timeout);
            Err(Failure::Successor(format!("did not accept connections within {waited} (upgrade.timeout)")))
        }
        Err(_) => {
            Err(Failure::Successor("ended before it accepted connections; its log says why".to_owned()))
        }
    }
}

/// Sends the sockets and the end of the line as Pingora's helper reads them: one message with all descriptors, and
/// their names with spaces between. The helper's own sender would make its own connection, whose peer could not be
/// checked.
fn send(successor: &UnixStream, sockets: &Sockets, line: &UnixStream) -> io::Result<()> {
    let named = sockets.0.iter().map(|(name, socket)| (name.as_str(), socket.as_raw_fd()));
    let (names, fds): (Vec<_>, Vec<_>) = named.chain([(LINE, line.as_raw_fd())]).unzip();
    let names = names.join(" ");
    let (payload, rights) = ([IoSlice::new(names.as_bytes())], [ControlMessage::ScmRights(&fds)]);
    successor.set_write_timeout(Some(SEND_TIMEOUT))?;
    let sent = sendmsg::<()>(successor.as_raw_fd(), &payload, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    if sent < names.len() {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "the names of the sockets did not go in one message",
        ));
    }
    Ok(())
}

/// Waits for the sockets of a running process. Blocks for at most `upgrade.timeout`.
///
/// # Errors
/// No process handed anything over; the place cannot be used.
pub fn inherit(upgrade: &Upgrade) -> Result<(Sockets, Predecessor), Failure> {
    let until = Instant::now() + upgrade.timeout;
    let nobody = || Failure::NoPredecessor { socket: upgrade.socket.clone(), waited: upgrade.timeout };
    try_place(&upgrade.socket)?;
    while Instant::now() < until {
        let got = match wait(&upgrade.socket, until.saturating_duration_since(Instant::now())) {
            Ok(got) => got?,
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => {
                let reason = "the hand-over broke off; the log says why".to_owned();
                return Err(Failure::Place { socket: upgrade.socket.clone(), reason });
            }
        };
        // Pingora waits a few seconds at a time; and a process that only looked handed nothing over.
        if let Some((sockets, line)) = got {
            socket::is_own(&line, &upgrade.socket)?;
            return Ok((sockets, Predecessor { line, timeout: upgrade.timeout }));
        }
    }
    // Made by this process, which ends.
    remove_socket(&upgrade.socket);
    Err(nobody())
}

type Handed = Option<(Sockets, UnixStream)>;

/// One wait of Pingora's helper, on a thread of its own: a peer that connects and stays silent would hold it for ever.
fn wait(socket: &Path, longest: Duration) -> Result<Result<Handed, Failure>, RecvTimeoutError> {
    let (tell, told) = mpsc::sync_channel(1);
    let socket = socket.to_owned();
    std::thread::spawn(move || {
        let mut fds = Fds::new();
        let got = path(&socket).and_then(|path| match fds.get_from_sock(path).map_err(io::Error::from) {
            Ok(()) => received(&fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Failure::Place { socket: socket.clone(), reason: error.to_string() }),
        });
        // No receiver is left if it took too long; then the process ends.
        let _ = tell.send(got);
    });
    told.recv_timeout(longest)
}

/// Takes the ownership of what Pingora's helper received.
fn received(fds: &Fds) -> Result<Handed, Failure> {
    let (names, fds) = fds.serialize();
    // SAFETY: the kernel made these descriptors for this process when it received them; `Fds` is a table that closes
    // nothing, and it is dropped now: no other value owns them. Equal ones cannot be: each was made anew.
    let owned = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let mut named: Vec<(String, OwnedFd)> = names.into_iter().zip(owned).collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    let Some(place) = named.iter().position(|(name, _)| name == LINE) else {
        return Ok(None);
    };
    let line = UnixStream::from(named.remove(place).1);
    let sockets = named.into_iter().map(|(name, fd)| listening(name, TcpListener::from(fd)));
    Ok(Some((Sockets(sockets.collect::<Result<_, _>>()?), line)))
}

/// Holds a socket against its name.
fn listening(name: String, socket: TcpListener) -> Result<(String, TcpListener), Failure> {
    let wanted = address_of(&name);
    let fits = |found: SocketAddr| {
        wanted.is_some_and(|wanted| {
            found.ip() == wanted.ip() && (wanted.port() == 0 || wanted.port() == found.port())
        })
    };
    match socket.local_addr() {
        Ok(found) if fits(found) => Ok((name, socket)),
        Ok(found) => Err(Failure::NotASocket { name, reason: format!("is bound to {found}") }),
        Err(error) => Err(Failure::NotASocket { name, reason: format!("is no socket of TCP: {error}") }),
    }
}

/// Tries what Pingora's helper will do, as that would panic; and finds out whether another process does it now.
fn try_place(socket: &Path) -> Result<(), Failure> {
    inspect(socket)?;
    let bad = |reason: String| Failure::Place { socket: socket.to_owned(), reason };
    if UnixStream::connect(socket).is_ok() {
        return Err(bad("another process waits here already".to_owned()));
    }
    let beside = PathBuf::from(format!("{}.try", path(socket)?));
    remove_socket(&beside);
    UnixListener::bind(&beside).map_err(|error| bad(format!("no socket can be made beside it: {error}")))?;
    fs::remove_file(&beside).map_err(|error| bad(format!("{} cannot be removed: {error}", beside.display())))
}

/// Removes a socket that was left there, and nothing else.
fn remove_socket(socket: &Path) {
    if fs::symlink_metadata(socket).is_ok_and(|about| about.file_type().is_socket()) {
        // The caller that makes the next one is told what is wrong.
        let _ = fs::remove_file(socket);
    }
}

fn path(socket: &Path) -> Result<&str, Failure> {
    let bad = || Failure::Place { socket: socket.to_owned(), reason: "is not UTF-8".to_owned() };
    socket.to_str().ok_or_else(bad)
}

/// The process whose sockets these were. It serves, too, until it is relieved; dropped without that, it goes on.
pub struct Predecessor {
    line: UnixStream,
    timeout: Duration,
}

/// The state of the old process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relief {
    /// It accepts no more, and ends when its clients have left.
    Leaves,
    /// It did not answer: it is gone.
    Gone,
}

impl Predecessor {
    /// Tells it that this process accepts connections. Blocks until it answers.
    ///
    /// # Errors
    /// It did not wait, and goes on: this process is one too many.
    pub fn relieve(mut self) -> Result<Relief, Failure> {
        self.line.set_read_timeout(Some(self.timeout))?;
        // Its last message can be read even if it does not read any more.
        let _ = self.line.write_all(&[ACCEPTING]);
        let mut word = [0];
        match self.line.read_exact(&mut word) {
            Ok(()) if word == [STAYING] => Err(Failure::TooLate),
            Ok(()) if word == [LEAVING] => Ok(Relief::Leaves),
            // The old process cannot know of this one, in whatever state it is: one of them has to serve.
            Ok(()) | Err(_) => Ok(Relief::Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::DirBuilderExt;
    use std::thread::JoinHandle;

    use super::*;

    /// A directory that is closed to others, and the place in it.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Place {
            let path = std::env::temp_dir().join(format!("pollcast-upgrade-{:016x}", fastrand::u64(..)));
            fs::DirBuilder::new().mode(0o700).create(&path).expect("a directory for the test");
            Place(path)
        }

        fn upgrade(&self, seconds: u64) -> Upgrade {
            Upgrade { socket: self.0.join("sock"), timeout: Duration::from_secs(seconds) }
        }

        fn inherit(&self, seconds: u64) -> JoinHandle<Result<(Sockets, Predecessor), Failure>> {
            let upgrade = self.upgrade(seconds);
            std::thread::spawn(move || inherit(&upgrade))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn sockets(addresses: &[&str]) -> (Sockets, Vec<SocketAddr>) {
        let mut sockets = Sockets::default();
        let bound = addresses.iter().map(|address| {
            let socket = TcpListener::bind(address).expect("a free port");
            sockets.keep(address.parse().expect("an address"), &socket).expect("a descriptor");
            socket.local_addr().expect("bound")
        });
        let bound = bound.collect();
        (sockets, bound)
    }

    fn got<T>(thread: JoinHandle<T>) -> T {
        thread.join().expect("no panic")
    }

    #[test]
    fn sockets_arrive_under_their_names_in_order() {
        let place = Place::new();
        let successor = place.inherit(20);
        let (sockets, bound) = sockets(&["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"]);
        let upgrade = place.upgrade(20);
        let old = std::thread::spawn(move || hand_over(&upgrade, &sockets));
        let (mut inherited, predecessor) = got(successor).expect("inherited");
        assert_eq!(predecessor.relieve().expect("in time"), Relief::Leaves);
        got(old).expect("handed over");
        let mut take = |address: &str| {
            inherited.take(address.parse().expect("an address")).map(|s| s.local_addr().expect("bound"))
        };
        assert_eq!(
            [take("127.0.0.1:0"), take("127.0.0.1:0"), take("127.0.0.1:0")],
            [Some(bound[0]), Some(bound[2]), None]
        );
        assert_eq!(inherited.addresses().collect::<Vec<_>>(), ["127.0.0.2:0".parse().expect("an address")]);
        assert!(!place.upgrade(1).socket.exists(), "the socket between them is gone");
    }

    #[test]
    fn a_process_that_is_not_ready_in_time_is_one_too_many() {
        let place = Place::new();
        let successor = place.inherit(20);
        let (sockets, _) = sockets(&["127.0.0.1:0"]);
        let refused = hand_over(&place.upgrade(1), &sockets).expect_err("nobody said that it accepts");
        assert!(refused.to_string().contains("within 1s"), "{refused}");
        let (_, predecessor) = got(successor).expect("inherited");
        assert!(matches!(predecessor.relieve(), Err(Failure::TooLate)));
    }

    #[test]
    fn a_process_that_ends_before_it_is_ready_is_noticed_at_once() {
        let place = Place::new();
        let successor = place.inherit(20);
        let (sockets, _) = sockets(&["127.0.0.1:0"]);
        let upgrade = place.upgrade(600);
        let old = std::thread::spawn(move || hand_over(&upgrade, &sockets));
        drop(got(successor).expect("inherited"));
        let refused = got(old).expect_err("it is gone");
        assert!(refused.to_string().contains("ended before"), "{refused}");
    }

    #[test]
    fn an_old_process_that_is_gone_is_not_waited_for() {
        let (line, far_end) = UnixStream::pair().expect("a pair");
        drop(far_end);
        let predecessor = Predecessor { line, timeout: Duration::from_secs(600) };
        assert_eq!(predecessor.relieve().expect("no failure"), Relief::Gone);
    }

    #[test]
    fn a_connection_that_only_looks_is_handed_nothing() {
        let place = Place::new();
        let socket = place.upgrade(1).socket;
        let successor = place.inherit(20);
        let mut looker = loop {
            match UnixStream::connect(&socket) {
                Ok(looker) => break looker,
                Err(_) => std::thread::yield_now(),
            }
        };
        looker.shutdown(std::net::Shutdown::Write).expect("it says nothing");
        assert_eq!(looker.read(&mut [0]).expect("its end"), 0);
        let (sockets, bound) = sockets(&["127.0.0.1:0"]);
        let upgrade = place.upgrade(20);
        let old = std::thread::spawn(move || hand_over(&upgrade, &sockets));
        let (mut inherited, predecessor) = got(successor).expect("inherited");
        let socket = inherited.take("127.0.0.1:0".parse().expect("an address")).expect("there");
        assert_eq!(socket.local_addr().expect("bound"), bound[0]);
        predecessor.relieve().expect("in time");
        got(old).expect("handed over");
    }

    #[test]
    fn a_silent_process_is_not_waited_for_longer_than_was_said() {
        let place = Place::new();
        let socket = place.upgrade(1).socket;
        let successor = place.inherit(1);
        let _silent = loop {
            match UnixStream::connect(&socket) {
                Ok(silent) => break silent,
                Err(_) => std::thread::yield_now(),
            }
        };
        assert!(matches!(got(successor), Err(Failure::NoPredecessor { .. })));
    }

    #[test]
    fn a_socket_is_held_against_its_name() {
        let held = |name: &str, address: &str| {
            let socket = TcpListener::bind(address).expect("a free port");
            listening(name.to_owned(), socket).map(drop).map_err(|failure| failure.to_string())
        };
        assert_eq!(held("00=127.0.0.1:0", "127.0.0.1:0"), Ok(()));
        for name in ["00=127.0.0.2:0", "00=127.0.0.1:1", "nonsense"] {
            assert!(
                held(name, "127.0.0.1:0")
                    .is_err_and(|told| told.contains(name) && told.contains("is bound to"))
            );
        }
    }

    #[test]
    fn a_place_that_cannot_be_used_is_left_as_it_is() {
        let place = Place::new();
        let socket = place.upgrade(1).socket;
        fs::write(&socket, "precious").expect("a file");
        assert!(matches!(inherit(&place.upgrade(1)), Err(Failure::Place { .. })));
        assert_eq!(fs::read_to_string(&socket).expect("still there"), "precious");
    }
}
