//! The results as a drawing: memory and CPU of a client by the number of clients, SVG.
//! Must not know: how anything was measured.

use std::fmt::Write;

use crate::report::{Report, Summary, name_of};
use crate::stage::Subject;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 380.0;
/// Of the area between a panel's axes.
const PANEL: (f64, f64) = (300.0, 230.0);
const TOP: f64 = 56.0;

/// Colours that differ in brightness, too.
const COLOURS: [&str; 6] = ["#0b5394", "#c55a11", "#38761d", "#741b47", "#7f6000", "#444444"];

/// A panel: its title, and what it shows of a summary.
struct Panel {
    title: &'static str,
    left: f64,
    value: fn(&Summary) -> f64,
}

const PANELS: [Panel; 2] = [
    Panel { title: "memory of an idle client, B", left: 62.0, value: |summary| summary.bytes_per_client },
    Panel { title: "CPU of a delivery, µs", left: 468.0, value: |summary| summary.delivery_us },
];

/// One row's values of one server, by the number of clients.
struct Line<'r> {
    name: String,
    subject: Subject,
    colour: &'static str,
    points: Vec<&'r Summary>,
}

/// Draws what was measured with more than one number of clients; with one number, points.
pub fn draw(report: &Report) -> String {
    let lines = lines(report);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for panel in &PANELS {
        draw_panel(&mut svg, panel, &lines);
    }
    for (place, line) in lines.iter().enumerate() {
        let (x, y) = (PANELS[0].left + (place % 4) as f64 * 190.0, HEIGHT - 26.0 + (place / 4) as f64 * 16.0);
        put(&mut svg, &path(&[(x, y - 4.0), (x + 24.0, y - 4.0)], line));
        put(&mut svg, &text(x + 30.0, y, "start", &line.name));
    }
    svg + "</svg>\n"
}

fn lines(report: &Report) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut rows = Vec::new();
    for summary in report.summary.iter().filter(|summary| summary.row.is_scaled) {
        let name = format!("{}, {}", summary.row.name, name_of(summary.subject));
        if !rows.contains(&summary.row.name) {
            rows.push(summary.row.name);
        }
        let colour = COLOURS[(rows.len() - 1) % COLOURS.len()];
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(summary),
            None => lines.push(Line { name, subject: summary.subject, colour, points: vec![summary] }),
        }
    }
    lines
}

fn draw_panel(svg: &mut String, panel: &Panel, lines: &[Line<'_>]) {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let most_clients = round_up(all().map(|summary| summary.clients as f64).fold(1.0, f64::max));
    let most = round_up(all().map(panel.value).fold(1.0, f64::max));
    let (width, height) = PANEL;
    let x = |clients: f64| panel.left + clients / most_clients * width;
    let y = |value: f64| TOP + height - value / most * height;
    put(svg, &format!("<g font-weight=\"bold\">{}</g>", text(panel.left, TOP - 20.0, "start", panel.title)));
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let (clients, value) = (most_clients * share, most * share);
        put(
            svg,
            &format!(
                "<path d=\"M{:.1} {:.1}H{:.1}\" stroke=\"#ddd\" fill=\"none\"/>",
                panel.left,
                y(value),
                panel.left + width
            ),
        );
        put(svg, &text(panel.left - 8.0, y(value) + 4.0, "end", &number(value)));
        put(svg, &text(x(clients), TOP + height + 18.0, "middle", &number(clients)));
    }
    put(svg, &text(panel.left + width / 2.0, TOP + height + 36.0, "middle", "clients"));
    for line in lines {
        let points: Vec<_> = line.points.iter().map(|s| (x(s.clients as f64), y((panel.value)(s)))).collect();
        put(svg, &path(&points, line));
        for (x, y) in points {
            put(svg, &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{}\"/>", line.colour));
        }
    }
}

/// The floor is dashed.
fn path(points: &[(f64, f64)], line: &Line<'_>) -> String {
    let places: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let dashes = if line.subject == Subject::Pollcast { "" } else { " stroke-dasharray=\"5 4\"" };
    format!(
        "<path d=\"M{}\" stroke=\"{}\" stroke-width=\"2\" fill=\"none\"{dashes}/>",
        places.join("L"),
        line.colour
    )
}

fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>")
}

fn put(svg: &mut String, element: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(svg, "{element}");
}

/// The next of 1, 2, 4, 5, 6, 8 and 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(power * 10.0)
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
