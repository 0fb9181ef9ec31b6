//! Which row comes at which position of an epoch. Pure.
//!
//! A shuffled order is a permutation computed position by position, so no process holds a list and all
//! agree: a four-round Feistel network over the smallest even number of bits that holds all rows, walked
//! until the value falls inside. At most four values in one are outside, so the walk is short.

use std::sync::Arc;

use crate::objects::{ObjectRef, ObjectSource};
use crate::random::mix;

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

/// The positions of an epoch that one of many consumers reads, in its order.
///
/// Positions from `first` on are dealt to the ranks one by one. What a rank has is dealt to its workers in runs of
/// `run`, which is the batch size of whoever puts the workers' batches together in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The rank's first position.
    pub first: u64,
    /// From one position of the rank to the next: the number of ranks.
    pub step: u64,
    /// Positions of the rank that follow each other in one worker; at least 1.
    pub run: u64,
    /// The worker.
    pub worker: u64,
    /// Workers of the rank; at least 1.
    pub workers: u64,
}

impl Share {
    /// The position that this consumer reads as its `place`-th.
    #[must_use]
    pub fn position_at(&self, place: u64) -> u64 {
        let of_rank = (place / self.run * self.workers + self.worker) * self.run + place % self.run;
        self.first + self.step * of_rank
    }
}

/// The objects of a source in the order of an epoch.
///
/// Positions beyond the last begin again at the first, for ranks that are to get equally much.
#[derive(Debug)]
pub struct Ordered {
    source: Arc<dyn ObjectSource>,
    order: Order,
}

impl Ordered {
    /// Puts `source` in `order`, which must have as many rows.
    #[must_use]
    pub fn new(source: Arc<dyn ObjectSource>, order: Order) -> Self {
        Self { source, order }
    }
}

impl ObjectSource for Ordered {
    fn count(&self) -> u64 {
        self.source.count()
    }

    fn object(&self, position: u64) -> Option<ObjectRef<'_>> {
        let position = position.checked_rem(self.count())?;
        self.source.object(self.order.row_at(position)?)
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
