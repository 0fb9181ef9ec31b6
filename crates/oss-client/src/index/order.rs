//! Which row comes at which position of an epoch. Pure.
//!
//! A shuffled order is a permutation computed position by position, so no process holds a list and all
//! agree: a four-round Feistel network over the smallest even number of bits that holds all rows, walked
//! until the value falls inside. At most four values in one are outside, so the walk is short.

/// An order of `rows` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the index has them.
    Listed {
        /// How many rows there are.
        rows: u64,
    },
    /// Shuffled by a key drawn from fingerprint, seed and epoch.
    Shuffled {
        /// How many rows there are.
        rows: u64,
        /// Equal keys give equal orders.
        key: u64,
    },
}

/// Rounds of the network: four are enough to make a pseudo-random function a permutation.
const ROUNDS: u64 = 4;

impl Order {
    /// The shuffled order of one epoch over the index with this `fingerprint`.
    #[must_use]
    pub fn shuffled(rows: u64, fingerprint: u64, seed: u64, epoch: u64) -> Self {
        Order::Shuffled { rows, key: mix(mix(mix(fingerprint) ^ seed) ^ epoch) }
    }

    /// The row at `position`; None at and beyond the number of rows.
    #[must_use]
    pub fn row_at(&self, position: u64) -> Option<u64> {
        match *self {
            Order::Listed { rows } => (position < rows).then_some(position),
            Order::Shuffled { rows, key } => (position < rows).then(|| walk(rows, key, position)),
        }
    }
}

/// Follows the permutation of the enclosing power of four until it is back among the rows.
///
/// It always comes back: the cycle that `position` lies on contains `position` itself.
fn walk(rows: u64, key: u64, position: u64) -> u64 {
    let half_bits = (u64::BITS - rows.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mut value = permute(half_bits, key, position);
    while value >= rows {
        value = permute(half_bits, key, value);
    }
    value
}

fn permute(half_bits: u32, key: u64, value: u64) -> u64 {
    let mask = (1_u64 << half_bits) - 1;
    let (mut left, mut right) = (value >> half_bits, value & mask);
    for round in 0..ROUNDS {
        (left, right) = (right, left ^ (mix(right ^ mix(key ^ round)) & mask));
    }
    (left << half_bits) | right
}

/// The finaliser of SplitMix64: every input bit changes every output bit with probability one half.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
