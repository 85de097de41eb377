//! Text from guests, made fit to be shown: no control characters that a terminal or a log would obey, and an end.

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

/// Whether a terminal obeys it rather than shows it: control characters, and those that reorder on screen what follows them.
pub(crate) fn is_obeyed(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
