//! `upstream_path` of a route: where its requests go on the upstream (contract §10).
//!
//! Owns the patterns taken apart: what they match, and what they are with values in them. Must not know: how values are
//! escaped, requests.

/// A path pattern taken apart: `/t/{tenant}/{*rest}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Piece>,
    /// The name of the `{*rest}` that it ends in.
    pub rest: Option<String>,
}

/// Text with at most one parameter in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    before: String,
    /// The name of its parameter. `None` if it is fixed text.
    pub parameter: Option<String>,
    after: String,
}

/// Values of parameters, by their names.
pub type Values<'a> = Vec<(&'a str, &'a str)>;

/// The value of a parameter, the last one of its name.
#[must_use]
pub fn value<'a>(values: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

impl Piece {
    fn of(text: &str) -> Piece {
        let parameter = text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
        match parameter {
            Some((before, (name, after))) => Piece {
                before: before.to_owned(),
                parameter: Some(name.trim_start_matches('*').to_owned()),
                after: after.to_owned(),
            },
            None => Piece { before: text.to_owned(), parameter: None, after: String::new() },
        }
    }

    /// Returns the value of its parameter in a text, empty if it has none. `None` if the text does not match.
    #[must_use]
    pub fn value<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.parameter.is_none() {
            return (text == self.before).then_some("");
        }
        let value = text.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        (!value.is_empty()).then_some(value)
    }

    /// Returns the text with a value in it. `None` if there is no value for its parameter.
    #[must_use]
    pub fn fill(&self, of: impl Fn(&str) -> Option<String>) -> Option<String> {
        match &self.parameter {
            Some(name) => Some(format!("{}{}{}", self.before, of(name)?, self.after)),
            None => Some(self.before.clone()),
        }
    }

    fn each(&self, change: impl Fn(&str) -> String) -> Piece {
        let (before, after) = (change(&self.before), change(&self.after));
        Piece { before, parameter: self.parameter.clone(), after }
    }
}

impl Pattern {
    /// A pattern that `validate` found well-formed.
    #[must_use]
    pub fn of(text: &str) -> Pattern {
        let mut segments: Vec<Piece> = text.split('/').skip(1).map(Piece::of).collect();
        let is_rest = text.rsplit('/').next().is_some_and(|last| last.starts_with("{*"));
        let rest = if is_rest { segments.pop().and_then(|last| last.parameter) } else { None };
        Pattern { segments, rest }
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| segment.parameter.as_deref()).chain(self.rest.as_deref())
    }

    /// The values of its parameters in a path. `{*rest}` matches nothing, too. Returns `None` if the path is none of
    /// this pattern.
    #[must_use]
    pub fn values<'a>(&'a self, path: &'a str) -> Option<Values<'a>> {
        let (mut values, left) = self.take(path)?;
        match (&self.rest, left) {
            (Some(name), Some(rest)) => values.push((name, rest)),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return None,
        }
        Some(values)
    }

    /// The values of the parameters before its end, and what of a path stands behind that.
    #[must_use]
    pub fn take<'a>(&'a self, path: &'a str) -> Option<(Values<'a>, Option<&'a str>)> {
        let mut left = Some(path.strip_prefix('/')?);
        let mut values = Vec::new();
        for segment in &self.segments {
            let text = left?;
            let (first, more) =
                text.split_once('/').map_or((text, None), |(first, more)| (first, Some(more)));
            let value = segment.value(first)?;
            values.extend(segment.parameter.as_deref().map(|name| (name, value)));
            left = more;
        }
        Some((values, left))
    }

    /// The path with these values, as they are. Returns `None` if one is missing.
    #[must_use]
    pub fn fill(&self, values: &[(&str, &str)]) -> Option<String> {
        let mut path = self.base(values)?;
        if let Some(name) = &self.rest {
            path.push('/');
            path.push_str(value(values, name)?);
        }
        Some(path)
    }

    /// The path up to its `{*rest}`, without the `/` before that.
    #[must_use]
    pub fn base(&self, values: &[(&str, &str)]) -> Option<String> {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            path.push_str(&segment.fill(|name| value(values, name).map(str::to_owned))?);
        }
        Some(path)
    }

    /// The whole segments before its first parameter, `/` if there are none.
    #[must_use]
    pub fn fixed_prefix(&self) -> String {
        let fixed = self.segments.iter().take_while(|segment| segment.parameter.is_none());
        let prefix: String = fixed.map(|segment| format!("/{}", segment.before)).collect();
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() { "/".to_owned() } else { prefix.to_owned() }
    }

    /// Returns the same pattern with its fixed text changed.
    #[must_use]
    pub fn each(&self, change: impl Fn(&str) -> String) -> Pattern {
        let segments = self.segments.iter().map(|segment| segment.each(&change)).collect();
        Pattern { segments, rest: self.rest.clone() }
    }
}

/// Where the requests of a route go on its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamPath {
    /// The value as typed.
    pub text: String,
    /// The route's own path: what clients see.
    pub client: Pattern,
    /// What the upstream sees in place of it.
    pub path: Pattern,
    /// Query parameters that are set before those of the client.
    pub query: Vec<(String, Piece)>,
}

impl UpstreamPath {
    /// `path`: of the route. Both were found well-formed.
    #[must_use]
    pub fn new(path: &str, text: &str) -> UpstreamPath {
        let (own, query) = text.split_once('?').unwrap_or((text, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), Piece::of(value))
        };
        UpstreamPath {
            text: text.to_owned(),
            client: Pattern::of(path),
            path: Pattern::of(own),
            query: pairs.map(pair).collect(),
        }
    }

    /// Whether both paths end in the same `{*rest}`: what stands before it is a prefix on either side.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.client.rest.is_some() && self.client.rest == self.path.rest
    }
}

/// A parameter's name without what some servers do not tell apart.
#[must_use]
pub fn folded(name: &str) -> String {
    let name = name.trim().trim_end_matches('\0').to_uppercase().to_lowercase();
    name.replace([' ', '.', '[', ']'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_give_the_values_of_paths_and_paths_of_values() {
        type Values = Option<&'static [(&'static str, &'static str)]>;
        let cases: [(&str, &str, Values); 12] = [
            ("/a/{x}", "/a/1", Some(&[("x", "1")])),
            ("/a/{x}", "/a/", None),
            ("/a/{x}", "/a/1/2", None),
            ("/a/v{x}.json", "/a/v1.json", Some(&[("x", "1")])),
            ("/a/v{x}.json", "/a/v.json", None),
            ("/a/{*rest}", "/a/1/2", Some(&[("rest", "1/2")])),
            ("/a/{*rest}", "/a/", Some(&[("rest", "")])),
            ("/a/{*rest}", "/a", None),
            ("/{*rest}", "/", Some(&[("rest", "")])),
            ("/{x}/b/{*rest}", "/1/b/2/", Some(&[("x", "1"), ("rest", "2/")])),
            ("/items/", "/items/", Some(&[])),
            ("/items", "/items/", None),
        ];
        for (pattern, path, wanted) in cases {
            let pattern = Pattern::of(pattern);
            let found = pattern.values(path);
            assert_eq!(found.as_deref(), wanted, "{pattern:?} {path}");
            if let Some(values) = found {
                assert_eq!(pattern.fill(&values).as_deref(), Some(path));
            }
        }
    }

    #[test]
    fn the_fixed_prefix_ends_before_the_first_parameter() {
        for (pattern, wanted) in [
            ("/a/b/{*rest}", "/a/b"),
            ("/a/v{x}", "/a"),
            ("/{*rest}", "/"),
            ("/{x}/a", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
        ] {
            assert_eq!(Pattern::of(pattern).fixed_prefix(), wanted, "{pattern}");
        }
    }
}
