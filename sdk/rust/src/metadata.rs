//! What a plug-in's file says of itself without being run: a custom section named [`SECTION`].
//!
//! The export macros write it, one JSON object per role and line, at compile time; the build moves it from the core module to
//! the component, where `heald plugin inspect` reads it. It is a claim. What a component really imports, and what an
//! instance really offers, the host finds out for itself.

/// The custom section's name.
pub const SECTION: &str = "heald:plugin";

/// What is said of one role of a plug-in. Its methods are what may follow the type in an export macro.
#[derive(Debug, Clone, Copy)]
pub struct Metadata {
    role: &'static str,
    name: &'static str,
    version: &'static str,
    summary: &'static str,
    config: &'static str,
    capabilities: &'static [&'static str],
    cpu_ms: u64,
    memory_mib: u64,
}

impl Metadata {
    /// What `Cargo.toml` says, for one role.
    pub const fn new(role: &'static str, name: &'static str, version: &'static str, summary: &'static str) -> Self {
        Self { role, name, version, summary, config: "{}", capabilities: &["log"], cpu_ms: 0, memory_mib: 0 }
    }
    /// A name other than the crate's.
    pub const fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
    /// One line on what it does, other than the crate's description.
    pub const fn summary(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }
    /// The JSON Schema of its configuration, as JSON text: `include_str!("../config.schema.json")`.
    pub const fn config(self, schema: &'static str) -> Self {
        Self { config: schema, ..self }
    }
    /// What it needs granted, `log` included: `&["log", "kv"]`.
    pub const fn capabilities(self, names: &'static [&'static str]) -> Self {
        Self { capabilities: names, ..self }
    }
    /// Suggested guest time for one call, in milliseconds; 0, the default, suggests nothing.
    pub const fn cpu_ms(self, cpu_ms: u64) -> Self {
        Self { cpu_ms, ..self }
    }
    /// Suggested memory, in MiB; 0, the default, suggests nothing.
    pub const fn memory_mib(self, memory_mib: u64) -> Self {
        Self { memory_mib, ..self }
    }

    /// How many bytes [`encode`](Self::encode) fills.
    pub const fn encoded_len(&self) -> usize {
        self.write(Writer::<0> { bytes: [], at: 0 }).at
    }

    /// The line for the section: JSON and a newline. `N` must be [`encoded_len`](Self::encoded_len).
    pub const fn encode<const N: usize>(&self) -> [u8; N] {
        self.write(Writer::<N> { bytes: [0; N], at: 0 }).bytes
    }

    const fn write<const N: usize>(&self, out: Writer<N>) -> Writer<N> {
        let out = out.raw("{\"name\":").text(self.name).raw(",\"version\":").text(self.version);
        let out = out.raw(",\"summary\":").text(self.summary).raw(",\"roles\":[").text(self.role);
        let mut out = out.raw("],\"config\":").one_line(self.config).raw(",\"capabilities\":[");
        let mut rest = self.capabilities;
        let mut first = true;
        while let [name, tail @ ..] = rest {
            out = if first { out.text(name) } else { out.raw(",").text(name) };
            first = false;
            rest = tail;
        }
        let out = out.raw("],\"limits\":{\"cpu_ms\":").number(self.cpu_ms);
        out.raw(",\"memory_mib\":").number(self.memory_mib).raw("}}\n")
    }
}

/// JSON written at compile time. With `N` 0 it only counts.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

// A constant has no iterators and no slices by range yet, hence the loops; an index out of bounds is a compile error here.
#[allow(clippy::indexing_slicing)]
impl<const N: usize> Writer<N> {
    const fn byte(mut self, byte: u8) -> Self {
        if N > 0 {
            self.bytes[self.at] = byte;
        }
        self.at += 1;
        self
    }

    const fn raw(mut self, text: &str) -> Self {
        let mut rest = text.as_bytes();
        while let [byte, tail @ ..] = rest {
            self = self.byte(*byte);
            rest = tail;
        }
        self
    }

    /// JSON text on one line: a line break within JSON is white space, a string cannot hold a bare one.
    const fn one_line(mut self, json: &str) -> Self {
        let mut rest = json.as_bytes();
        while let [byte, tail @ ..] = rest {
            self = self.byte(if *byte == b'\n' || *byte == b'\r' { b' ' } else { *byte });
            rest = tail;
        }
        self
    }

    const fn text(self, text: &str) -> Self {
        let mut out = self.byte(b'"');
        let mut rest = text.as_bytes();
        while let [byte, tail @ ..] = rest {
            out = match *byte {
                b'"' | b'\\' => out.byte(b'\\').byte(*byte),
                control if control < 0x20 => {
                    let digits = b"0123456789abcdef";
                    out.raw("\\u00").byte(digits[(control >> 4) as usize]).byte(digits[(control & 15) as usize])
                }
                plain => out.byte(plain),
            };
            rest = tail;
        }
        out.byte(b'"')
    }

    const fn number(self, number: u64) -> Self {
        let out = if number >= 10 { self.number(number / 10) } else { self };
        out.byte(b'0' + (number % 10) as u8)
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __metadata {
    ($role:literal $(, $said:ident : $value:expr)*) => {
        #[allow(unsafe_code)]
        const _: () = {
            const METADATA: $crate::metadata::Metadata = $crate::metadata::Metadata::new(
                $role,
                ::std::env!("CARGO_PKG_NAME"),
                ::std::env!("CARGO_PKG_VERSION"),
                ::std::env!("CARGO_PKG_DESCRIPTION"),
            )$(.$said($value))*;
            #[cfg_attr(target_family = "wasm", used, unsafe(link_section = "heald:plugin"))]
            #[allow(dead_code)]
            static LINE: [u8; METADATA.encoded_len()] = METADATA.encode();
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_json_whatever_is_said() {
        const SAID: Metadata = Metadata::new("detector", "a\"b\\c", "1.2.3", "tab\there, ümlaut")
            .config("{\n  \"type\": \"object\"\n}")
            .capabilities(&["log", "kv"])
            .cpu_ms(5)
            .memory_mib(160);
        let line: [u8; SAID.encoded_len()] = SAID.encode();
        let (last, json) = line.split_last().unwrap();
        assert_eq!(*last, b'\n');
        assert!(!json.contains(&b'\n'));
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "name": "a\"b\\c", "version": "1.2.3", "summary": "tab\there, ümlaut", "roles": ["detector"],
                "config": {"type": "object"}, "capabilities": ["log", "kv"], "limits": {"cpu_ms": 5, "memory_mib": 160},
            })
        );
    }
}
