//! Puts variables into the text of a configuration file, before TOML sees it.
//!
//! `${NAME}` is the variable's value, `${NAME:-default}` the default where it is unset or empty (as in a shell; defaults
//! nest), `$${` a literal `${`. A small lexer knows where in TOML it is, because that decides what a value may do:
//!
//! | within | a value |
//! |---|---|
//! | a comment | is not put in |
//! | `"..."` and `"""..."""` | is escaped: it cannot end the string, nor add a line |
//! | `'...'` and `'''...'''` | must have no `'` and no control character, for there is no escaping them |
//! | nothing | must be a number, `true` or `false` |
//!
//! So a value is never more than a value: it cannot add a key, a table or a comment, and lines keep their numbers.

use std::ops::Range;

use super::environment::{Environment, is_name};

/// How deep defaults may nest: far more than anyone reads.
const DEEPEST: usize = 8;

/// A file's text with the variables put in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interpolated {
    pub(super) text: String,
    /// What was read, in order.
    pub(super) variables: Vec<Read>,
    /// What was put in, in order: where in the new text, and for what of the old.
    replaced: Vec<(Range<usize>, Range<usize>)>,
    pub(super) faults: Vec<InterpolationFault>,
}

/// A variable that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) name: String,
    /// What it came to; None: it is unset and has no default.
    pub(super) value: Option<String>,
    /// True if the value is the file's default.
    pub(super) default: bool,
}

/// What is wrong, and where in the old text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InterpolationFault {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

impl Interpolated {
    /// The place in the old text of a place in the new.
    pub(super) fn original(&self, span: Range<usize>) -> Range<usize> {
        let start = match self.replaced.iter().rev().find(|(new, _)| new.start <= span.start) {
            Some((new, old)) if span.start < new.end => old.start,
            Some((new, old)) => old.end + (span.start - new.end),
            None => span.start,
        };
        let end = match self.replaced.iter().rev().find(|(new, _)| new.start < span.end) {
            Some((new, old)) => old.end + span.end.saturating_sub(new.end),
            None => span.end,
        };
        start..end.max(start)
    }
}

/// Where in TOML the lexer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Comment,
    Basic,
    Literal,
    BasicLines,
    LiteralLines,
}

/// See the module. Faults do not stop it.
pub(super) fn interpolate(text: &str, environment: &Environment) -> Interpolated {
    let mut lexer = Lexer { text, at: 0, within: Within::Nothing, environment, out: Interpolated::default() };
    while lexer.step() {}
    lexer.out
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    within: Within,
    environment: &'a Environment,
    out: Interpolated,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(c) = rest.chars().next() else { return false };
        if self.within != Within::Comment {
            if rest.starts_with("$${") {
                self.replace(self.at..self.at + 3, "${");
                return true;
            }
            if rest.starts_with("${") {
                self.variable();
                return true;
            }
        }
        let starts = |quotes: &str| rest.starts_with(quotes);
        let (length, within) = match (self.within, c) {
            (Within::Nothing, '#') => (1, Within::Comment),
            (Within::Nothing, '"') if starts("\"\"\"") => (3, Within::BasicLines),
            (Within::Nothing, '\'') if starts("'''") => (3, Within::LiteralLines),
            (Within::Nothing, '"') => (1, Within::Basic),
            (Within::Nothing, '\'') => (1, Within::Literal),
            (Within::BasicLines, '"') if starts("\"\"\"") => (closing(rest, '"'), Within::Nothing),
            (Within::LiteralLines, '\'') if starts("'''") => (closing(rest, '\''), Within::Nothing),
            (Within::Basic, '"') | (Within::Literal, '\'') => (1, Within::Nothing),
            // A string that is not closed in its line is TOML's to complain of.
            (Within::Comment | Within::Basic | Within::Literal, '\n') => (1, Within::Nothing),
            (Within::Basic | Within::BasicLines, '\\') => {
                (1 + rest.chars().nth(1).map_or(0, char::len_utf8), self.within)
            }
            (within, c) => (c.len_utf8(), within),
        };
        self.out.text.push_str(rest.get(..length).unwrap_or(rest));
        self.at += length;
        self.within = within;
        true
    }

    fn variable(&mut self) {
        let start = self.at;
        match self.expand(start, DEEPEST) {
            Ok((value, end)) => {
                if self.within == Within::Nothing && !is_plain(&value) {
                    let name = self.out.variables.last().map_or("", |read| read.name.as_str());
                    let message = format!(
                        "`{name}` is `{value}`; outside quotes only a number, true or false can be put in, so write it in double quotes"
                    );
                    self.out.faults.push(InterpolationFault { span: start..end, message });
                }
                self.replace(start..end, &value);
            }
            Err((span, message)) => {
                // Something that is no error of its own stands in, so that the rest is read too.
                let end = span.end.max(start + 2);
                self.out.faults.push(InterpolationFault { span, message });
                self.replace(start..end, if self.within == Within::Nothing { "0" } else { "" });
            }
        }
    }

    fn replace(&mut self, old: Range<usize>, with: &str) {
        let start = self.out.text.len();
        self.out.text.push_str(with);
        self.at = old.end;
        self.out.replaced.push((start..self.out.text.len(), old));
    }

    /// What stands for the `${...}` at `start`, as TOML source, and where it ends.
    fn expand(&mut self, start: usize, depth: usize) -> Result<(String, usize), (Range<usize>, String)> {
        let form = "`${` begins a variable: write ${NAME} or ${NAME:-default}; for the characters themselves write $${";
        let inner = self.text.get(start + 2..).unwrap_or_default();
        let length = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
        let (name, rest) = inner.split_at(length);
        let after = start + 2 + length;
        if !is_name(name) || depth == 0 {
            return Err((start..after, form.to_owned()));
        }
        let (default, end) = if rest.starts_with('}') {
            (None, after + 1)
        } else if rest.starts_with(":-") {
            let (default, end) = self.default(start, after + 2, depth)?;
            (Some(default), end)
        } else {
            return Err((start..after, form.to_owned()));
        };
        let set = self.environment.get(name).filter(|value| default.is_none() || !value.is_empty());
        let (source, value, defaulted) = match (set, default) {
            (Some(value), _) => (self.escape(name, value).map_err(|why| (start..end, why))?, value.clone(), false),
            (None, Some(default)) => (default.clone(), default, true),
            (None, None) => {
                self.out.variables.push(Read { name: name.to_owned(), value: None, default: false });
                let why = format!("`{name}` is not set and has no default; set it, or write ${{{name}:-default}}");
                return Err((start..end, why));
            }
        };
        self.out.variables.push(Read { name: name.to_owned(), value: Some(value), default: defaulted });
        Ok((source, end))
    }

    /// The default that begins at `at`, and where the variable ends. It is TOML source already, as the file's writer wrote it.
    fn default(
        &mut self,
        start: usize,
        mut at: usize,
        depth: usize,
    ) -> Result<(String, usize), (Range<usize>, String)> {
        let mut default = String::new();
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let Some(c) = rest.chars().next() else { break };
            match (c, self.within) {
                ('}', _) => return Ok((default, at + 1)),
                ('\n', _)
                | ('"', Within::Basic | Within::BasicLines)
                | ('\'', Within::Literal | Within::LiteralLines) => {
                    break;
                }
                _ if rest.starts_with("${") => {
                    let (value, end) = self.expand(at, depth - 1)?;
                    default.push_str(&value);
                    at = end;
                }
                ('\\', Within::Basic | Within::BasicLines) => {
                    let length = 1 + rest.chars().nth(1).map_or(0, char::len_utf8);
                    default.push_str(rest.get(..length).unwrap_or(rest));
                    at += length;
                }
                (c, _) => {
                    default.push(c);
                    at += c.len_utf8();
                }
            }
        }
        Err((start..at, "the closing } of this variable is missing".to_owned()))
    }

    fn escape(&self, name: &str, value: &str) -> Result<String, String> {
        match self.within {
            Within::Nothing | Within::Comment => Ok(value.trim().to_owned()),
            Within::Basic | Within::BasicLines => Ok(value.chars().fold(String::new(), |mut text, c| {
                match c {
                    '"' | '\\' => text.extend(['\\', c]),
                    c if c.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(c))),
                    c => text.push(c),
                }
                text
            })),
            Within::Literal | Within::LiteralLines => {
                if value.contains(|c: char| c == '\'' || (c.is_control() && c != '\t')) {
                    return Err(format!(
                        "`{name}` holds a quote or a control character, which single quotes cannot carry; use double quotes"
                    ));
                }
                Ok(value.to_owned())
            }
        }
    }
}

/// A multi-line string may end with one or two quotes of its own.
fn closing(rest: &str, quote: char) -> usize {
    rest.chars().take(5).take_while(|c| *c == quote).count()
}

/// A number or a truth, as TOML writes them.
fn is_plain(value: &str) -> bool {
    if matches!(value, "true" | "false") {
        return true;
    }
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let value = value.strip_prefix(['+', '-']).unwrap_or(value);
    let (number, exponent) = value.split_once(['e', 'E']).map_or((value, None), |(n, e)| (n, Some(e)));
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn put(text: &str, pairs: &[(&str, &str)]) -> String {
        let out = interpolate(text, &environment(pairs));
        assert_eq!(out.faults, [], "{text}");
        out.text
    }

    fn fault(text: &str, pairs: &[(&str, &str)]) -> String {
        let out = interpolate(text, &environment(pairs));
        assert_eq!(out.faults.len(), 1, "{text}: {out:?}");
        out.faults[0].message.clone()
    }

    #[test]
    fn a_variable_a_default_and_an_escape() {
        let set = &[("A", "1"), ("E", "")];
        assert_eq!(put(r#"x = "${A} ${B:-2} ${E:-3} $${A} $A $""#, set), r#"x = "1 2 3 ${A} $A $""#);
        assert_eq!(put("x = ${A}\ny = ${B:-2.5e3}\nz = ${B:-true}", set), "x = 1\ny = 2.5e3\nz = true");
        assert_eq!(put(r#"x = "${E}""#, set), r#"x = """#, "empty and without default is empty");
    }

    #[test]
    fn defaults_nest() {
        assert_eq!(put(r#"x = "${A:-${B:-${C:-deep}}}""#, &[]), r#"x = "deep""#);
        assert_eq!(put(r#"x = "${A:-${B:-c}d}""#, &[("B", "b")]), r#"x = "bd""#);
    }

    #[test]
    fn a_value_cannot_break_out_of_its_string() {
        let evil = "\"\ninjected = true\n#\\";
        let text = put("x = \"${A}\"\ny = 1\n", &[("A", evil)]);
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["x"].as_str(), Some(evil));
        assert_eq!(table.len(), 2, "{text}");
        assert_eq!(text.lines().count(), 2, "lines keep their numbers");
        let text = put("x = \"\"\"\n${A}\"\"\"\n", &[("A", "\"\"\"")]);
        assert_eq!(toml::from_str::<toml::Table>(&text).unwrap()["x"].as_str(), Some("\"\"\""));
    }

    #[test]
    fn a_literal_string_refuses_what_it_cannot_carry() {
        assert_eq!(put("x = '${A}'", &[("A", "c:\\d \"e\"")]), "x = 'c:\\d \"e\"'");
        assert!(fault("x = '${A}'", &[("A", "it's")]).contains("double quotes"));
        assert!(fault("x = '''${A}'''", &[("A", "a\nb")]).contains("double quotes"));
    }

    #[test]
    fn outside_quotes_only_numbers_and_truths_pass() {
        for good in ["0", "-1", "+3", "12.5", "1e9", "1.5E-3", "true", "false", " 7 "] {
            assert_eq!(put("x = ${A}", &[("A", good)]), format!("x = {}", good.trim()));
        }
        for bad in ["abc", "1\ny = 2", "[1]", "007", "1.", ".5", "inf", "nan", "0x10", "1 # c", "\"x\"", "1_000", "-"] {
            assert!(fault("x = ${A}", &[("A", bad)]).contains("double quotes"), "{bad}");
        }
    }

    #[test]
    fn comments_and_keys_are_left_alone() {
        let text =
            "# ${NOT_SET}\nx = \"# ${A}\" # it's ${NOT_SET} \"\ny = '#'\nz = \"\"\"a\"b\"\"\"\"\" # ${NOT_SET}\n";
        assert_eq!(put(text, &[("A", "1")]), text.replace("${A}", "1"));
    }

    #[test]
    fn what_is_malformed_is_named() {
        assert!(fault("x = \"${A}\"", &[]).contains("`A` is not set and has no default"));
        assert!(fault("x = \"${A\"", &[("A", "1")]).contains("write ${NAME}"));
        assert!(fault("x = \"${A:-b\"", &[]).contains("closing }"));
        assert!(fault("x = \"${}\"", &[]).contains("write ${NAME}"));
        assert!(fault("x = \"${1A}\"", &[]).contains("write ${NAME}"));
    }

    #[test]
    fn several_faults_are_several() {
        let out = interpolate("a = \"${A}\"\nb = ${B}\nc = \"${C}\"\n", &Environment::new());
        assert_eq!(out.faults.len(), 3);
        assert_eq!(out.text.lines().count(), 3);
    }

    #[test]
    fn places_are_found_back_in_the_old_text() {
        let old = "a = \"${LONG_NAME}\" \nb = ${X:-5} # c";
        let out = interpolate(old, &environment(&[("LONG_NAME", "x")]));
        let span = |new: &str| out.text.find(new).map(|at| at..at + new.len()).unwrap();
        assert_eq!(&old[out.original(span("\"x\""))], "\"${LONG_NAME}\"");
        assert_eq!(&old[out.original(span("x"))], "${LONG_NAME}");
        assert_eq!(&old[out.original(span("b"))], "b");
        assert_eq!(&old[out.original(span("5"))], "${X:-5}");
        assert_eq!(&old[out.original(span("# c"))], "# c");
    }

    #[test]
    fn what_was_read_is_remembered() {
        let out = interpolate("x = \"${A:-${B:-3}} ${C}\"", &environment(&[("C", "c")]));
        let read: Vec<_> = out.variables.iter().map(|v| (v.name.as_str(), v.value.as_deref(), v.default)).collect();
        assert_eq!(read, [("B", Some("3"), true), ("A", Some("3"), true), ("C", Some("c"), false)]);
    }
}
