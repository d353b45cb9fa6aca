//! A connection taken over from Pingora: the bare socket, or Pingora's own stream.
//!
//! Must not know: protocols, topics.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The listener, to which a connection goes back for its next request.
pub trait Home: Send + Sync {
    /// Serves the connection's next request; `read` was received already. `last_poll`: the number of the plain poll
    /// that it has repeated until now, if there was one.
    fn give_back(&self, connection: Returned, read: BytesMut, last_poll: Option<u64>);
}

/// A connection on its way back to the listener.
pub enum Returned {
    /// A socket of its own, without TLS.
    Socket(std::net::TcpStream),
    /// A stream of the proxy: TLS, or any other layer.
    Stream(Stream),
}

/// How a connection arrives, and where it goes afterwards; `None` if nowhere.
pub enum Taken {
    /// Plain TCP: no more than the socket is kept.
    Socket(std::net::TcpStream, Option<Arc<dyn Home>>),
    /// TLS.
    Stream(Stream, Option<Arc<dyn Home>>),
}

impl Taken {
    /// Takes plain TCP down to its socket: a descriptor of our own for the same connection. The
    /// stream must be unbuffered, or bytes that it has read ahead would be lost.
    pub fn socket(stream: Stream, home: Option<Arc<dyn Home>>) -> io::Result<Taken> {
        let fd = stream.id();
        // SAFETY: `id()` of a plain stream is its open descriptor, and `stream` lives, and so
        // keeps it open, until the clone below is made.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let own = fd.try_clone_to_owned()?;
        drop(stream);
        Ok(Taken::Socket(own.into(), home))
    }
}

/// A connection inside a shard.
pub(super) enum Wire {
    Socket(mio::net::TcpStream),
    /// A plain connection whose next request may be Pingora's. Pingora's own stream around it is made
    /// anew then: kept, it would cost several times as much memory as everything else.
    Held {
        socket: mio::net::TcpStream,
        home: HomeId,
        /// What the client sent while it waited: the beginning of its next request.
        read: Option<Box<BytesMut>>,
    },
    Stream(Box<StreamWire>),
}

/// Place of a home in a shard's [`Homes`].
pub(super) type HomeId = u16;

/// The homes that a shard's connections have: one a listener.
#[derive(Default)]
pub(super) struct Homes(Vec<Arc<dyn Home>>);

impl Homes {
    fn id(&mut self, home: Arc<dyn Home>) -> HomeId {
        let known = self.0.iter().position(|known| Arc::ptr_eq(known, &home));
        known.unwrap_or_else(|| {
            self.0.push(home);
            self.0.len() - 1
        }) as HomeId
    }
}

/// Pingora's stream, driven without its runtime: polled with a waker that names the slot.
pub(super) struct StreamWire {
    stream: Stream,
    waker: Waker,
    home: Option<Arc<dyn Home>>,
    /// What the client sent while it waited: the beginning of its next request.
    read: BytesMut,
    /// Written into the stream, but perhaps not yet out of it (TLS).
    unflushed: bool,
}

/// Most bytes handed to the kernel at once, all that one of its segments holds. As long as the send buffer has any room
/// the kernel takes a whole segment, so that a stalled client has at most this beyond `limits.send_buffer`; an event of
/// 64 KB in smaller pieces costs twice the CPU.
const SOCKET_WRITE_BYTES_MAX: usize = 64 * 1024;

/// Most bytes handed to a stream of TLS at once, all that one of its records holds: what the kernel does not take of it
/// stays encrypted in this process.
const STREAM_WRITE_BYTES_MAX: usize = 16 * 1024;

impl Wire {
    pub(super) fn new(taken: Taken, homes: &mut Homes, waker: impl FnOnce() -> Waker) -> Wire {
        match taken {
            Taken::Socket(socket, None) => Wire::Socket(mio::net::TcpStream::from_std(socket)),
            Taken::Socket(socket, Some(home)) => {
                let socket = mio::net::TcpStream::from_std(socket);
                Wire::Held { socket, home: homes.id(home), read: None }
            }
            Taken::Stream(stream, home) => {
                let (waker, read) = (waker(), BytesMut::new());
                Wire::Stream(Box::new(StreamWire { stream, waker, home, read, unflushed: false }))
            }
        }
    }

    /// Reads; 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Socket(socket) => retry(|| socket.read(buffer)),
            Wire::Held { socket, .. } => retry(|| socket.read(buffer)),
            Wire::Stream(wire) => {
                let mut context = Context::from_waker(&wire.waker);
                let mut buffer = ReadBuf::new(buffer);
                match Pin::new(&mut wire.stream).poll_read(&mut context, &mut buffer) {
                    Poll::Ready(result) => result.map(|()| buffer.filled().len()),
                    Poll::Pending => Err(ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Whether a read that gave less than it could has emptied the connection, and an event says when more comes. Pingora's
    /// streams have to be read until nothing comes, or they wake nothing.
    pub(super) fn tells_of_news(&self) -> bool {
        !matches!(self, Wire::Stream(_))
    }

    /// Writes as much of both pieces as goes, a slice at a time.
    pub(super) fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let most = match self {
            Wire::Socket(_) | Wire::Held { .. } => SOCKET_WRITE_BYTES_MAX,
            Wire::Stream(_) => STREAM_WRITE_BYTES_MAX,
        };
        let (first, second) = match most.checked_sub(first.len()) {
            Some(rest) => (first, &second[..second.len().min(rest)]),
            None => (&first[..most], &[][..]),
        };
        match self {
            Wire::Socket(socket) => write_both(socket, first, second),
            Wire::Held { socket, .. } => write_both(socket, first, second),
            Wire::Stream(wire) => {
                let mut context = Context::from_waker(&wire.waker);
                let stream = Pin::new(&mut wire.stream);
                let written = if first.is_empty() {
                    stream.poll_write(&mut context, second)
                } else if second.is_empty() || !wire.stream.is_write_vectored() {
                    Pin::new(&mut wire.stream).poll_write(&mut context, first)
                } else {
                    let pieces = [IoSlice::new(first), IoSlice::new(second)];
                    Pin::new(&mut wire.stream).poll_write_vectored(&mut context, &pieces)
                };
                wire.unflushed = true;
                ready(written)
            }
        }
    }

    /// Pushes out what TLS holds back. `WouldBlock`: not all is out yet.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Wire::Stream(wire) = self else { return Ok(()) };
        if !wire.unflushed {
            return Ok(());
        }
        let mut context = Context::from_waker(&wire.waker);
        ready(Pin::new(&mut wire.stream).poll_flush(&mut context))?;
        wire.unflushed = false;
        Ok(())
    }

    /// Says that nothing more will be written (FIN, close_notify).
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Wire::Socket(socket) => socket.shutdown(Shutdown::Write),
            Wire::Held { socket, .. } => socket.shutdown(Shutdown::Write),
            Wire::Stream(wire) => {
                let mut context = Context::from_waker(&wire.waker);
                ready(Pin::new(&mut wire.stream).poll_shutdown(&mut context))
            }
        }
    }

    /// Keeps what a waiting client sent for its next request. False: it is too long, and a request
    /// with a hole in it must not be served. Returns `None` if there is no next request.
    pub(super) fn keep(&mut self, bytes: &[u8], limit: usize) -> Option<bool> {
        let read = match self {
            Wire::Held { read, .. } => &mut **read.get_or_insert_default(),
            Wire::Stream(wire) if wire.home.is_some() => &mut wire.read,
            Wire::Socket(_) | Wire::Stream(_) => return None,
        };
        let fits = read.len() + bytes.len() <= limit;
        if fits {
            read.extend_from_slice(bytes);
        }
        Some(fits)
    }

    /// Whether something is kept.
    pub(super) fn has_kept(&self) -> bool {
        match self {
            Wire::Held { read, .. } => read.is_some(),
            Wire::Stream(wire) => !wire.read.is_empty(),
            Wire::Socket(_) => false,
        }
    }

    /// Takes what is kept.
    pub(super) fn take_kept(&mut self) -> BytesMut {
        match self {
            Wire::Held { read, .. } => read.take().map(|read| *read).unwrap_or_default(),
            Wire::Stream(wire) => std::mem::take(&mut wire.read),
            Wire::Socket(_) => BytesMut::new(),
        }
    }

    /// Sends the connection home, with what it has sent of its next request. Without a home it is closed.
    pub(super) fn give_back(self, homes: &Homes, read: BytesMut, last_poll: Option<u64>) {
        match self {
            Wire::Held { socket, home, .. } => {
                if let Some(home) = homes.0.get(usize::from(home)) {
                    home.give_back(Returned::Socket(socket.into()), read, last_poll);
                }
            }
            Wire::Stream(wire) => {
                if let Some(home) = wire.home {
                    home.give_back(Returned::Stream(wire.stream), read, last_poll);
                }
            }
            Wire::Socket(_) => {}
        }
    }

    /// The socket to register, for plain connections.
    pub(super) fn socket(&mut self) -> Option<&mut mio::net::TcpStream> {
        match self {
            Wire::Socket(socket) => Some(socket),
            Wire::Held { socket, .. } => Some(socket),
            Wire::Stream(_) => None,
        }
    }
}

fn write_both(socket: &mut mio::net::TcpStream, first: &[u8], second: &[u8]) -> io::Result<usize> {
    if second.is_empty() {
        return retry(|| socket.write(first));
    }
    let pieces = [IoSlice::new(first), IoSlice::new(second)];
    retry(|| socket.write_vectored(&pieces))
}

fn ready<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Bounds what a client may hold in the kernel, and how long it may hang there (contract §7).
/// Set here and not on the listener, where it would throttle downloads; for the same reason a
/// connection that goes back to Pingora keeps its send buffer.
pub fn bound_kernel_buffers(
    taken: &Taken,
    send_buffer: usize,
    stall_timeout: std::time::Duration,
) -> io::Result<()> {
    let fd = match taken {
        Taken::Socket(socket, _) => socket.as_fd(),
        // SAFETY: `id()` of a stream over TCP or TLS is its open descriptor, and `taken` keeps it
        // open for as long as the borrow lasts.
        Taken::Stream(stream, _) => unsafe { BorrowedFd::borrow_raw(stream.id()) },
    };
    let socket = socket2::SockRef::from(&fd);
    if let Taken::Socket(_, None) | Taken::Stream(_, None) = taken {
        socket.set_send_buffer_size(send_buffer)?;
    }
    socket.set_tcp_user_timeout(Some(stall_timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_64_kb_is_one_call() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let _client =
            std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        let (socket, _) = listener.accept().expect("the connection");
        socket.set_nonblocking(true).expect("a mode");
        let mut wire = Wire::Socket(mio::net::TcpStream::from_std(socket));
        let (head, event) = ([0; 40], vec![0; 128 * 1024]);
        assert_eq!(wire.write(&head, &event).expect("room"), 64 * 1024);
        assert_eq!(wire.write(&event, &[]).expect("room"), 64 * 1024);
    }
}
