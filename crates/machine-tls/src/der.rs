//! As much of DER (X.690) as is needed to take a certificate apart and put it together again.

/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// The INTEGER 0.
pub(crate) const ZERO: [u8; 3] = [0x02, 0x01, 0x00];

/// The element at the beginning: its tag, its content, all its bytes, and what follows. `None` where the bytes are
/// not DER or have a form that certificates and keys don't use.
fn split(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
    };
    let (content, after) = rest.split_at_checked(len)?;
    Some(Element { tag, content, whole: &bytes[..bytes.len() - after.len()], after })
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
    after: &'a [u8],
}

/// The content of the one element that the bytes are, if it has this tag.
pub(crate) fn content(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let element = split(bytes)?;
    (element.tag == tag && element.after.is_empty()).then_some(element.content)
}

/// The elements of the SEQUENCE that the bytes are, each with its tag and length.
pub(crate) fn elements(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = content(bytes, SEQUENCE)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let element = split(rest)?;
        found.push(element.whole);
        rest = element.after;
    }
    Some(found)
}

/// An element of these parts.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = vec![tag];
    if let Ok(short @ 0..0x80) = u8::try_from(len) {
        out.push(short);
    } else {
        let digits: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
        out.extend(digits);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_together_comes_apart(parts in proptest::collection::vec(0_usize..70_000, 0..4)) {
            let parts: Vec<_> = parts.iter().map(|len| element(OCTET_STRING, &[&vec![7; *len]])).collect();
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let whole = element(SEQUENCE, &slices);
            prop_assert_eq!(elements(&whole), Some(slices));
        }

        #[test]
        fn other_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for found in elements(&bytes).into_iter().flatten() {
                prop_assert!(found.len() >= 2);
            }
        }
    }
}
