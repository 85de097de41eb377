//! What is wrong with a configuration: file, line, key, and what is allowed there.
//!
//! A problem never stops the reading of the rest: people mend a file in one go, not one line a run.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A file as it was written, before anything was put in for `${NAME}`.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, for people.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A part of a file, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpan {
    /// Which file.
    pub file: Arc<File>,
    /// Which part.
    pub span: Range<usize>,
}

impl SourceSpan {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    fn before(&self) -> &str {
        let end = self.span.start.min(self.file.text.len());
        // A span that begins within a character can only come from a fault of ours; the line is then still nearly right.
        self.file.text.get(..end).unwrap_or_default()
    }

    /// The line's text, how many characters stand before the place in it, and how many it covers there.
    fn excerpt(&self) -> (&str, usize, usize) {
        let start = self.before().rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.file.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let column = self.before().get(start..).map_or(0, |before| before.chars().count());
        let covered = self.file.text.get(self.span.clone()).unwrap_or_default();
        let width = covered.lines().next().map_or(0, |first| first.chars().count());
        (line, column, width.max(1))
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where; None: nowhere in a file (a command-line option, a default).
    pub place: Option<SourceSpan>,
    /// The dotted key, if it is about one.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl ConfigProblem {
    /// A problem at a place.
    pub fn at(place: SourceSpan, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: Some(place), key: key.into(), message: message.into() }
    }

    /// A problem of no line.
    pub fn of(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: None, key: key.into(), message: message.into() }
    }

    /// One line, without the excerpt: for a log.
    pub fn headline(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{}:{}: ", place.file.name, place.line()));
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{}{key}{}", place.unwrap_or_default(), self.message)
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.headline())?;
        let Some(place) = &self.place else { return Ok(()) };
        let (line, column, width) = place.excerpt();
        let number = place.line().to_string();
        let margin = " ".repeat(number.len());
        // Tabs are kept, so that the caret stands below its character.
        let indent: String = line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(out, "\n  {number} | {line}\n  {margin} | {indent}{}", "^".repeat(width))
    }
}

/// All that is wrong, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblems(pub Vec<ConfigProblem>);

impl fmt::Display for ConfigProblems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(out, "{problem}")?;
        }
        match self.0.len() {
            1 => out.write_str("1 problem"),
            many => write!(out, "{many} problems"),
        }
    }
}

impl std::error::Error for ConfigProblems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_the_line_with_a_caret() {
        let text = "[server]\n\tport = \"ä\" # x\n".to_owned();
        let span = text.find('"').unwrap()..text.find(" #").unwrap();
        let file = Arc::new(File { name: "heald.toml".into(), text });
        let problem = ConfigProblem::at(SourceSpan { file, span }, "server.port", "must be a number");
        let expected = "heald.toml:2: server.port: must be a number\n  2 | \tport = \"ä\" # x\n    | \t       ^^^";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn a_place_at_the_end_of_a_file_is_still_a_place() {
        let file = Arc::new(File { name: "x".into(), text: "a =".into() });
        let problem = ConfigProblem::at(SourceSpan { file, span: 3..9 }, "", "a value is missing");
        assert_eq!(problem.to_string(), "x:1: a value is missing\n  1 | a =\n    |    ^");
    }
}
