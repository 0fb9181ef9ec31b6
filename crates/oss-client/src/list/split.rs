//! Where to cut a range of keys of which only the beginning is known. Pure.
//!
//! A cut is a guess: a wrong one finds an empty range and costs a request, never a key. What is known of a range is
//! the last key that was read and its end. Keys that follow differ from that key at some place; the earlier the
//! place, the more keys there may be. So the places are tried from the front: the next letter that may stand there
//! where nothing is known of it, a letter in the middle where letters are known to differ.

use std::collections::{BTreeMap, BTreeSet};

/// Keys of a page whose letters are learnt.
const KEYS_A_PAGE: usize = 16;

/// Places of a key whose letters are learnt.
const MAX_PLACES: usize = 256;

/// Letters that are learnt for a place.
const MAX_LETTERS: usize = 128;

/// Letters from here on are never part of a cut: services that sort by UTF-16 and those that sort by bytes agree on
/// what lies before and behind any other text.
const FIRST_ODD_LETTER: char = '\u{d7ff}';

/// Which letters stand where in the keys seen so far.
#[derive(Debug, Default)]
pub(super) struct Letters {
    at: BTreeMap<usize, BTreeSet<char>>,
    anywhere: BTreeSet<char>,
}

/// What is known of a range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Bytes that all keys of the listing begin with.
    pub(super) prefix_bytes: usize,
    /// The last key read.
    pub(super) last: &'a str,
    /// The last key that may belong to the range.
    pub(super) end: Option<&'a str>,
    /// Bytes that the keys of the last page have in common: what differs only behind them is about a page.
    pub(super) span: usize,
    /// A place at which keys of this range are known to differ.
    pub(super) varies_at: Option<usize>,
}

/// A cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Keys up to and with this one stay, keys behind it are the new range.
    pub(super) key: String,
    /// The place at which it differs from the last key read.
    pub(super) place: usize,
    /// Letters known for that place beside the one chosen.
    pub(super) options: usize,
}

impl Letters {
    /// Learns from some keys of a page.
    pub(super) fn learn<'k>(&mut self, prefix_bytes: usize, keys: impl ExactSizeIterator<Item = &'k str>) {
        let step = keys.len().div_ceil(KEYS_A_PAGE).max(1);
        for key in keys.step_by(step) {
            let tail = key.get(prefix_bytes..).unwrap_or("");
            for (place, letter) in tail.char_indices().filter(|(_, letter)| *letter < FIRST_ODD_LETTER) {
                if place < MAX_PLACES {
                    insert(self.at.entry(prefix_bytes + place).or_default(), letter);
                }
                insert(&mut self.anywhere, letter);
            }
        }
    }

    /// The best cut of a range; None if what is left of it may well be a page.
    pub(super) fn cut(&self, known: &Known<'_>) -> Option<Cut> {
        let shared = known.end.map_or(0, |end| common_bytes(known.last, end));
        let tail = known.last.get(known.prefix_bytes..)?;
        let plain = tail.char_indices().take_while(|(_, letter)| *letter < FIRST_ODD_LETTER);
        plain
            .map(|(place, letter)| (known.prefix_bytes + place, letter))
            .take_while(|(place, _)| *place <= known.span)
            .filter(|(place, _)| *place >= shared)
            .find_map(|(place, letter)| self.cut_at(known, place, letter))
    }

    fn cut_at(&self, known: &Known<'_>, place: usize, letter: char) -> Option<Cut> {
        let before = known.last.get(..place)?;
        // Beyond the end's own letter nothing is left.
        let top = known.end.filter(|end| end.starts_with(before)).and_then(|end| end[place..].chars().next());
        let fits = |next: char| {
            let key = format!("{before}{next}");
            known.end.is_none_or(|end| key.as_str() < end).then_some(key)
        };
        let between = |letters: &BTreeSet<char>| -> Vec<char> {
            let above = letters.range((std::ops::Bound::Excluded(letter), std::ops::Bound::Unbounded));
            above.copied().take_while(|next| top.is_none_or(|top| *next <= top)).collect()
        };
        let mut options = self.at.get(&place).map(between).unwrap_or_default();
        if options.is_empty() {
            options = between(&self.anywhere);
        }
        let varies = known.varies_at == Some(place) || known.span == place;
        let chosen = if varies { options.get(options.len() / 2) } else { options.first() };
        let chosen = chosen.copied().or_else(|| following(letter))?;
        let key = fits(chosen).or_else(|| fits(*options.first()?))?;
        Some(Cut { key, place, options: options.len() })
    }
}

/// The letter behind `letter` in byte order, where there is a plain one.
fn following(letter: char) -> Option<char> {
    char::from_u32(u32::from(letter) + 1).filter(|next| *next < FIRST_ODD_LETTER)
}

fn insert(letters: &mut BTreeSet<char>, letter: char) {
    if letters.len() < MAX_LETTERS {
        letters.insert(letter);
    }
}

/// How many bytes two keys have in common at their front, in whole letters.
pub(super) fn common_bytes(one: &str, other: &str) -> usize {
    let same = one.char_indices().zip(other.chars()).take_while(|((_, a), b)| a == b);
    same.map(|((at, letter), _)| at + letter.len_utf8()).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_tried_from_the_front() {
        let mut letters = Letters::default();
        letters.learn(2, ["p/00000000", "p/00000999"].into_iter());
        let mut end = None;
        let mut cuts = Vec::new();
        while let Some(cut) = letters.cut(&Known {
            prefix_bytes: 2,
            last: "p/00000999",
            end: end.as_deref(),
            span: 7,
            varies_at: None,
        }) {
            assert!(cuts.len() < 20, "{cuts:?}");
            cuts.push(cut.key.clone());
            end = Some(cut.key);
        }
        assert_eq!(cuts[..3], ["p/9", "p/09", "p/009"]);
        assert!(cuts.is_sorted_by(|a, b| a > b), "{cuts:?}");
    }

    #[test]
    fn letters_known_to_differ_are_halved() {
        let mut letters = Letters::default();
        letters.learn(0, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"].into_iter());
        let known = Known { prefix_bytes: 0, last: "2", end: None, span: 0, varies_at: Some(0) };
        assert_eq!(letters.cut(&known).map(|cut| cut.key).as_deref(), Some("6"));
    }

    proptest! {
        #[test]
        fn a_cut_lies_inside_its_range(
            keys in proptest::collection::btree_set("p[0-9a-cü/😀\u{e000}]{0,6}", 2..20),
            has_end: bool, varies in proptest::option::of(0_usize..6),
        ) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let mut letters = Letters::default();
            letters.learn(1, keys.iter().copied());
            let end = keys.last().copied().filter(|_| has_end);
            let known = Known { prefix_bytes: 1, last: keys[0], end, span: 9, varies_at: varies };
            if let Some(cut) = letters.cut(&known) {
                prop_assert!(cut.key.as_str() > keys[0], "{cut:?}");
                prop_assert!(end.is_none_or(|end| cut.key.as_str() < end), "{cut:?} {end:?}");
            }
        }
    }
}
