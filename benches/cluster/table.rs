//! The table that is printed. Must not know: how anything is measured.

use std::time::Duration;

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    what: String,
    goal: String,
    measured: String,
}

impl Row {
    pub fn new(what: &str, goal: &str, measured: String) -> Self {
        Self { what: what.to_owned(), goal: goal.to_owned(), measured }
    }

    pub fn print(&self) {
        println!("| {} | {} | {} |", self.what, self.goal, self.measured);
    }
}

/// The head of the table.
pub fn print_head() {
    println!("| | goal | measured |\n|---|---:|---:|");
}

pub fn seconds(time: Duration) -> String {
    let text = format!("{:.2}", time.as_secs_f64());
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

pub fn milliseconds(ms: f64) -> String {
    format!("{ms:.2} ms")
}
