//! Millions of objects that are computed when they are listed or read, not stored.

use std::borrow::Cow;
use std::ops::Bound;

use crate::random::mix;
use crate::store::body::Body;
use crate::store::object::Object;
use crate::store::synthetic;

/// Digits of the number in a key.
const DIGITS: usize = 8;

/// Objects `<prefix>00000000<suffix>`, `<prefix>00000001<suffix>` and so on, all of one size.
#[derive(Clone, Debug)]
pub(crate) struct Multitude {
    /// What the keys begin with.
    pub(crate) prefix: String,
    /// What they end with.
    pub(crate) suffix: String,
    /// How many there are, at most 10^8.
    pub(crate) count: u64,
    /// Bytes of each.
    pub(crate) size: u64,
    /// Contents and ETags come of it.
    pub(crate) seed: u64,
    /// When they were made, unix milliseconds on the service's clock.
    pub(crate) made_ms: i64,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    of: &'a Multitude,
    number: u64,
}

impl Multitude {
    /// Its members from a bound on, in byte order.
    pub(crate) fn range<'a>(
        &'a self,
        from: Bound<&str>,
    ) -> impl Iterator<Item = (Cow<'a, str>, Member<'a>)> + use<'a> {
        (self.first(from)..self.count)
            .map(|number| (Cow::Owned(self.key(number)), Member { of: self, number }))
    }

    /// The member with that key.
    pub(crate) fn find(&self, key: &str) -> Option<Member<'_>> {
        let number = key.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())?;
        let is_number = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|number| is_number && *number < self.count)?;
        Some(Member { of: self, number })
    }

    fn key(&self, number: u64) -> String {
        format!("{}{number:0DIGITS$}{}", self.prefix, self.suffix)
    }

    /// Keys rise with their numbers, so the first one is found by halving.
    fn first(&self, from: Bound<&str>) -> u64 {
        let is_before = |number: u64| match from {
            Bound::Included(text) => self.key(number).as_str() < text,
            Bound::Excluded(text) => self.key(number).as_str() <= text,
            Bound::Unbounded => false,
        };
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if is_before(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl Member<'_> {
    /// Bytes of the object.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.of.size
    }

    /// Its ETag, quotes included: no sum of anything, so that a listing costs no hashing.
    pub(crate) fn etag(&self) -> String {
        let seed = self.of.seed.wrapping_add(self.number);
        format!("\"{:016X}{:016X}\"", mix(seed), mix(!seed))
    }

    /// The whole object.
    pub(crate) fn object(&self) -> Object {
        let seed = self.of.seed.wrapping_add(self.number);
        let body = Body::pattern(seed, self.of.size);
        Object { etag: self.etag(), ..synthetic::object(body, seed, self.of.made_ms) }
    }

    /// When it was made, unix milliseconds.
    pub(crate) fn made_ms(&self) -> i64 {
        self.of.made_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_listed_in_order() {
        let made =
            Multitude { prefix: "p/".into(), suffix: ".x".into(), count: 3, size: 7, seed: 1, made_ms: 0 };
        let from = |bound| made.range(bound).map(|(key, _)| key.into_owned()).collect::<Vec<_>>();
        assert_eq!(from(Bound::Unbounded), ["p/00000000.x", "p/00000001.x", "p/00000002.x"]);
        assert_eq!(from(Bound::Excluded("p/00000001.x")), ["p/00000002.x"]);
        assert_eq!(from(Bound::Included("p/00000001.x")).len(), 2);
        assert!(from(Bound::Included("q")).is_empty());
        assert_eq!(from(Bound::Included("a")).len(), 3);
        assert!(made.find("p/00000003.x").is_none() && made.find("p/1.x").is_none());
        let member = made.find("p/00000002.x").expect("a member");
        assert_eq!(member.object().etag, member.etag());
        assert_eq!(member.object().body.size_bytes(), 7);
    }
}
