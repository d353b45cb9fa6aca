//! The rooms of `src/front`, and which files may name Pingora's session.
//!
//! Must not know: what a room does.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Code;

/// Lower rooms first. A file of a room imports lower rooms, its own, and the files beside the rooms.
const ROOMS: &[&str] = &["request", "access", "passthrough", "answer", "subscribe"];

/// Imports of a higher room. The list only gets shorter.
const UPWARDS: &[(&str, &str)] = &[];

/// The files that name Pingora's session; the rest would survive another proxy. The list only gets shorter.
const MAY_NAME_SESSION: &[&str] = &[
    "front/act.rs",
    "front/connection.rs",
    "front/hand_over.rs",
    "front/mod.rs",
    "front/passthrough/mod.rs",
    "front/refuse.rs",
    "front/request_end.rs",
    "front/respond.rs",
    "listener/accept_rate.rs",
    "listener/client_certificate.rs",
    "listener/guarded_stream.rs",
    "listener/http1.rs",
    "listener/http2.rs",
    "listener/takeover.rs",
];

fn room_of(file: &str) -> Option<usize> {
    let room = file.strip_prefix("front/")?.split('/').next()?;
    ROOMS.iter().position(|name| *name == room)
}

/// Imports of higher rooms that are not known, and known ones that are gone.
pub fn check(imports: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let all = imports.iter().flat_map(|(from, others)| others.iter().map(|to| (*from, *to)));
    let upwards: Vec<(&str, &str)> =
        all.filter(|(from, to)| room_of(from) < room_of(to) && room_of(from).is_some()).collect();
    let new = upwards.iter().filter(|import| !UPWARDS.contains(import)).map(|(from, to)| {
        format!("src/{from} imports {to}, which is in a room above it ({})", ROOMS.join(" < "))
    });
    let gone = UPWARDS.iter().filter(|import| !upwards.contains(import));
    let gone = gone.map(|(from, to)| {
        format!("src/{from} no longer imports {to}: take it out of UPWARDS in tests/layers/rooms.rs")
    });
    new.chain(gone).collect()
}

/// Files that name the session and are not known to, and known ones that no longer do.
pub fn sessions(files: &[(Vec<String>, &str, Code)]) -> Vec<String> {
    let names_it = |code: &Code| {
        code.tokens.iter().any(|(_, token)| matches!(token.as_str(), "Session" | "ServerSession"))
    };
    let found: Vec<&str> =
        files.iter().filter(|(.., code)| names_it(code)).map(|(_, file, _)| *file).collect();
    let new = found.iter().filter(|file| !MAY_NAME_SESSION.contains(file));
    let new = new.map(|file| {
        format!(
            "src/{file} names Pingora's session: let a file do that which may, or return what it is to do"
        )
    });
    let gone = MAY_NAME_SESSION.iter().filter(|file| !found.contains(file));
    let gone = gone.map(|file| {
        format!(
            "src/{file} no longer names the session: take it out of MAY_NAME_SESSION in tests/layers/rooms.rs"
        )
    });
    new.chain(gone).collect()
}
