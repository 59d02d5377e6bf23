//! Which bytes go on with valid UTF-8.

/// Where in a character the text stands: how many bytes are missing and what the next may be.
#[derive(Debug)]
pub(super) struct Utf8 {
    missing: usize,
    next: std::ops::RangeInclusive<u8>,
}

impl Default for Utf8 {
    fn default() -> Self {
        Self { missing: 0, next: 0x80..=0xBF }
    }
}

/// The number of continuation bytes after `first` and the range of the first of them (Unicode
/// Standard, table 3-7), or `None` where no character starts with `first`.
fn character_start(first: u8) -> Option<(usize, std::ops::RangeInclusive<u8>)> {
    Some(match first {
        0x00..=0x7F => (0, 0x80..=0xBF),
        0xC2..=0xDF => (1, 0x80..=0xBF),
        0xE0 => (2, 0xA0..=0xBF),
        0xED => (2, 0x80..=0x9F),
        0xE1..=0xEF => (2, 0x80..=0xBF),
        0xF0 => (3, 0x90..=0xBF),
        0xF1..=0xF3 => (3, 0x80..=0xBF),
        0xF4 => (3, 0x80..=0x8F),
        _ => return None,
    })
}

impl Utf8 {
    pub(super) fn allows(&self, byte: u8, room: usize) -> bool {
        if self.missing > 0 {
            return self.next.contains(&byte);
        }
        character_start(byte).is_some_and(|(missing, _)| missing < room)
    }

    pub(super) fn push(&mut self, byte: u8) {
        if self.missing > 0 {
            self.missing -= 1;
            self.next = 0x80..=0xBF;
        } else if let Some((missing, next)) = character_start(byte) {
            *self = Self { missing, next };
        }
    }

    #[cfg(test)]
    fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn only_valid_utf8_is_ever_allowed() {
        let mut random = Random::new(3);
        for room in 1..12 {
            for _ in 0..2000 {
                let mut utf8 = Utf8::default();
                let mut bytes = Vec::new();
                for left in (1..=room).rev() {
                    let byte = loop {
                        // Continuations and long starts are likelier here than in a uniform draw.
                        let byte =
                            random.bits() as u8 | if random.below(2) == 0 { 0x80 } else { 0 };
                        if utf8.allows(byte, left) {
                            break byte;
                        }
                    };
                    utf8.push(byte);
                    bytes.push(byte);
                }
                assert!(utf8.is_complete());
                assert!(std::str::from_utf8(&bytes).is_ok(), "{bytes:?}");
            }
        }
    }
}
