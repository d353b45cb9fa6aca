//! A private pair of sockets: Pingora speaks plain HTTP on one end, a task carries its bytes over a TLS connection that
//! Pingora cannot make itself.
//!
//! The pair has no name that another process could connect to. Must not know: TLS, servers, requests.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Most bytes that are carried at a time, each way: one record of TLS.
const CHUNK_BYTES: usize = 16 * 1024;

/// The longest that a server is given to learn that its connection ends.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);

/// Returns both ends: Pingora's, and the one that is carried on.
///
/// # Errors
/// The process has no descriptors left.
pub(super) fn pair() -> io::Result<(UnixStream, Near)> {
    let (theirs, ours) = UnixStream::pair()?;
    Ok((theirs, Near(ours)))
}

/// The end that is carried on.
///
/// The last byte that Pingora wrote stays in it until more comes: an end that is closed with an unread byte is a reset
/// for the other one, and a body that TLS says was cut off must not look complete to a reader that reads until the end.
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
        // The connection ends even if the server does not hear of it.
        let _ = timeout(FAREWELL_TIME_MAX, server.shutdown()).await;
        Ok(())
    }

    /// Returns what the socket has, if it is more than what is held; `None` when Pingora has closed its end.
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
        let (theirs, near) = pair().unwrap();
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
        let (mut theirs, near) = pair().unwrap();
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
}
