//! Custom sections: what follows an id of nought and a length.

/// What every component begins with.
pub const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// This component with one more section at its front, in which it speaks of itself; the first one that is found counts.
pub fn with(component: &[u8], said: &[u8]) -> Vec<u8> {
    let (header, rest) = component.split_at(HEADER.len().min(component.len()));
    [header, &custom("heald:plugin", said), rest].concat()
}

/// A custom section.
pub fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    let mut contents = length(name.len());
    contents.extend(name.as_bytes());
    contents.extend(data);
    [vec![0], length(contents.len()), contents].concat()
}

/// A number in LEB128.
fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}
