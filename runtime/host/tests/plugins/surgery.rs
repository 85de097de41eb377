//! Components that are changed after they were built: sections taken out, put in, made up.

/// A custom section.
pub(crate) fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    let named = [length(name.len()).as_slice(), name.as_bytes(), data].concat();
    [&[0], length(named.len()).as_slice(), &named].concat()
}

/// The component without the custom sections of that name at its outermost level.
pub(crate) fn without(component: &[u8], name: &str) -> Vec<u8> {
    let (mut left, mut rest) = component.split_at(8);
    let mut kept = left.to_vec();
    while !rest.is_empty() {
        let (size, header) = read_length(&rest[1..]);
        (left, rest) = rest.split_at(1 + header + size);
        let (named, digits) = read_length(&left[1 + header..]);
        let is_it = left[0] == 0 && &left[1 + header + digits..][..named] == name.as_bytes();
        if !is_it {
            kept.extend_from_slice(left);
        }
    }
    kept
}

/// The component with another word about itself.
pub(crate) fn saying(component: &[u8], said: &str) -> Vec<u8> {
    [without(component, "heald:plugin"), custom("heald:plugin", said.as_bytes())].concat()
}

/// The component, grown by a section that means nothing.
pub(crate) fn grown(component: &[u8], by: usize) -> Vec<u8> {
    [component, &custom("padding", &vec![0; by])].concat()
}

fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = vec![(length & 0x7f) as u8];
    while length > 0x7f {
        *bytes.last_mut().unwrap() |= 0x80;
        length >>= 7;
        bytes.push((length & 0x7f) as u8);
    }
    bytes
}

fn read_length(bytes: &[u8]) -> (usize, usize) {
    let digits = 1 + bytes.iter().take_while(|byte| **byte & 0x80 != 0).count();
    let number = bytes[..digits].iter().rev().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f));
    (number, digits)
}
