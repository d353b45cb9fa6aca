//! Sets of bytes as tables: each byte of each name and path of a request is held against one.
//!
//! Must not know: what the bytes are part of.

/// Letters, digits and the bytes of `others`, as a table by byte. For constants: all of `others` are ASCII.
pub const fn alphanumerics_and(others: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 0x80 {
        set[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        set[others[at] as usize] = true;
        at += 1;
    }
    set
}
