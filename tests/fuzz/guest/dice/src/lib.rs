//! Answers made of bytes: each byte is a choice, so that a small change of the bytes is a small change of the answer.
//!
//! Where the bytes end every further choice is the first one, which is always the harmless one.
#![deny(unsafe_code)]

use heald_plugin::log::{self, Level};
use heald_plugin::{BadState, Error, Fact, Problem, Scalar, State};

/// Bytes that are left, taken one choice at a time.
pub struct Dice<'b>(pub &'b [u8]);

/// Memory that is handed back as it came, unless a call changes it.
pub struct Memory(pub Option<Vec<u8>>);

/// A memory that begins with this is refused, as none of ours.
const STRANGE: u8 = 0xff;

impl State for Memory {
    fn load(blob: Option<Vec<u8>>) -> Result<Self, BadState> {
        if blob.as_ref().and_then(|blob| blob.first()) == Some(&STRANGE) { Err(BadState) } else { Ok(Self(blob)) }
    }
    fn save(self) -> Option<Vec<u8>> {
        self.0
    }
}

/// Names and texts that somebody might not expect.
const TEXTS: [&str; 16] = [
    "high-cpu",
    "",
    " ",
    "two words",
    "a\nb",
    "a\u{1b}[2Jb",
    "\u{202e}evil",
    "nul\0nul",
    "\u{7f}",
    "ä…𝄞",
    "../../etc",
    "{}",
    "-",
    "\u{feff}bom",
    "\u{85}next",
    "\u{2066}isolated",
];

/// Numbers likewise.
const NUMBERS: [f64; 14] = [
    0.5,
    0.0,
    1.0,
    -0.0,
    -0.1,
    1.1,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN_POSITIVE,
    f64::EPSILON,
    5e-324,
    0.1 + 0.2,
];

/// How many of something: around the bounds that hosts have.
const COUNTS: [usize; 12] = [0, 1, 2, 3, 31, 32, 33, 63, 64, 65, 257, 4_000];

/// How long a text is that is one letter over and over.
const LENGTHS: [usize; 10] = [1, 127, 128, 129, 256, 257, 2_048, 65_536, 65_537, 300_000];

impl Dice<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// One of these.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// Eight bytes.
    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// One or none.
    pub fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.byte() % 2 == 1 { Some(make(self)) } else { None }
    }

    /// A few, or too many. What is many is mostly alike: the bytes soon end.
    pub fn many<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.one(&COUNTS);
        (0..count).map(|_| make(self)).collect()
    }

    /// A number.
    pub fn number(&mut self) -> f64 {
        match self.byte() % 3 {
            0 => self.one(&NUMBERS),
            1 => f64::from(self.byte()) / 255.0,
            _ => f64::from_bits(self.long()),
        }
    }

    /// A text.
    pub fn text(&mut self) -> String {
        match self.byte() % 4 {
            0 => self.one(&TEXTS).to_owned(),
            1 => {
                let letter = self.one(&['x', '\n', '\u{1b}', '"', '…', '[']);
                let length = self.one(&LENGTHS);
                std::iter::repeat_n(letter, length).collect()
            }
            2 => format!("{}{}", self.one(&TEXTS), self.one(&TEXTS)),
            _ => {
                let (said, rest) = self.0.split_at(usize::from(self.byte()).min(self.0.len()));
                let said = String::from_utf8_lossy(said).into_owned();
                self.0 = rest;
                said
            }
        }
    }

    /// What should be JSON.
    pub fn json(&mut self) -> String {
        match self.byte() % 6 {
            0 => "{}".to_owned(),
            1 => self.text(),
            2 => {
                let depth = self.one(&[1, 100, 126, 127, 128, 129, 5_000]);
                format!("{}{}", "[".repeat(depth), "]".repeat(depth))
            }
            3 => format!("{{\"replica\":{:?}}}", self.text()),
            4 => {
                self.one(&["1e400", "-1e-400", "18446744073709551616", "0.1", "nan", "[1,]", "\"\\ud800\""]).to_owned()
            }
            _ => format!("{{\"number\":{}}}", self.number()),
        }
    }

    /// A fact.
    pub fn fact(&mut self) -> Fact {
        let name = self.text();
        let value = match self.byte() % 3 {
            0 => Scalar::Truth(self.byte() % 2 == 1),
            1 => Scalar::Number(self.number()),
            _ => Scalar::Text(self.text()),
        };
        Fact { name, value }
    }

    /// What is remembered for the next call.
    pub fn memory(&mut self, memory: &mut Memory) {
        match self.byte() % 4 {
            0 => {}
            1 => memory.0 = None,
            2 => memory.0 = Some(vec![self.byte(); self.one(&LENGTHS)]),
            _ => memory.0 = Some(Vec::new()),
        }
    }

    /// Lines for the log, few or many.
    pub fn chatter(&mut self) {
        let levels = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];
        let lines = self.many(|dice| (dice.one(&levels), dice.text(), dice.maybe(Self::fact)));
        for (level, text, fact) in lines {
            log::write(level, &text, fact.as_slice());
        }
    }

    /// An error, where the bytes say that there is one.
    pub fn error(&mut self) -> Option<Error> {
        Some(match self.byte() % 16 {
            1 => Error::BadInput(self.text()),
            2 => Error::BadState,
            3 => Error::Unsupported(self.text()),
            4 => Error::NotFound(self.text()),
            5 => Error::Denied(self.text()),
            6 => Error::OverQuota(self.text()),
            7 => Error::Unavailable(self.text()),
            8 => Error::TimedOut,
            9 => Error::Other(self.text()),
            10 => Error::BadConfig(self.many(|dice| Problem { at: dice.text(), message: dice.text() })),
            11 => panic!("{}", self.text()),
            _ => return None,
        })
    }
}
