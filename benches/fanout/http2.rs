//! As much of HTTP/2 (RFC 9113) as the bench's clients and the floor say to each other and to
//! pollcast: event streams on one connection, in windows that never fill.
//! Must not know: sockets, what an event says.

use crate::wire::HOST;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
const LARGEST_WINDOW: u32 = 0x7fff_ffff;

/// Frames by their type (RFC 9113 §6).
mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const WINDOW_UPDATE: u8 = 8;
}

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What one frame means to its reader.
pub enum Said<'b> {
    /// A request (to a server): its stream, and the encoded fields.
    /// An answer (to a client): likewise.
    Fields(u32, &'b [u8]),
    Data(u32, &'b [u8]),
    /// To be answered with these bytes.
    Asks(Vec<u8>),
    Nothing,
}

/// Takes one frame from the front of `bytes`: how long it was, and what it says.
pub fn frame(bytes: &[u8]) -> Result<Option<(usize, Said<'_>)>, String> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [a, b, c, kind, flags, stream @ ..] = *head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let stream = u32::from_be_bytes(stream) & LARGEST_WINDOW;
    let said = match (kind, flags) {
        (kind::DATA, 0) => Said::Data(stream, payload),
        (kind::HEADERS, END_HEADERS) => Said::Fields(stream, payload),
        (kind::HEADERS, flags) if flags == END_HEADERS | END_STREAM => Said::Fields(stream, payload),
        (kind::SETTINGS, 0) => Said::Asks(put(kind::SETTINGS, ACK, 0, b"")),
        (kind::PING, 0) => Said::Asks(put(kind::PING, ACK, 0, payload)),
        (kind::SETTINGS | kind::PING, ACK) | (kind::WINDOW_UPDATE, _) => Said::Nothing,
        _ => return Err(format!("an unexpected frame of type {kind} with flags {flags:#x}: {payload:?}")),
    };
    Ok(Some((HEAD_BYTES + length, said)))
}

fn put(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(kind, flags, stream, payload.len()).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn head(kind: u8, flags: u8, stream: u32, length: usize) -> [u8; HEAD_BYTES] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [s, t, u, v] = stream.to_be_bytes();
    [a, b, c, kind, flags, s, t, u, v]
}

/// Everything a client says: one request a path, on the streams 1, 3, 5, ….
pub fn client_opening(paths: &[String]) -> Vec<u8> {
    let mut settings = vec![0, 2, 0, 0, 0, 0, 0, 4];
    settings.extend_from_slice(&LARGEST_WINDOW.to_be_bytes());
    let window = (LARGEST_WINDOW - 65_535).to_be_bytes();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(put(kind::SETTINGS, 0, 0, &settings));
    bytes.extend(put(kind::WINDOW_UPDATE, 0, 0, &window));
    for (index, path) in paths.iter().enumerate() {
        bytes.extend(put(kind::HEADERS, END_HEADERS | END_STREAM, stream_id(index), &request(path)));
    }
    bytes
}

/// The stream of a connection's request, from 0.
fn stream_id(index: usize) -> u32 {
    index as u32 * 2 + 1
}

/// The place of a stream among those of its connection.
pub fn stream_index(id: u32) -> usize {
    id as usize / 2
}

/// A GET in HPACK (RFC 7541): indexes of the static table, and literals that are not indexed.
fn request(path: &str) -> Vec<u8> {
    // :method GET, :scheme https; then :path, :authority, accept with their values.
    let mut fields = vec![0x82, 0x87];
    for (name, value) in [(&[0x04][..], path), (&[0x01], HOST), (&[0x0f, 0x04], "text/event-stream")] {
        fields.extend_from_slice(name);
        fields.push(value.len() as u8);
        fields.extend_from_slice(value.as_bytes());
    }
    fields
}

/// Whether an answer's fields begin with `:status 200`.
pub fn is_ok(fields: &[u8]) -> bool {
    fields.first() == Some(&0x88)
}

/// The path in a request of the bench's own clients.
pub fn path_of(fields: &[u8]) -> Option<&str> {
    let rest = fields.strip_prefix(&[0x82, 0x87, 0x04])?;
    let (length, rest) = rest.split_first()?;
    std::str::from_utf8(rest.get(..usize::from(*length))?).ok()
}

/// What follows a client's preface. Returns `None` if it is not complete.
pub fn after_preface(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(PREFACE.len()..)
}

/// What a server says first.
pub fn server_opening() -> Vec<u8> {
    put(kind::SETTINGS, 0, 0, b"")
}

/// The head of an event stream, as in the greeting of HTTP/1.1.
pub fn answer(stream: u32) -> Vec<u8> {
    let mut fields = vec![0x88];
    let named: [(&[u8], &str); 3] = [
        (&[0x0f, 0x10], "text/event-stream"),
        (&[0x0f, 0x09], "no-store, no-transform"),
        (&[0x0f, 0x2c], "Accept, Prefer"),
    ];
    for (name, value) in named {
        fields.extend_from_slice(name);
        fields.push(value.len() as u8);
        fields.extend_from_slice(value.as_bytes());
    }
    put(kind::HEADERS, END_HEADERS, stream, &fields)
}

/// Appends `payload` as one frame of a stream.
pub fn put_data(bytes: &mut Vec<u8>, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&head(kind::DATA, 0, stream, payload.len()));
    bytes.extend_from_slice(payload);
}
