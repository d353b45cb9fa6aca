//! The figures as a table for people and as JSON for machines.
//! Must not know: how anything was measured.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::subject::Subject;

/// One thing that was measured of one server.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// The work and what of it: the row of the table.
    pub what: String,
    pub unit: &'static str,
    pub value: f64,
}

impl Figure {
    pub fn new(what: String, unit: &'static str, value: f64) -> Self {
        Self { what, unit, value }
    }
}

#[derive(Debug, Default, Serialize)]
pub struct Table {
    /// In the order of measuring.
    figures: Vec<(Subject, Figure)>,
    /// What could not be measured, and why.
    pub failures: Vec<(Subject, String)>,
}

impl Table {
    pub fn add(&mut self, subject: Subject, figures: Vec<Figure>) {
        self.figures.extend(figures.into_iter().map(|figure| (subject, figure)));
    }

    pub fn print(&self) {
        let mut rows: Vec<(&str, &str)> = Vec::new();
        for (_, figure) in &self.figures {
            if !rows.contains(&(&figure.what, figure.unit)) {
                rows.push((&figure.what, figure.unit));
            }
        }
        let has_figures = |subject: &Subject| self.figures.iter().any(|(of, _)| of == subject);
        let subjects: Vec<Subject> = Subject::ALL.into_iter().filter(has_figures).collect();
        let names: Vec<&str> = subjects.iter().map(|subject| subject.name()).collect();
        println!("\n| medians | {} | pollcast ÷ the others |", names.join(" | "));
        println!("|---|{}---|", "---:|".repeat(names.len()));
        for (what, unit) in rows {
            let value = |subject: &Subject| self.median(*subject, what);
            let cells = subjects.iter().map(value).map(|value| match value {
                Some(value) => shown(value, unit),
                None => "–".to_owned(),
            });
            let others = subjects.iter().filter(|subject| **subject != Subject::Pollcast);
            let ratios = others.filter_map(value).filter_map(|other| {
                let ratio = value(&Subject::Pollcast)? / other;
                ratio.is_finite().then(|| format!("{ratio:.2}"))
            });
            let (cells, ratios): (Vec<_>, Vec<_>) = (cells.collect(), ratios.collect());
            println!("| {what} | {} | {} |", cells.join(" | "), ratios.join(", "));
        }
        for (subject, why) in &self.failures {
            println!("\nnot measured: {}, {why}", subject.name());
        }
    }

    fn median(&self, subject: Subject, what: &str) -> Option<f64> {
        let of_row = self.figures.iter().filter(|(of, figure)| *of == subject && figure.what == what);
        let mut values: Vec<f64> = of_row.map(|(_, figure)| figure.value).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        Some((low + high) / 2.0)
    }

    /// Writes `target/peers.json`, one line.
    pub fn write(&self) -> Result<PathBuf, String> {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = temporary.parent().unwrap_or(temporary).join("peers.json");
        let line = serde_json::to_string(self).map_err(|e| format!("{}: {e}", path.display()))?;
        std::fs::write(&path, line + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }
}

fn shown(value: f64, unit: &str) -> String {
    let number = match value.abs() {
        // Counts.
        _ if unit.is_empty() => format!("{value:.0}"),
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    format!("{number} {unit}").trim_end().to_owned()
}
