//! Text made fit to be shown: a guest's without the characters that a terminal or a log obeys, and an error's with its causes.
//!
//! It refuses no text: it cuts and cleans.

/// `text` without control characters (line ends and tabs become spaces), cut after `most` bytes.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(most));
    for character in text.chars() {
        if clean.len() + character.len_utf8() > most {
            clean.push('…');
            break;
        }
        match character {
            '\n' | '\t' => clean.push(' '),
            character if is_obeyed(character) => {}
            character => clean.push(character),
        }
    }
    clean
}

/// Whether a terminal obeys the character instead of showing it: control characters, and those that reorder on screen
/// what follows them.
pub(crate) fn is_obeyed(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\td\u{202e}e\u{0}", 100), "a[2Jb c de");
    }

    #[test]
    fn it_ends_between_characters() {
        assert_eq!(clean("äöü", 5), "äö…");
        assert_eq!(clean("äöü", 6), "äöü");
    }
}
