//! What the process's allocator should know of the memory that comes and goes.
//!
//! glibc gives the top of its heap back to the system as soon as 128 KiB of it are free, and a block above 128 KiB at
//! once. Objects of a dataset live for milliseconds: each batch would be returned, and its pages made and zeroed anew
//! for the next. A program that once frees a larger block is taken for one that does so often (`mallopt(3)`, "dynamic
//! mmap threshold"): blocks up to that size stay in the heap, and twice as much of it is kept.

use std::hint;
use std::sync::atomic::{AtomicBool, Ordering};

/// Glibc's largest is 32 MiB, its own few bytes included. A batch of 256 objects of 110 KiB is 28 MiB.
const BLOCK_BYTES: usize = 31 << 20;

static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// Frees one such block, of which no page was touched: once in a process and its forks. Where thresholds were set
/// (`MALLOC_TRIM_THRESHOLD_`, `mallopt`) they stay, and another allocator does as it likes.
pub(crate) fn expect_traffic() {
    if !IS_TOLD.swap(true, Ordering::Relaxed) {
        let mut block = Vec::<u8>::new();
        // Where there is no room for it there is none for batches either.
        let _ = block.try_reserve_exact(BLOCK_BYTES);
        drop(hint::black_box(block));
    }
}
