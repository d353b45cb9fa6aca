//! What clients cost that poll at intervals: CPU of an answer, memory of a connection that is idle most of the time.
//! Must not know: other servers than the one it is given; tables.

use std::time::Duration;

use crate::clients::Polled;
use crate::crowd::Crowd;
use crate::family::{Account, processes_below};
use crate::habit::Habit;
use crate::measure::{gauge, memory_bytes};
use crate::subject::Server;
use crate::table::Figure;

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Load {
    pub clients: usize,
    pub habits: Vec<Habit>,
    /// Each habit is measured for at least this time, and for a whole number of its intervals.
    pub time: Duration,
}

impl Load {
    /// The habits of issue and table: two sizes, with and without a condition, two intervals; one with a field that differs.
    pub fn habits(is_quick: bool) -> Vec<Habit> {
        let every = |seconds, size, is_conditional| Habit {
            every: Duration::from_secs(seconds),
            size,
            is_conditional,
            is_traced: false,
        };
        let mut habits = Vec::new();
        for seconds in if is_quick { &[2][..] } else { &[2, 10] } {
            for size in [200, 4096] {
                habits.push(every(*seconds, size, false));
                habits.push(every(*seconds, size, true));
            }
            if *seconds == 2 {
                habits.push(Habit { is_traced: true, ..every(2, 200, false) });
            }
        }
        habits
    }
}

/// Measures one server.
pub fn measure(server: &Server, load: &Load) -> Result<Vec<Figure>, String> {
    const WARM_UP_CLIENTS: usize = 64;
    let (pid, port) = (server.pid(), server.port());
    let Some(first) = load.habits.first() else { return Ok(Vec::new()) };
    // What a server allocates once, for its first clients, is not a client's cost.
    let mut early = Crowd::poll(port, WARM_UP_CLIENTS)?;
    watch(&mut early, *first, first.every * 2)?;
    drop(early);
    std::thread::sleep(Duration::from_millis(300));
    let memory_before = memory(pid)?;

    let figure = |what: &str, unit, value: f64| {
        Figure::new(format!("{} clients that poll: {what}", load.clients), unit, value)
    };
    let mut crowd = Crowd::poll(port, load.clients)?;
    // The first requests of connections, and the second ones.
    watch(&mut crowd, *first, first.every * 2)?;
    let mut figures = Vec::new();
    let mut before = *first;
    for (number, habit) in load.habits.iter().enumerate() {
        // Clients that ask for something else are as new ones.
        let turns = if habit.size == before.size && habit.is_traced == before.is_traced { 1 } else { 3 };
        watch(&mut crowd, *habit, habit.every * turns)?;
        before = *habit;
        let account = Account::of(pid)?;
        let turns = load.time.as_secs_f64().div_euclid(habit.every.as_secs_f64()).max(1.0) as u32;
        let polled = watch(&mut crowd, *habit, habit.every * turns)?;
        let spent = Account::of(pid)?.since(&account);
        if habit.is_conditional != (polled.unchanged > 0) {
            return Err(format!("{}: {} of {} were 304", habit.title(), polled.unchanged, polled.answers));
        }
        if number == 0 {
            let each = memory(pid)?.saturating_sub(memory_before) as f64 / load.clients as f64;
            figures.push(figure("memory at rest, before clients", "MB", memory_before as f64 / 1e6));
            figures.push(figure("memory of a connection", "B", each));
        }
        let title = habit.title();
        figures.push(figure(&format!("{title}: CPU of an answer"), "µs", spent / polled.answers as f64));
        if polled.late > 0 {
            let what = format!("{title}: turns left out, as the last answer was missing");
            figures.push(figure(&what, "", polled.late as f64));
        }
        if let Some(admin) = server.admin_port() {
            let short = gauge(admin, "pollcast_subscribers")? / load.clients as f64;
            figures.push(figure(&format!("{title}: on the short path"), "%", short * 100.0));
        }
    }
    Ok(figures)
}

/// Lets the clients poll for this time. Returns what they counted meanwhile.
fn watch(crowd: &mut Crowd, habit: Habit, time: Duration) -> Result<Polled, String> {
    crowd.poll_as(habit)?;
    std::thread::sleep(time);
    crowd.polled()
}

/// Anonymous and shared memory of a server's processes: the median of some looks, as clients go on polling meanwhile.
fn memory(pid: u32) -> Result<u64, String> {
    let mut looks = Vec::new();
    for _ in 0..5 {
        looks.push(processes_below(pid).into_iter().map(memory_bytes).sum::<Result<u64, String>>()?);
        std::thread::sleep(Duration::from_millis(100));
    }
    looks.sort_unstable();
    Ok(looks[looks.len() / 2])
}
