//! The keys in which two configurations differ, and how far each of them reaches.
//!
//! [`compare!`](compare) names every field of a type: a field without a class does not compile.
//! Must not know: which keys there are.

/// How far a change of a key reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Schedules, limits, access: what there is goes on, under the new value.
    Settings,
    /// What a resource is: its resources are other resources.
    Meaning,
    /// The running process keeps the old value; only a new process takes the new one.
    Restart,
}

/// The keys that differ, in the order in which they were compared; each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<(&'static str, Reach)>);

impl Keys {
    /// Notes a key that differs.
    pub fn note(&mut self, is_same: bool, reach: Reach, key: &'static str) {
        if !is_same && !self.0.contains(&(key, reach)) {
            self.0.push((key, reach));
        }
    }

    /// How far the farthest of them reaches. Returns `None` if no key differs.
    pub fn reach(&self) -> Option<Reach> {
        self.0.iter().map(|(_, reach)| *reach).max()
    }

    /// The keys that reach so far.
    pub fn of(&self, wanted: Reach) -> Vec<&'static str> {
        self.0.iter().filter(|(_, reach)| *reach == wanted).map(|(key, _)| *key).collect()
    }

    /// All of them, each once.
    pub fn all(&self) -> Vec<&'static str> {
        let mut keys: Vec<&'static str> = Vec::new();
        for (key, _) in &self.0 {
            if !keys.contains(key) {
                keys.push(key);
            }
        }
        keys
    }
}

/// Compares two values of a type field by field. Those under `apart` are compared elsewhere, or say nothing.
macro_rules! compare {
    (
        $kind:ident, $old:expr, $new:expr, $keys:expr,
        { $($reach:ident: $($field:ident = $key:literal),+;)* }, apart: [$($apart:ident),*]
    ) => {{
        // A field that stands in no list is an error of the compiler.
        let $kind { $($($field: _,)+)* $($apart: _,)* } = $old;
        $($($keys.note($old.$field == $new.$field, Reach::$reach, $key);)+)*
    }};
}
pub(super) use compare;
