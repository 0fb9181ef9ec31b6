//! How much memory a thread has at most while it reads one input: a counter around the system's allocator.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; this one hands every call on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grew(bytes: usize) {
    let now = NOW.get().wrapping_add(bytes);
    NOW.set(now);
    MOST.set(MOST.get().max(now));
}

fn shrank(bytes: usize) {
    // What another thread had allocated may be freed here.
    NOW.set(NOW.get().saturating_sub(bytes));
}

// SAFETY: the system's allocator does all of it; the counters allocate nothing and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: what the caller promises is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrank(layout.size());
        // SAFETY: as above; `at` came from `alloc`, which is the system's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: as above. Pages that were never touched are zero already, so a lie costs address space alone; it is
        // counted all the same.
        unsafe { System.alloc_zeroed(layout) }
    }
}

/// Runs `work`; returns the most bytes that this thread held beyond what it held before.
pub(crate) fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    MOST.set(before);
    let done = work();
    (done, MOST.get().saturating_sub(before))
}

#[test]
fn what_is_allocated_is_seen() {
    let ((), peak) = peak_of(|| drop(std::hint::black_box(vec![1_u8; 1 << 20])));
    assert!((1 << 20..2 << 20).contains(&peak), "{peak}");
    let ((), peak) = peak_of(|| ());
    assert_eq!(peak, 0);
}
