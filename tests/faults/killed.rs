//! A process that is killed, stands still for a while and is started again under a thousand clients: all come back with
//! what they have, none is told anything twice or misses an item, and the upstream hears no more than otherwise.
//!
//! Must not know: what a process writes down. It writes nothing down.

use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::HOST;
use super::feeds::{ROOM, Room};
use super::listeners::{OfItems, OfState};
use super::record::{Items, Journal, Recorder};
use super::script::{Plot, Script};
use super::world::{Allowed, config, judge};
use super::{all_end, report};
use crate::support::legacy::Legacy;
use crate::support::process::Process;
use crate::support::roaming::Listener;
use crate::support::sse::{Sse, SseItem};

const STATES: usize = 900;
const ITEMS: usize = 100;

/// A thousand clients that are refused from time to time need a while on a machine with other work.
const ALL_COME: Duration = Duration::from_secs(120);

const PLOTS: [(&str, Plot); 3] = [
    ("/states/counting", Plot::Counting),
    ("/states/recurring", Plot::Recurring),
    ("/states/flapping", Plot::Flapping),
];

/// What all subscribers know.
struct Crowd {
    address: SocketAddr,
    journal: Arc<Journal>,
    /// How often a process was started.
    era: AtomicU64,
    /// Streams that were opened in this era.
    here: AtomicUsize,
    /// The last item of all, once it is known.
    end: watch::Sender<Option<u64>>,
}

/// Follows, and comes back as often as the connection breaks.
async fn follow(mut listener: impl Listener, crowd: Arc<Crowd>) {
    while !listener.is_over() {
        // Connections break in many ways, none of which is told properly.
        let broken = visit(&mut listener, &crowd).await;
        if broken.is_err() {
            crowd.journal.count("connections broken");
        }
        sleep(Duration::from_millis(fastrand::u64(20..500))).await;
    }
}

async fn visit(listener: &mut impl Listener, crowd: &Crowd) -> Result<()> {
    let stream = TcpStream::connect(crowd.address).await?;
    let position = listener.position();
    let headers: Vec<_> = position.iter().map(|position| ("last-event-id", position.as_str())).collect();
    let era = crowd.era.load(Ordering::SeqCst);
    let mut sse = match Sse::attempt(stream, HOST, "HTTP/1.1", listener.path(), &headers).await? {
        Ok(sse) => sse,
        Err(head) => {
            listener.refused(&head);
            return Ok(());
        }
    };
    listener.begin(position.as_deref());
    if era == crowd.era.load(Ordering::SeqCst) {
        crowd.here.fetch_add(1, Ordering::SeqCst);
    }
    let mut end = crowd.end.subscribe();
    while !listener.is_over() {
        let item = tokio::select! {
            item = sse.item() => item?,
            // It may have the last one already.
            Ok(()) = end.changed() => continue,
        };
        match item {
            Some(SseItem::Event { id, event, data }) => listener.told(&event, id, &data),
            Some(SseItem::Comment(_) | SseItem::Retry(_)) => {}
            None => panic!("a killed process ends nothing properly"),
        }
    }
    Ok(())
}

impl Crowd {
    /// A process is about to start: a client that comes from now on has come to this one.
    fn begin_era(&self) {
        self.era.fetch_add(1, Ordering::SeqCst);
        self.here.store(0, Ordering::SeqCst);
    }

    async fn wait_for_all(&self, subscribers: &mut JoinSet<()>) {
        let limit = Instant::now() + ALL_COME;
        while self.here.load(Ordering::SeqCst) < STATES + ITEMS {
            if let Some(ended) = subscribers.try_join_next() {
                ended.expect("a subscriber was told what it should not be told");
            }
            assert!(Instant::now() < limit, "{:?} of {} came", self.here, STATES + ITEMS);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscribers_of_a_process_that_is_killed_all_come_back_and_lose_and_repeat_nothing() {
    let _ = rlimit::increase_nofile_limit(16 << 10);
    let (legacy, journal) = (Legacy::start(), Arc::new(Journal::default()));
    let scripts = PLOTS.map(|(path, plot)| Script::play(&legacy, path, plot, fastrand::u64(..), &journal));
    let room = Room::play(&legacy, ROOM, fastrand::u64(..), &journal);
    let yaml =
        config(&legacy.address().to_string(), "PUBLIC_ADDRESS", "ADMIN_ADDRESS", 16, "stale_after: 0s");
    let began = Instant::now();
    let mut process = Process::start(&yaml).await;
    let crowd = Arc::new(Crowd {
        address: process.address,
        journal: journal.clone(),
        era: AtomicU64::new(0),
        here: AtomicUsize::new(0),
        end: watch::Sender::new(None),
    });
    let mut subscribers = JoinSet::new();
    for n in 0..STATES {
        let recorder = Recorder::new(format!("subscriber {n}"), journal.clone());
        let path = PLOTS[n % PLOTS.len()].0.to_owned();
        subscribers.spawn(follow(OfState { path, recorder }, crowd.clone()));
    }
    for n in 0..ITEMS {
        let items = Items::new(format!("reader {n}"), journal.clone());
        let reader = OfItems { number: n, items, room: room.clone(), end: crowd.end.subscribe() };
        subscribers.spawn(follow(reader, crowd.clone()));
    }
    const KILLS: u64 = 2;
    for _ in 0..KILLS {
        crowd.wait_for_all(&mut subscribers).await;
        sleep(Duration::from_millis(700)).await;
        // Its clock jumps: to itself it was no time.
        process.signal("STOP");
        sleep(Duration::from_millis(900)).await;
        process.signal("CONT");
        sleep(Duration::from_millis(700)).await;
        process.signal("KILL");
        process.wait_exit().await;
        journal.count("fault: killed");
        crowd.begin_era();
        process = process.again(&yaml).await;
    }
    crowd.wait_for_all(&mut subscribers).await;
    scripts.iter().for_each(Script::calm);
    crowd.end.send_replace(Some(room.calm()));
    all_end(&mut subscribers, Duration::from_secs(20), "the subscribers").await;
    // Every subscriber comes back with what the new process may not know: confirmations, as many as there may be.
    let allowed = Allowed { confirmations: u64::MAX / 4, at_once: KILLS };
    scripts.iter().for_each(|script| judge(script, &allowed, began.elapsed()));
    report("killed", &journal, 1, began.elapsed());
}
