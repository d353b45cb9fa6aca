//! The first bytes of a connection that may speak HTTP/2: which of both protocols it is, and how long a
//! peer may take to say so. Pingora would wait for ever for the 24 bytes of an HTTP/2 preface, from a
//! silent peer as from one whose whole request is shorter.
//!
//! Must not know: requests.

use std::io;

use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as Socket;
use tokio::io::AsyncReadExt;

/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a cleartext connection speaks.
pub(super) enum Protocol {
    /// With what was read of its first request.
    Http1(Stream, BytesMut),
    Http2(Stream),
}

/// Reads of a cleartext connection until it is clear what it speaks: the preface's first byte is no
/// method's, but for those that begin with P. Returns `None` if it ended without a word.
pub(super) async fn protocol(stream: Stream) -> io::Result<Option<Protocol>> {
    let Ok(mut socket) = stream.into_any().downcast::<Socket>() else {
        return Err(io::Error::other("a cleartext connection is not the proxy's own kind of socket"));
    };
    let mut read = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && read[..length] == PREFACE[..length] {
        match socket.read(&mut read[length..]).await? {
            0 if length == 0 => return Ok(None),
            0 => break,
            more => length += more,
        }
    }
    if read == *PREFACE {
        socket.rewind(&read);
        return Ok(Some(Protocol::Http2(socket)));
    }
    Ok(Some(Protocol::Http1(socket, BytesMut::from(&read[..length]))))
}
