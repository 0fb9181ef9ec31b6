//! Numbers in one to ten bytes, seven bits each, the lowest first. Pure.

/// Appends `number`.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

/// Appends a length.
pub(crate) fn put_length(out: &mut Vec<u8>, length: usize) {
    put(out, length as u64);
}

fn low_byte(number: u64) -> u8 {
    (number & 0x7F) as u8
}

/// Reads bytes from the front; every method gives None where the bytes end or are no number.
#[derive(Clone, Debug)]
pub(crate) struct Reading<'a>(pub(crate) &'a [u8]);

impl<'a> Reading<'a> {
    /// The next number.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if bits.checked_shl(shift)? >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The next number, as a length.
    pub(crate) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next eight bytes, lowest first.
    pub(crate) fn word(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers: Vec<u64>, shifts in proptest::collection::vec(0_u32..64, 0..9)) {
            let numbers: Vec<u64> = numbers.into_iter().chain(shifts.iter().map(|shift| u64::MAX >> shift)).collect();
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| put(&mut bytes, *number));
            let mut reading = Reading(&bytes);
            for number in numbers {
                prop_assert_eq!(reading.number(), Some(number));
            }
            prop_assert_eq!(reading.number(), None);
        }

        #[test]
        fn garbage_is_no_number_or_one(bytes: Vec<u8>) {
            let mut reading = Reading(&bytes);
            while reading.number().is_some() {}
            prop_assert!(reading.0.len() <= bytes.len());
        }
    }
}
