//! The role `pollers`: clients that ask at intervals, each on its own connection that is kept. Their turns are spread evenly
//! over the interval in no order, so that a server meets them one by one as they would come in life.
//! Must not know: which server it talks to.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::clients::{Polled, Reply, say};
use crate::habit::Habit;
use crate::speech;

/// The longest sleep between two looks at the sockets.
const NAP: Duration = Duration::from_millis(2);

/// Fields that browsers send with every request.
const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: application/json\r\nAccept-Language: en-US,en;q=0.5\r\nConnection: keep-alive\r\n";

struct Poller {
    stream: TcpStream,
    /// The ETag of the last answer.
    tag: String,
    /// What has arrived of an answer that is not whole.
    partial: Vec<u8>,
    is_waiting: bool,
}

struct Pollers {
    poll: Poll,
    /// By token, in the order of their turns.
    clients: Vec<Poller>,
    habit: Option<Habit>,
    /// When the next client asks, and which it is.
    due: Instant,
    turn: usize,
    polled: Polled,
    random: fastrand::Rng,
    request: String,
}

/// Runs the role: `pollers <port> <count>`; connects at once.
/// Commands: `poll <habit>`, `report`.
pub fn run(port: u16, count: usize) -> Result<(), String> {
    let (send, commands) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            // Pollers that ended have said why.
            let _ = send.send(line);
        }
        // The bench is gone.
        std::process::exit(0)
    });
    let poll = Poll::new().map_err(|e| format!("pollers: {e}"))?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let connect = |slot| connect(&poll, address, slot).map_err(|e| format!("connection {slot}: {e}"));
    let clients = (0..count).map(connect).collect::<Result<_, _>>()?;
    let mut pollers = Pollers {
        poll,
        clients,
        habit: None,
        due: Instant::now(),
        turn: 0,
        polled: Polled::default(),
        random: fastrand::Rng::with_seed(17),
        request: String::new(),
    };
    say(&Reply::Connected);
    pollers.run(&commands)
}

fn connect(poll: &Poll, address: SocketAddr, slot: usize) -> std::io::Result<Poller> {
    let stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(slot), Interest::READABLE)?;
    Ok(Poller { stream, tag: String::new(), partial: Vec::new(), is_waiting: false })
}

impl Pollers {
    fn run(&mut self, commands: &Receiver<String>) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match commands.try_recv() {
                Ok(line) => self.command(&line)?,
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            // The kernel's clock of epoll has steps of a millisecond, in which turns would come in heaps.
            if let Err(e) = self.poll.poll(&mut events, Some(Duration::ZERO))
                && e.kind() != ErrorKind::Interrupted
            {
                return Err(format!("pollers: {e}"));
            }
            for event in &events {
                self.ready(event.token().0, &mut buffer)
                    .map_err(|why| format!("connection {}: {why}", event.token().0))?;
            }
            let pause = self.take_turns()?;
            std::thread::sleep(pause.min(NAP));
        }
    }

    fn command(&mut self, line: &str) -> Result<(), String> {
        match line.split_once(' ') {
            Some(("poll", habit)) => {
                self.habit = Some(Habit::parse(habit)?);
                self.polled = Polled::default();
                self.due = Instant::now();
            }
            None if line == "report" => say(&Reply::Polled(std::mem::take(&mut self.polled))),
            _ => return Err(format!("unknown command {line:?}")),
        }
        Ok(())
    }

    /// Asks for every client whose turn has come. Returns the time until the next turn.
    fn take_turns(&mut self) -> Result<Duration, String> {
        let Some(habit) = self.habit else { return Ok(NAP) };
        let step = habit.every.div_f64(self.clients.len() as f64);
        let now = Instant::now();
        while self.due <= now {
            self.ask(habit, self.turn)?;
            self.turn = (self.turn + 1) % self.clients.len();
            self.due += step;
            // A machine that was away for long does not make up for it by a flood.
            self.due = self.due.max(now.checked_sub(Duration::from_millis(100)).unwrap_or(now));
        }
        Ok(self.due.saturating_duration_since(now))
    }

    fn ask(&mut self, habit: Habit, turn: usize) -> Result<(), String> {
        // Neighbours in time are no neighbours in the order of connecting: the factor is a prime beyond any count.
        let slot = turn * 1_000_003 % self.clients.len();
        let client = &mut self.clients[slot];
        if client.is_waiting {
            self.polled.late += 1;
            return Ok(());
        }
        self.request.clear();
        let text = &mut self.request;
        text.push_str(&format!("GET {} HTTP/1.1\r\nHost: bench.test\r\n{BROWSER}", habit.path()));
        if habit.is_traced {
            let (trace, span) = (self.random.u128(..), self.random.u64(..));
            text.push_str(&format!("traceparent: 00-{trace:032x}-{span:016x}-01\r\n"));
        }
        if habit.is_conditional && !client.tag.is_empty() {
            text.push_str(&format!("If-None-Match: {}\r\n", client.tag));
        }
        text.push_str("\r\n");
        client.is_waiting = true;
        match client.stream.write(text.as_bytes()) {
            Ok(length) if length == text.len() => Ok(()),
            Ok(length) => Err(format!("the socket took {length} of {} bytes", text.len())),
            Err(e) => Err(format!("write: {e}")),
        }
    }

    fn ready(&mut self, slot: usize, buffer: &mut [u8]) -> Result<(), String> {
        let client = &mut self.clients[slot];
        loop {
            match client.stream.read(buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(length) => {
                    client.partial.extend_from_slice(&buffer[..length]);
                    if let Some(whole) = speech::polled(&client.partial)? {
                        if whole.length < client.partial.len() {
                            return Err("more came than one answer".to_owned());
                        }
                        if let Some(tag) = whole.tag {
                            client.tag = tag;
                        }
                        self.polled.answers += 1;
                        self.polled.unchanged += u64::from(whole.is_unchanged);
                        client.is_waiting = false;
                        client.partial = Vec::new();
                    }
                    if length < buffer.len() {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("read: {e}")),
            }
        }
    }
}
