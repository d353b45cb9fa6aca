//! Problems of a configuration file, with the file, the line and the key.
//!
//! [`Findings`] collects them while the other stages go on, so that one run reports all. Must not know: which keys
//! exist and which values they take.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// One thing wrong, or suspicious, with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file as the operator gave it.
    pub file: String,
    /// Line in the file, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// The key, as `routes[2].poll.interval`; empty for the file as a whole.
    pub place: String,
    /// What was found and what was wanted; never a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.place.is_empty() {
            write!(f, ": {}", self.place)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A line of one of the files that a configuration is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    /// The number of the file, in the order in which they were read; 0 is the first one.
    pub file: usize,
    /// The line, from 1; 0 when the file as a whole is meant.
    pub number: usize,
}

/// Where a value stands in the file: `routes[2].poll.interval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(String);

impl Place {
    /// The file itself.
    pub fn root() -> Place {
        Place(String::new())
    }

    /// The value of a key of the mapping at this place.
    pub fn key(&self, key: &str) -> Place {
        // Each key that a file may have is named, whether it is there or not: a thousand routes make 100,000 of these.
        let key = bounded(key, 100);
        let mut place = String::with_capacity(self.0.len() + 1 + key.len());
        if !self.0.is_empty() {
            place.push_str(&self.0);
            place.push('.');
        }
        place.push_str(&key);
        Place(place)
    }

    /// An item of the list at this place, counted from 0.
    pub fn index(&self, index: usize) -> Place {
        Place(format!("{}[{index}]", self.0))
    }

    fn parent(place: &str) -> &str {
        place.rfind(['.', '[']).map_or("", |end| &place[..end])
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Origin {
    line: Line,
    /// The text before the environment was put in, if anything was put in.
    typed: Option<String>,
}

/// Problems and warnings found so far, and where every value of the file comes from.
pub(super) struct Findings {
    /// What messages call the files.
    files: Vec<String>,
    origins: HashMap<String, Origin>,
    /// Values with something of the environment in them, and how they were typed.
    expanded: HashMap<String, String>,
    problems: Vec<(Line, Problem)>,
    warnings: Vec<(Line, Problem)>,
}

impl Findings {
    /// Returns the findings of a file that nothing is known of yet.
    pub fn new(file: &str) -> Findings {
        Findings {
            files: vec![file.to_owned()],
            origins: HashMap::new(),
            expanded: HashMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a file. Returns its number, which its lines carry.
    pub fn add_file(&mut self, file: &str) -> usize {
        self.files.push(file.to_owned());
        self.files.len() - 1
    }

    /// What messages call a file.
    pub fn file(&self, number: usize) -> &str {
        self.files.get(number).map_or("", String::as_str)
    }

    /// Remembers the line of a place.
    pub fn locate(&mut self, place: &Place, line: Line) {
        self.origins.insert(place.0.clone(), Origin { line, typed: None });
    }

    /// Remembers that the value of a located place came from the environment, and how it was typed.
    pub fn expanded(&mut self, place: &Place, typed: &str, value: &str) {
        if let Some(origin) = self.origins.get_mut(&place.0) {
            origin.typed = Some(typed.to_owned());
        }
        self.expanded.insert(value.to_owned(), typed.to_owned());
    }

    /// Notes what is wrong at a place: the file is refused.
    pub fn problem(&mut self, place: &Place, message: impl Into<String>) {
        let line = self.line(place);
        self.problem_on(line, place, message);
    }

    /// As [`Findings::problem`], where the line is better known than the place.
    pub fn problem_on(&mut self, line: Line, place: &Place, message: impl Into<String>) {
        let problem = self.finding(line, place, message.into());
        self.problems.push((line, problem));
    }

    /// Notes what is allowed at a place but looks like a mistake.
    pub fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.warning_on(self.line(place), place, message);
    }

    /// As [`Findings::warning`], where the line is better known than the place.
    pub fn warning_on(&mut self, line: Line, place: &Place, message: impl Into<String>) {
        let warning = self.finding(line, place, message.into());
        self.warnings.push((line, warning));
    }

    /// A value in quotes for a message. One from the environment is shown as it was typed (`${NAME}`), wherever
    /// it ended up: it may be a secret.
    pub fn quote(&self, place: &Place, value: &str) -> String {
        let typed_here = self.origins.get(&place.0).and_then(|origin| origin.typed.as_ref());
        quoted(typed_here.or(self.expanded.get(value)).map_or(value, String::as_str))
    }

    /// The problems and the warnings, in the order of the files and their lines, nothing twice.
    pub fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |mut list: Vec<(Line, Problem)>| {
            list.sort_by_key(|(line, _)| *line);
            list.dedup();
            list.into_iter().map(|(_, problem)| problem).collect()
        };
        (sorted(self.problems), sorted(self.warnings))
    }

    fn finding(&self, line: Line, place: &Place, message: String) -> Problem {
        let file = self.file(line.file).to_owned();
        Problem { file, line: line.number, place: place.0.clone(), message }
    }

    /// Returns the line of the place, or, if it is missing, of the mapping that it belongs to.
    fn line(&self, place: &Place) -> Line {
        let mut place = place.0.as_str();
        loop {
            if let Some(origin) = self.origins.get(place) {
                return origin.line;
            }
            if place.is_empty() {
                return Line { file: 0, number: 0 };
            }
            place = Place::parent(place);
        }
    }
}

/// Text in quotes, control characters escaped and cut where a message would become unreadable.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", bounded(text, 80))
}

fn bounded(text: &str, characters: usize) -> Cow<'_, str> {
    // No character is shorter than a byte.
    if text.len() <= characters {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(characters) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// ` did you mean "interval"?` behind a semicolon, if a known name is near enough; else nothing.
pub(super) fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // The comparison is quadratic in the length, and so long a name is no typing error.
    if found.len() > 64 {
        return String::new();
    }
    let near = known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&found.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 5 && *distance < name.chars().count())
        .min();
    near.map_or_else(String::new, |(_, name)| format!("; did you mean {name:?}?"))
}
