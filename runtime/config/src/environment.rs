//! Variables: those of the process, and below them those of a `.env` file.
//!
//! This is heald's own `.env`. The environment files of supervised services have another parser with rules of their own, in
//! heald-supervisor.
//!
//! Nothing here looks at the process's own environment; it is handed in, so that reading a configuration is a function of
//! its arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::problem::{ConfigProblem, File, SourceSpan};

/// Names to values.
pub type Environment = BTreeMap<String, String>;

/// Adds what a `.env` file says and the environment does not.
///
/// `KEY=value`, one a line; `export` before it is allowed, as are blank lines and `#` comments. A bare value ends at ` #`;
/// one in single quotes is literal; in double quotes `\n`, `\t`, `\"`, `\\` and `\$` are understood. Variables within are
/// not expanded.
///
/// # Errors
/// Every line that is none of these.
pub(super) fn with_dotenv(mut real: Environment, name: &str, text: &str) -> Result<Environment, Vec<ConfigProblem>> {
    let file = Arc::new(File { name: name.to_owned(), text: text.to_owned() });
    let mut problems = Vec::new();
    let mut said = Environment::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        match assignment(line) {
            Ok(Some((key, value))) => {
                said.insert(key, value);
            }
            Ok(None) => {}
            Err(message) => {
                let span = start..start + line.trim_end().len();
                problems.push(ConfigProblem::at(SourceSpan { file: Arc::clone(&file), span }, "", message));
            }
        }
        start += line.len();
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for (key, value) in said {
        real.entry(key).or_insert(value);
    }
    Ok(real)
}

fn assignment(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim();
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (key, value) = line.split_once('=').ok_or("this is not a variable; write KEY=value")?;
    let key = key.trim_end();
    if !is_name(key) {
        return Err(format!("`{key}` is not the name of a variable; write letters, digits and _"));
    }
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(value.get(1..).unwrap_or_default(), quote)?,
        _ => bare(value).to_owned(),
    };
    Ok(Some((key.to_owned(), value)))
}

/// Whether a shell would take it for a variable's name.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A `#` is a comment only behind white space: colours and fragments of URLs have one too.
fn bare(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    let comment =
        value.char_indices().zip(value.chars().skip(1)).find(|((_, c), next)| c.is_whitespace() && *next == '#');
    let end = comment.map_or(value.len(), |((at, _), _)| at);
    value.get(..end).unwrap_or(value).trim_end()
}

fn quoted(text: &str, quote: char) -> Result<String, String> {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' if quote == '"' => match rest.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                Some(other) => value.extend(['\\', other]),
                None => break,
            },
            c if c == quote => {
                let after = rest.as_str().trim_start();
                return if after.is_empty() || after.starts_with('#') {
                    Ok(value)
                } else {
                    Err(format!("`{after}` follows the closing quote; begin a comment with #"))
                };
            }
            c => value.push(c),
        }
    }
    Err(format!("the closing {quote} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Environment {
        with_dotenv(Environment::new(), ".env", text).unwrap()
    }

    #[test]
    fn a_comment_behind_a_value_is_cut() {
        let read =
            read("HEALTH_CHECK_INTERVAL=2  # seconds\nCOLOUR=#fff\nURL=http://h/#top\nEMPTY=\nNONE= # nothing\n");
        assert_eq!(read["HEALTH_CHECK_INTERVAL"], "2");
        assert_eq!(read["URL"], "http://h/#top");
        assert_eq!((read["EMPTY"].as_str(), read["NONE"].as_str(), read["COLOUR"].as_str()), ("", "", ""));
    }

    #[test]
    fn quotes_and_export_are_understood() {
        let read = read("export A=\"x # y\\n\\\"z\\\"\" # c\nB='l\\n$X'\r\n  C = plain text \n\n# D=1\n");
        assert_eq!(read["A"], "x # y\n\"z\"");
        assert_eq!(read["B"], "l\\n$X");
        assert_eq!(read["C"], "plain text");
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn the_real_environment_wins() {
        let real = Environment::from([("A".to_owned(), "real".to_owned())]);
        let both = with_dotenv(real, ".env", "A=file\nB=file\n").unwrap();
        assert_eq!((both["A"].as_str(), both["B"].as_str()), ("real", "file"));
    }

    #[test]
    fn every_bad_line_is_named() {
        let problems = with_dotenv(Environment::new(), ".env", "GOOD=1\nbad\n1X=2\nQ=\"open\nR='a' b\n").unwrap_err();
        let lines: Vec<_> = problems.iter().map(|p| p.place.as_ref().unwrap().line()).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert!(problems[0].to_string().contains("KEY=value"));
    }
}
