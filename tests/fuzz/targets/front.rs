//! A whole pollcast behind one connection, with whatever a client sends: no panic, an end in time, and
//! upstreams see whole requests only, none of them for the guarded path.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pollcast::app::App;

/// The process' one pollcast.
struct Stand {
    address: SocketAddr,
    _app: App,
}

static STAND: OnceLock<Stand> = OnceLock::new();

fn stand() -> &'static Stand {
    STAND.get_or_init(|| {
        // A panic in a task would end that task alone.
        std::panic::set_hook(Box::new(|info| {
            eprintln!("{info}");
            std::process::abort();
        }));
        let upstream = upstream();
        let yaml = format!(
            "listeners: [{{ address: '127.0.0.1:0', http2: true }}]\n\
             upstreams: {{ api: {{ servers: ['{upstream}'] }} }}\n\
             passthrough: api\n\
             log: {{ access: false }}\n\
             threads: {{ front: 1, shards: 1 }}\n\
             limits: {{ stall_timeout: 1s, first_byte_timeout: 100ms }}\n\
             defaults: {{ first_answer: 0s, max_wait: 1s, poll: {{ interval: 1h }} }}\n\
             routes:\n\
             \x20 - {{ path: '/a/{{x}}', upstream: api, share: public, cors: {{ origins: ['*'] }} }}\n\
             \x20 - {{ path: '/guarded', upstream: api, share: public, authenticate: {{ keys: {{ clients: \
             {{ nobody: '{:032x}' }} }} }} }}\n",
            rand()
        );
        let config = pollcast::config::load_str(&yaml, "fuzz.yaml", Path::new(".")).expect("a configuration");
        let app = pollcast::app::start(config).expect("pollcast");
        Stand { address: app.addresses()[0], _app: app }
    })
}

/// A key that no input finds by chance.
fn rand() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(1));
    half() << 64 | half()
}

/// Answers every request, and ends the run if it sees what must not pass.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..read]);
        while let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..end]).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default();
            let path = target.split(['?', '#']).next().unwrap_or_default();
            if path == "/guarded" {
                eprintln!("the guarded path was asked for:\n{head}");
                std::process::abort();
            }
            seen.drain(..end + 4);
            // A body is dropped in whatever pieces it comes: this connection gets no further request.
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n1";
            let _ = stream.write_all(answer);
            return;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let address = stand().address;
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = stream.write_all(data);
    let _ = stream.shutdown(Shutdown::Write);
    let mut buffer = [0; 4096];
    // Streams go on: the first answers are enough.
    for _ in 0..4 {
        if !matches!(stream.read(&mut buffer), Ok(1..)) {
            break;
        }
    }
});
