//! SplitMix64: its finaliser, which mixes the bits of a number, and its stream of numbers.

use crate::clock::Clock;
use crate::sync::atomic::{AtomicU64, Ordering};

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Every input bit changes every output bit with probability one half.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Randomness for jitter.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    /// The address space layout, the process id and the clock differ between processes, also after fork.
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        use std::hash::{BuildHasher, RandomState};
        let seed = RandomState::new().hash_one((std::process::id(), clock.now(), clock.wall().0));
        Dice(AtomicU64::new(seed))
    }

    /// The same numbers for the same seed, so that a failing case can be run again.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Dice(AtomicU64::new(seed))
    }

    /// A number, 0 <= n < 1.
    pub(crate) fn unit(&self) -> f64 {
        (mix(self.0.fetch_add(STEP, Ordering::Relaxed)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn dice_stay_within_their_range_and_move() {
        let dice = Dice::new(&SystemClock);
        let rolls: Vec<_> = (0..1000).map(|_| dice.unit()).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll)));
        let mean = rolls.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }
}
