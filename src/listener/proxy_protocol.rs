//! The PROXY header (v1 and v2) that a load balancer writes before anything its client says.
//!
//! Must not know: which peers may write one, how long it may take.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;

/// Longest header of version 1, with its line end; the specification's.
const V1_BYTES_MAX: usize = 107;

/// Longest header of version 2. Addresses take 232 bytes at most, the rest is what load balancers say beside
/// them: names of private links, properties of a TLS session.
const V2_BYTES_MAX: usize = 4096;

/// The field of version 2 that has a checksum of the header.
const CRC32C: u8 = 3;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Why something is no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad(&'static str);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Bad {}

impl From<Bad> for io::Error {
    fn from(bad: Bad) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, bad)
    }
}

/// Reads the header at the beginning of a connection, and makes the client that it names the connection's peer
/// for everything that follows. A header that names none (a health check) leaves the peer as it is. Exactly the
/// header is gone from the connection afterwards.
///
/// # Errors
/// The connection broke or ended, or what came is no PROXY header.
pub(crate) async fn read(socket: &mut Stream) -> io::Result<()> {
    let mut read = Vec::new();
    let length = loop {
        if let Some(length) = length(&read)? {
            break length;
        }
        let mut some = [0; 512];
        match socket.read(&mut some).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read.extend_from_slice(&some[..count]),
        }
    };
    if let Some(client) = source(&read[..length])? {
        let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
        // Empty: it was made a line ago.
        let _ = digest.peer_addr.set(Some(PingoraAddr::Inet(client)));
        socket.set_socket_digest(digest);
    }
    socket.rewind(&read[length..]);
    Ok(())
}

/// For the fuzz targets: a whole header is no longer than what was read.
#[cfg(fuzzing)]
pub(crate) fn fuzzed(read: &[u8]) {
    if let Ok(Some(length)) = length(read)
        && let Some(header) = read.get(..length)
    {
        let _ = source(header);
    }
}

/// Bytes of the header that `read` begins with. Returns `None` if it goes on.
fn length(read: &[u8]) -> Result<Option<usize>, Bad> {
    let may_be = |signature: &[u8]| read.iter().zip(signature).all(|(one, other)| one == other);
    if may_be(V2) {
        let Some(&[high, low]) = read.get(14..16) else { return Ok(None) };
        let length = 16 + usize::from(u16::from_be_bytes([high, low]));
        return match length > V2_BYTES_MAX {
            true => Err(Bad("the PROXY header is longer than 4096 bytes")),
            false => Ok((read.len() >= length).then_some(length)),
        };
    }
    if !may_be(V1) {
        return Err(Bad("no PROXY header"));
    }
    let line = &read[..read.len().min(V1_BYTES_MAX)];
    match line.windows(2).position(|two| two == b"\r\n") {
        Some(end) => Ok(Some(end + 2)),
        None if line.len() == V1_BYTES_MAX => {
            Err(Bad("the line of the PROXY header is longer than 107 bytes"))
        }
        None => Ok(None),
    }
}

/// The client that a whole header names; `None` if it says that there is none, or not which.
fn source(header: &[u8]) -> Result<Option<SocketAddr>, Bad> {
    // The numbers of Rust may have a sign.
    if header.starts_with(V1) && header.contains(&b'+') {
        return Err(Bad("the PROXY header cannot be read"));
    }
    if header.starts_with(V2) {
        checksum(header)?;
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, length)) if length == header.len() => match parsed.proxied_address() {
            Some(address) if address.protocol == Protocol::Stream => Ok(Some(address.source)),
            Some(_) => Err(Bad("the PROXY header is for datagrams")),
            None => Ok(None),
        },
        _ => Err(Bad("the PROXY header cannot be read")),
    }
}

/// Compares the checksum of a whole header of version 2 with what it says, if it does.
fn checksum(header: &[u8]) -> Result<(), Bad> {
    // What is behind a family of no known length cannot be read.
    let addresses = match header.get(13).map(|family| family >> 4) {
        Some(0) => 0,
        Some(1) => 12,
        Some(2) => 36,
        Some(3) => 216,
        _ => return Ok(()),
    };
    let mut at = 16 + addresses;
    let mut said = None;
    while let Some(&[kind, high, low]) = header.get(at..at + 3) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind == CRC32C {
            let value = header.get(at + 3..at + 3 + length).and_then(|value| value.try_into().ok());
            let value: [u8; 4] = value.ok_or(Bad("the checksum of the PROXY header is not four bytes"))?;
            if said.replace((at + 3, u32::from_be_bytes(value))).is_some() {
                return Err(Bad("the PROXY header has two checksums"));
            }
        }
        at += 3 + length;
    }
    // What is behind it would be a field only in part.
    if at != header.len() && (said.is_some() || at > header.len()) {
        return Err(Bad("the PROXY header is cut off in a field"));
    }
    let Some((place, said)) = said else { return Ok(()) };
    // As if it were not there yet (§2.2.4).
    let found =
        [&header[..place], &[0; 4], &header[place + 4..]].iter().fold(!0, |sum, part| crc32c(sum, part));
    match !found == said {
        true => Ok(()),
        false => Err(Bad("the PROXY header does not have the checksum it says")),
    }
}

/// Castagnoli's polynomial, its bits the other way round.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// A cyclic redundancy check (RFC 4960, appendix B), bit by bit: headers are short, and few have one.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| {
        let step = |sum: u32| (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum))
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = V2.to_vec();
        header.extend_from_slice(&[command, family]);
        header.extend_from_slice(&(rest.len() as u16).to_be_bytes());
        header.extend_from_slice(rest);
        header
    }

    const FOUR: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

    /// What a header says, and what is left behind it.
    fn read(bytes: &[u8]) -> Result<(Option<String>, usize), Bad> {
        let length = length(bytes)?.ok_or(Bad("more"))?;
        Ok((source(&bytes[..length])?.map(|client| client.to_string()), bytes.len() - length))
    }

    #[test]
    fn headers_name_clients() {
        let six = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0; 16]].concat();
        let six = [&six[..], &[0x1f, 0x90, 0, 80]].concat();
        let with_more = [&FOUR[..], &[0x04, 0, 2, 0, 0]].concat();
        for (header, wanted) in [
            (&b"PROXY TCP4 203.0.113.7 10.0.0.1 8080 80\r\n"[..], Some("203.0.113.7:8080")),
            (b"PROXY TCP6 2001:db8::1 ::1 8080 80\r\n", Some("[2001:db8::1]:8080")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
            (&v2(0x21, 0x11, &FOUR), Some("203.0.113.7:8080")),
            (&v2(0x21, 0x21, &six), Some("[2001:db8::1]:8080")),
            (&v2(0x21, 0x11, &with_more), Some("203.0.113.7:8080")),
            (&v2(0x21, 0x00, &[]), None),
            (&v2(0x21, 0x31, &[0; 216]), None),
            (&v2(0x20, 0x00, &[]), None),
            (&v2(0x20, 0x11, &FOUR), None),
        ] {
            assert_eq!(read(header), Ok((wanted.map(str::to_owned), 0)), "{header:?}");
            let behind = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(read(&behind).map(|(_, left)| left), Ok(18), "{header:?}");
            for end in 0..header.len() {
                assert_eq!(length(&header[..end]), Ok(None), "{:?}", &header[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
            b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4\r\n5.6.7.8 1 2\r\n",
            b"PROXY UNKNOWN\rx\r\n",
            b"PROXY \r\n",
            long.as_bytes(),
            &v2(0x11, 0x11, &FOUR),
            &v2(0x22, 0x11, &FOUR),
            &v2(0x21, 0x12, &FOUR),
            &v2(0x21, 0x41, &FOUR),
            &v2(0x21, 0x11, &FOUR[..11]),
            &v2(0x21, 0x21, &FOUR),
            &v2(0x21, 0x31, &[0; 215]),
            &v2(0x21, 0x11, &[0; 4096]),
        ] {
            let told = read(bytes);
            assert!(matches!(told, Err(bad) if bad != Bad("more")), "{:?}: {told:?}", bytes.escape_ascii());
        }
    }

    /// A header with this checksum behind other fields, and with the right one.
    fn summed(command: u8, sum: Option<u32>) -> Vec<u8> {
        let with = |sum: u32| {
            let fields = [&[1, 0, 2][..], b"h2", &[3, 0, 4], &sum.to_be_bytes(), &[4, 0, 1, 0]].concat();
            v2(command, 0x11, &[&FOUR[..], &fields].concat())
        };
        with(sum.unwrap_or_else(|| !crc32c(!0, &with(0))))
    }

    #[test]
    fn the_checksum_is_the_one_of_the_specification() {
        for (bytes, wanted) in
            [(&b"123456789"[..], 0xe306_9283), (&[0; 32], 0x8a91_36aa), (&[0xff; 32], 0x62a8_ab43), (b"", 0)]
        {
            assert_eq!(!crc32c(!0, bytes), wanted);
        }
    }

    #[test]
    fn a_checksum_counts_where_there_is_one() {
        let good = summed(0x21, None);
        assert_eq!(read(&good), Ok((Some("203.0.113.7:8080".to_owned()), 0)));
        assert_eq!(read(&summed(0x20, None)), Ok((None, 0)));
        // Addresses, other fields' values, the checksum itself and what is behind it.
        for at in (16..28).chain([31, 32]).chain(36..good.len()) {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(read(&bad).is_err(), "byte {at}, bit {bit}");
            }
        }
        assert_eq!(
            read(&summed(0x20, Some(7))),
            Err(Bad("the PROXY header does not have the checksum it says"))
        );
        let field = [3, 0, 4, 0, 0, 0, 0];
        for fields in
            [&[3, 0, 3, 0, 0, 0][..], &[3, 0, 5, 0, 0, 0, 0, 0], &[3, 0, 4, 0], &[field, field].concat()]
        {
            assert!(read(&v2(0x21, 0x11, &[&FOUR[..], fields].concat())).is_err(), "{fields:?}");
        }
    }

    #[tokio::test]
    async fn a_header_byte_by_byte_leaves_exactly_what_is_behind_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let mut server = Stream::from(listener.accept().await.unwrap().0);
        let writing = tokio::spawn(async move {
            for byte in v2(0x21, 0x11, &FOUR) {
                client.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.write_all(b"what is ").await.unwrap();
            client.write_all(b"behind it").await.unwrap();
        });
        super::read(&mut server).await.unwrap();
        let digest = server.get_socket_digest().unwrap();
        assert_eq!(digest.peer_addr().unwrap().to_string(), "203.0.113.7:8080");
        let mut behind = Vec::new();
        server.read_to_end(&mut behind).await.unwrap();
        assert_eq!(behind, b"what is behind it");
        writing.await.unwrap();
    }
}
