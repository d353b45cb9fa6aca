//! What push clients cost: streams and held long-polls, one resource, every client of it.
//! Must not know: other servers than the one it is given; tables.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::family::{Account, settled_memory};
use crate::speech::Speech;
use crate::subject::Server;
use crate::table::Figure;
use crate::upstream::Upstream;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub clients: usize,
    /// Changes that are published and measured.
    pub events: u64,
    /// Bytes of a body.
    pub size: usize,
}

/// Every client has a change within this time, or it is lost.
const DELIVERY: Duration = Duration::from_secs(30);

/// For what follows a change: next requests, polls that see nothing new.
const PAUSE: Duration = Duration::from_millis(400);

/// Measures one server with streams, or with held long-polls. `returns`: whether its clients come
/// back with what they know.
pub fn measure(
    server: &Server,
    upstream: &Upstream,
    is_held: bool,
    returns: bool,
    load: Load,
) -> Result<Vec<Figure>, String> {
    const WARM_UP_CLIENTS: usize = 16;
    let (path, speech) = server.resource(is_held, load.size);
    let (pid, port) = (server.pid(), server.port());
    server.publish(upstream.state(), load.size)?;
    // What a server allocates once, for its first clients, is not a client's cost.
    Crowd::connect(speech, port, &path, WARM_UP_CLIENTS)?.close()?;
    let memory_before = settled_memory(pid)?;

    let before = Account::of(pid)?;
    let mut crowd = Crowd::connect(speech, port, &path, load.clients)?;
    let connecting = Account::of(pid)?.since(&before);
    std::thread::sleep(Duration::from_secs(2));
    let memory = settled_memory(pid)?.saturating_sub(memory_before);

    let before = Account::of(pid)?;
    for _ in 0..load.events {
        publish(server, upstream, &mut crowd, load.size)?;
    }
    let delivering = Account::of(pid)?.since(&before);

    let (title, clients) = (title(speech, load), load.clients as f64);
    let figure = |what: &str, unit, value: f64| Figure::new(format!("{title}: {what}"), unit, value);
    let done = if is_held { "CPU of a cycle: answer and next request" } else { "CPU of a delivery" };
    let mut figures = vec![
        figure("memory at rest, before clients", "MB", memory_before as f64 / 1e6),
        figure("memory of an idle client", "B", memory as f64 / clients),
        figure("CPU of a first connect", "µs", connecting / clients),
        figure(done, "µs", delivering / clients / load.events as f64),
    ];
    if returns {
        let (spent, polls) = storm(server, upstream, &mut crowd, load.size)?;
        figures.push(figure("CPU of a reconnect with Last-Event-ID", "µs", spent / clients));
        figures.push(figure("requests at the upstream meanwhile (every 200 ms one is due)", "", polls));
    }
    let tally = crowd.tally()?;
    figures.push(figure("connections closed unanswered, and repeated", "", tally.repeated_connects as f64));
    if !tally.is_clean() {
        return Err(format!("changes were lost or repeated, or connections ended: {tally:?}"));
    }
    Ok(figures)
}

fn title(speech: Speech, load: Load) -> String {
    let form = if speech == Speech::Events { "SSE" } else { "held long-poll" };
    format!("{form}, {} clients", load.clients)
}

/// One change, until every client has it and everything that follows from it is done.
fn publish(server: &Server, upstream: &Upstream, crowd: &mut Crowd, size: usize) -> Result<(), String> {
    crowd.expect(upstream.state().n + 1)?;
    server.publish(upstream.change(), size)?;
    crowd.await_state(DELIVERY)?;
    std::thread::sleep(PAUSE);
    Ok(())
}

/// All clients leave and come back at once, knowing the current state: microseconds of CPU, and
/// requests at the upstream. One more change then shows that none of them was forgotten.
fn storm(server: &Server, upstream: &Upstream, crowd: &mut Crowd, size: usize) -> Result<(f64, f64), String> {
    crowd.close()?;
    std::thread::sleep(Duration::from_secs(2));
    let (before, asked) = (Account::of(server.pid())?, upstream.requests());
    crowd.connect_again()?;
    let polls = upstream.requests() - asked;
    std::thread::sleep(PAUSE);
    let spent = Account::of(server.pid())?.since(&before);
    publish(server, upstream, crowd, size)?;
    Ok((spent, polls as f64))
}
