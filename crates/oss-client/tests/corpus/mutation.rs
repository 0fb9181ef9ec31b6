//! The mutation engine: takes a sample and damages it as a seed says.

/// A generator that needs nothing but its seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`; 0 if that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn one_of<'s, T: ?Sized>(&mut self, all: &'s [Box<T>]) -> &'s T {
        &all[self.below(all.len())]
    }
}

/// What parsers find hard, whatever they parse.
const HARD: [&[u8]; 28] = [
    b"",
    b"\0",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"-1",
    b"+1",
    b"1e999",
    b"NaN",
    b"null",
    b"../",
    b"%00",
    b"%zz",
    b"\"",
    b"\\u0000",
    b"{",
    b"[",
    b"<",
    b"&#0;",
    b"<!DOCTYPE x>",
    b"]]>",
    b"=",
];

/// Where numbers go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// An input never grows beyond this.
pub(crate) const MOST_BYTES: usize = 64 * 1024;

/// Samples of one kind, and the words that occur in them.
#[derive(Debug)]
pub(crate) struct Corpus {
    samples: Vec<Box<[u8]>>,
    words: Vec<Box<[u8]>>,
}

impl Corpus {
    pub(crate) fn new(samples: Vec<Vec<u8>>) -> Self {
        assert!(!samples.is_empty(), "a corpus without a sample proves nothing");
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut words: Vec<Box<[u8]>> = samples
            .iter()
            .flat_map(|sample| sample.split(|byte| !is_word(byte)))
            .filter(|word| (2..=40).contains(&word.len()))
            .chain(HARD)
            .map(Box::from)
            .collect();
        words.sort();
        words.dedup();
        Corpus { samples: samples.into_iter().map(Vec::into_boxed_slice).collect(), words }
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = &[u8]> {
        self.samples.iter().map(AsRef::as_ref)
    }

    /// One sample, damaged one to six times.
    pub(crate) fn damaged(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = dice.one_of(&self.samples).to_vec();
        for _ in 0..=dice.below(6) {
            self.damage(&mut bytes, dice);
            bytes.truncate(MOST_BYTES);
        }
        bytes
    }

    fn damage(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(40)).min(bytes.len());
        match dice.below(13) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.draw().to_le_bytes()[0],
            2 => drop(bytes.splice(at..at, dice.one_of(&self.words).iter().copied())),
            3 => drop(bytes.splice(at..end, dice.one_of(&self.words).iter().copied())),
            4 => drop(bytes.drain(at..end)),
            5 => repeat(bytes, at, end, dice),
            6 => bytes.truncate(at),
            7 => {
                let other = dice.one_of(&self.samples);
                let from = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            8 | 9 => replace_number(bytes, dice),
            10 => overwrite_number(bytes, at, dice),
            11 => {
                let other = dice.below(bytes.len() + 1);
                let (low, high) = (at.min(other), at.max(other));
                bytes[low..high].rotate_left((high - low) / 2);
            }
            12 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x20),
            _ => bytes.push(dice.draw().to_le_bytes()[0]),
        }
    }
}

/// Says a piece again, a few times or very often.
fn repeat(bytes: &mut Vec<u8>, at: usize, end: usize, dice: &mut Dice) {
    let times = if dice.below(16) == 0 { MOST_BYTES } else { [1, 3, 40][dice.below(3)] };
    let piece = bytes[at..end].to_vec();
    let times = times.min(MOST_BYTES / piece.len().max(1));
    drop(bytes.splice(at..at, piece.repeat(times)));
}

/// Puts another number in place of one that is written in digits.
fn replace_number(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let from = dice.below(bytes.len() + 1);
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|ahead| from + ahead) else {
        return;
    };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut number = NUMBERS[dice.below(NUMBERS.len())].to_string();
    if dice.below(8) == 0 {
        number.push('0');
    }
    drop(bytes.splice(start..start + digits, number.bytes()));
}

/// Overwrites two, four or eight bytes with a number, as binary formats have them.
fn overwrite_number(bytes: &mut [u8], at: usize, dice: &mut Dice) {
    let number = NUMBERS[dice.below(NUMBERS.len())].to_le_bytes();
    let width = [2, 4, 8][dice.below(3)];
    if let Some(place) = bytes.get_mut(at..at + width) {
        place.copy_from_slice(&number[..width]);
    }
}

#[test]
fn a_seed_gives_the_same_damage_each_time_and_seeds_differ() {
    let corpus = Corpus::new(vec![b"Content-Length: 10\r\n".to_vec(), b"<Key>a</Key>".to_vec()]);
    let run = |seed| {
        let mut dice = Dice::new(seed);
        (0..100).map(|_| corpus.damaged(&mut dice)).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert!(run(3).iter().all(|input| input.len() <= MOST_BYTES));
}
