//! A private pair of sockets: Pingora speaks plain HTTP on one end, a task carries its bytes over a TLS connection that
//! Pingora cannot make itself.
//!
//! The pair never has a name that anybody could connect to. Must not know: TLS, servers, requests.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use parking_lot::Mutex;
use socket2::{SockAddr, SockRef};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Bytes that are carried at a time, each way: one record of TLS.
const CHUNK_BYTES: usize = 16 * 1024;

/// A server is told for so long at most that its connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Longest path that is tried; the system's limit is 107 bytes.
const PATH_BYTES_MAX: usize = 100;

/// The name of a pair: Pingora takes it for the address of the server, and keeps connections of equal addresses in one
/// pool. `key` tells apart what must not meet there.
pub(super) fn address(key: u64) -> PathBuf {
    folder().join(format!("{key:016x}"))
}

/// A folder that is there only while a pair gets its name.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let name = format!("pollcast-{}-{:016x}", std::process::id(), fastrand::u64(..));
        // In memory, if there is that: making a name never waits for a disk then.
        let places = [PathBuf::from("/dev/shm"), std::env::temp_dir()].map(|place| place.join(&name));
        let fits = |place: &PathBuf| place.as_os_str().len() + 17 <= PATH_BYTES_MAX;
        let works = |place: &PathBuf| make(place).and_then(|()| fs::remove_dir(place)).is_ok();
        let chosen = places.iter().find(|place| fits(place) && works(place)).cloned();
        chosen.unwrap_or_else(|| {
            tracing::warn!(
                "neither /dev/shm nor the folder of temporary files can be written: requests that pass through to \
                 upstreams with tls.ca, tls.pin or tls.legacy make a connection each"
            );
            PathBuf::from("/dev/shm").join(name)
        })
    })
}

/// Fails if it is there already, so that it is ours.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

/// Gives a socket its name and takes the file away again: the other end goes on to see the name.
fn name(socket: &StdUnixStream, address: &Path) -> io::Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    let folder = folder();
    make(folder)?;
    let bound = SockAddr::unix(address).and_then(|name| SockRef::from(socket).bind(&name));
    // What is not there cannot be removed.
    let _ = fs::remove_file(address);
    let _ = fs::remove_dir(folder);
    bound
}

/// Two ends: Pingora's, and the one to be carried on. Pingora's says that it leads to `address`; where no name can be
/// made it says nothing, and is not used for a second request that passes through.
///
/// # Errors
/// The process has no descriptors left.
pub(super) fn pair(address: Option<&Path>) -> io::Result<(UnixStream, Near)> {
    let (theirs, ours) = StdUnixStream::pair()?;
    if let Some(Err(error)) = address.map(|address| name(&ours, address)) {
        tracing::debug!("a connection has no name and will not be used again: {error}");
    }
    theirs.set_nonblocking(true)?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(theirs)?, Near(UnixStream::from_std(ours)?)))
}

/// Our end.
///
/// The last byte that Pingora wrote stays in it until more comes: an end that is closed with an unread byte is a reset
/// for the other one, and a body that TLS says was cut off must not look complete to whoever reads until the end.
pub(super) struct Near(UnixStream);

impl Near {
    /// Sends on what Pingora writes, until it closes its end. `held` are the bytes that stay in the socket: one, once
    /// there were any.
    async fn send_on(
        &self,
        mut server: impl AsyncWrite + Unpin,
        held: &mut usize,
        chunk: &mut [u8],
    ) -> io::Result<()> {
        while let Some(count) = self.peek(*held, chunk).await? {
            server.write_all(&chunk[*held..count]).await?;
            server.flush().await?;
            *held = 1;
            let mut left = count - *held;
            while left > 0 {
                left -= recv(self.0.as_raw_fd(), &mut chunk[..left], MsgFlags::empty())?;
            }
        }
        // Whether it hears of it or not, the connection ends.
        let _ = timeout(FAREWELL, server.shutdown()).await;
        Ok(())
    }

    /// What the socket has, if it is more than what is held; `None` when Pingora has closed its end.
    async fn peek(&self, held: usize, chunk: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let is_closed = self.0.ready(Interest::READABLE).await?.is_read_closed();
            let peeked = self.0.try_io(Interest::READABLE, || {
                let count = recv(self.0.as_raw_fd(), chunk, MsgFlags::MSG_PEEK)?;
                if count <= held && !is_closed { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
            });
            match peeked {
                Ok(count) => return Ok((count > held).then_some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.0.writable().await?;
            match self.0.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hands over what the server sends, until it ends the connection.
    async fn hand_over(&self, mut server: impl AsyncRead + Unpin, chunk: &mut [u8]) -> io::Result<()> {
        loop {
            match server.read(chunk).await? {
                0 => return Ok(()),
                count => self.write_all(&chunk[..count]).await?,
            }
        }
    }
}

/// Carries bytes both ways until one side ends. The other side sees the same end: a plain one, or a reset if the
/// connection to the server broke or was cut off, which `broken` is told before.
pub(super) async fn carry(near: Near, server: impl AsyncRead + AsyncWrite, broken: impl FnOnce(&io::Error)) {
    let (from_server, to_server) = tokio::io::split(server);
    let (mut sent, mut received) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut held = 0;
    let ended = tokio::select! {
        ended = near.send_on(to_server, &mut held, &mut sent) => ended,
        ended = near.hand_over(from_server, &mut received) => ended,
    };
    match ended {
        // What is held was sent. If Pingora wrote more than was ever read, it is a reset all the same.
        Ok(()) => drop(recv(near.0.as_raw_fd(), &mut [0][..held], MsgFlags::empty())),
        Err(error) => broken(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    /// Pingora's end, and the server's; `None` from the server is a connection that broke.
    fn carried() -> (UnixStream, DuplexStream) {
        let (theirs, near) = pair(Some(&address(7))).unwrap();
        let (ours, server) = duplex(1000);
        tokio::spawn(carry(near, ours, |_| {}));
        (theirs, server)
    }

    async fn say(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn hear(stream: &mut (impl AsyncRead + Unpin), text: &str) {
        let mut heard = vec![0; text.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), text);
    }

    #[tokio::test]
    async fn bytes_go_both_ways_whatever_their_number_and_a_plain_end_is_one() {
        let (mut pingora, mut server) = carried();
        for text in ["a", "bc", &"d".repeat(3 * CHUNK_BYTES), "e"] {
            let (asked, answered) = (text.to_owned(), text.to_owned());
            let ((), ()) = tokio::join!(say(&mut pingora, &asked), hear(&mut server, &asked));
            let ((), ()) = tokio::join!(say(&mut server, &answered), hear(&mut pingora, &answered));
        }
        say(&mut server, "last").await;
        drop(server);
        let mut rest = String::new();
        pingora.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "last");
    }

    #[tokio::test]
    async fn the_server_hears_of_it_when_pingora_closes() {
        let (mut pingora, mut server) = carried();
        say(&mut pingora, "bye").await;
        drop(pingora);
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "bye");
    }

    /// Says something, then breaks.
    struct CutOff(Option<Vec<u8>>);

    impl AsyncRead for CutOff {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(match self.0.take() {
                Some(text) => {
                    buffer.put_slice(&text);
                    Ok(())
                }
                None => Err(ErrorKind::UnexpectedEof.into()),
            })
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_does_not_end_like_a_whole_one() {
        let (mut theirs, near) = pair(None).unwrap();
        say(&mut theirs, "GET /").await;
        let (ours, mut server) = duplex(1000);
        let (_, to_server) = tokio::io::split(ours);
        let mut held = 0;
        // As `carry`, step by step: the request is read first.
        let mut chunk = [0; 100];
        tokio::select! {
            _ = near.send_on(to_server, &mut held, &mut chunk) => unreachable!("nothing ended"),
            () = hear(&mut server, "GET /") => {}
        }
        near.hand_over(CutOff(Some(b"half".to_vec())), &mut chunk).await.unwrap_err();
        drop(near);
        let mut heard = Vec::new();
        let error = theirs.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!((heard.as_slice(), error.kind()), (b"half".as_slice(), ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn pingora_sees_the_name_and_no_file_stays() {
        let name = address(1);
        let (theirs, _near) = pair(Some(&name)).unwrap();
        assert_eq!(theirs.peer_addr().unwrap().as_pathname(), Some(name.as_path()));
        let (again, _near) = pair(Some(&name)).unwrap();
        assert_eq!(again.peer_addr().unwrap().as_pathname(), Some(name.as_path()));
        assert!(!name.exists());
    }
}
