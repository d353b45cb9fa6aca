//! What a client sends on a WebSocket, in pieces of any size: no panic, no message over the limit, and after
//! an end nothing more.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use pollcast::transport::{Step, Transport, WebSocket};

const MOST: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((&how, stream)) = data.split_first() else { return };
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let mut socket = WebSocket::new(25 * second, 10 * second, MOST, 100, now);
    if how & 1 == 1 {
        socket = socket.of_deflate(15, how & 2 == 2);
    }
    let mut transport = Transport::WebSocket(socket);
    let piece = 1 + usize::from(how >> 2);
    for bytes in stream.chunks(piece) {
        let mut step = transport.receive(bytes, now);
        loop {
            match step {
                Step::Wait => break,
                Step::Forward(message) => assert!(message.len() <= MOST, "{} bytes", message.len()),
                Step::Write(output) => assert!(output.len() <= 2 + 125, "an answer to a ping"),
                Step::Finish(..) | Step::GiveBack(..) => return,
            }
            step = transport.receive(&[], now);
        }
    }
});
