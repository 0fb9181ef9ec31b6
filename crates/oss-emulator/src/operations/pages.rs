//! Pages of keys: order, prefix, delimiter, where a page begins. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What a listing asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    /// Keys begin with this.
    pub(crate) prefix: &'a str,
    /// Keys are grouped up to its first occurrence behind the prefix; "" for no grouping.
    pub(crate) delimiter: &'a str,
    /// Keys come after this one. A common prefix given here is not listed again.
    pub(crate) after: &'a str,
    /// Most keys and common prefixes together.
    pub(crate) max: usize,
}

/// One entry of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a, T> {
    /// A key and what lies behind it.
    Key(Cow<'a, str>, T),
    /// All keys that begin so.
    CommonPrefix(String),
}

impl<T> Entry<'_, T> {
    /// What a following page has to begin after.
    pub(crate) fn marker(&self) -> &str {
        match self {
            Entry::Key(key, _) => key,
            Entry::CommonPrefix(prefix) => prefix,
        }
    }
}

/// A page of a listing.
#[derive(Debug)]
pub(crate) struct Page<'a, T> {
    /// Keys and common prefixes in byte order.
    pub(crate) entries: Vec<Entry<'a, T>>,
    /// Whether there is more.
    pub(crate) is_truncated: bool,
}

impl<T> Page<'_, T> {
    /// What the next page begins after; "" for an empty page.
    pub(crate) fn last(&self) -> &str {
        self.entries.last().map_or("", Entry::marker)
    }
}

/// Lists one page of a sorted map; `is_listed` leaves out what has no visible version.
pub(crate) fn page<'a, T>(
    map: &'a BTreeMap<String, T>,
    query: &Query<'_>,
    is_listed: impl Fn(&T) -> bool,
) -> Page<'a, &'a T> {
    let range = |from: Bound<&str>| {
        let rows = map.range::<str, _>((from, Bound::Unbounded));
        rows.map(|(key, value)| (Cow::Borrowed(key.as_str()), value))
    };
    page_of(range, query, |value| is_listed(value))
}

/// Lists one page of sorted keys, of which `range` yields those from a bound on.
pub(crate) fn page_of<'a, T, Keys: Iterator<Item = (Cow<'a, str>, T)>>(
    range: impl Fn(Bound<&str>) -> Keys,
    query: &Query<'_>,
    is_listed: impl Fn(&T) -> bool,
) -> Page<'a, T> {
    let mut page = Page { entries: Vec::new(), is_truncated: false };
    let mut from = start(query);
    'ranges: loop {
        for (key, value) in range(bound(&from)) {
            if !key.starts_with(query.prefix) {
                break 'ranges;
            }
            if !is_listed(&value) {
                continue;
            }
            let group = group_of(&key, query);
            if group.is_some_and(|group| group == query.after) {
                from = behind(query.after);
                continue 'ranges;
            }
            if page.entries.len() == query.max {
                page.is_truncated = true;
                break 'ranges;
            }
            match group {
                None => page.entries.push(Entry::Key(key, value)),
                Some(group) => {
                    from = behind(group);
                    page.entries.push(Entry::CommonPrefix(group.to_owned()));
                    continue 'ranges;
                }
            }
        }
        break;
    }
    page
}

/// Says in which common prefix a key disappears.
pub(crate) fn group_of<'k>(key: &'k str, query: &Query<'_>) -> Option<&'k str> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = key.get(query.prefix.len()..)?;
    let at = rest.find(query.delimiter)?;
    key.get(..query.prefix.len() + at + query.delimiter.len())
}

fn start(query: &Query<'_>) -> Bound<String> {
    if query.after >= query.prefix && !query.after.is_empty() {
        Bound::Excluded(query.after.to_owned())
    } else {
        Bound::Included(query.prefix.to_owned())
    }
}

/// Begins behind all keys with that prefix: behind the prefix and the last character there is,
/// over and over, which no key can continue within its length limit.
fn behind(prefix: &str) -> Bound<String> {
    let last = char::MAX.len_utf8();
    Bound::Excluded(format!("{prefix}{}", char::MAX.to_string().repeat(1024 / last)))
}

fn bound(bound: &Bound<String>) -> Bound<&str> {
    match bound {
        Bound::Included(text) => Bound::Included(text),
        Bound::Excluded(text) => Bound::Excluded(text),
        Bound::Unbounded => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keys: &[&str], query: &Query<'_>) -> (Vec<String>, bool) {
        let map: BTreeMap<String, ()> = keys.iter().map(|key| ((*key).to_owned(), ())).collect();
        let page = page(&map, query, |()| true);
        (page.entries.iter().map(|entry| entry.marker().to_owned()).collect(), page.is_truncated)
    }

    const KEYS: &[&str] = &["a", "b/", "b/1", "b/2/x", "b/2/y", "c", "é", "😀", "\u{ffff}"];

    #[test]
    fn keys_come_in_byte_order() {
        let query = Query { prefix: "", delimiter: "", after: "", max: 100 };
        let (listed, truncated) = names(KEYS, &query);
        assert!(listed.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()));
        assert_eq!((listed.len(), truncated), (KEYS.len(), false));
    }

    #[test]
    fn a_delimiter_groups_behind_the_prefix() {
        let query = Query { prefix: "", delimiter: "/", after: "", max: 3 };
        assert_eq!(names(KEYS, &query), (vec!["a".into(), "b/".into(), "c".into()], true));
        let query = Query { prefix: "b/", delimiter: "/", after: "", max: 100 };
        assert_eq!(names(KEYS, &query), (vec!["b/".into(), "b/1".into(), "b/2/".into()], false));
    }

    #[test]
    fn pages_of_any_size_give_the_same_listing() {
        for delimiter in ["", "/"] {
            let all = names(KEYS, &Query { prefix: "", delimiter, after: "", max: 100 }).0;
            for max in 1..4 {
                let (mut together, mut after) = (Vec::new(), String::new());
                loop {
                    let (listed, truncated) =
                        names(KEYS, &Query { prefix: "", delimiter, after: &after, max });
                    assert!(listed.len() <= max);
                    after = listed.last().cloned().unwrap_or_default();
                    together.extend(listed);
                    if !truncated {
                        break;
                    }
                }
                assert_eq!(together, all, "delimiter {delimiter:?}, {max} a page");
            }
        }
    }

    #[test]
    fn a_start_inside_a_group_lists_the_group() {
        let query = Query { prefix: "", delimiter: "/", after: "b/1", max: 1 };
        assert_eq!(names(KEYS, &query), (vec!["b/".into()], true));
        let query = Query { prefix: "b/", delimiter: "", after: "a", max: 1 };
        assert_eq!(names(KEYS, &query), (vec!["b/".into()], true));
    }

    #[test]
    fn what_is_not_listed_neither_counts_nor_groups() {
        let map =
            BTreeMap::from([("a/1".to_owned(), false), ("a/2".to_owned(), true), ("b/1".to_owned(), false)]);
        let query = Query { prefix: "", delimiter: "/", after: "", max: 1 };
        let page = page(&map, &query, |listed| *listed);
        assert_eq!((page.last(), page.entries.len(), page.is_truncated), ("a/", 1, false));
    }
}
