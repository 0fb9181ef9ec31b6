//! Fork: a child forgets the parent's client state and never touches its connections.
//!
//! Every process has a generation number. It is raised in the child by a `pthread_atfork` hook, and for children made
//! without the hook at the next look at it, which finds a page that the kernel has wiped (`MADV_WIPEONFORK`): asking
//! for the process id at every look was eight system calls for each small object. State lives in a
//! [`ForkCell`], one slot per generation: state of another generation is not locked, not dropped, not
//! joined, it is simply never looked at again. A child's lineage only ever raises the number, so a slot
//! that a thread of the parent was filling when the fork happened is never waited for.
//!
//! The inherited sockets are closed in the child with `close(2)` and nothing else: a `shutdown(2)` or a
//! TLS close_notify would reach the parent's connection. They are found in a table of atomics; a slot is
//! cleared before its descriptor is closed and set after it was opened, so the child never closes a
//! number that was reused. In doubt it leaks one.

use std::os::fd::RawFd;
use std::ptr;
// The process's own state, and one of them lies on a page of zeros: those of a model could not.
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::sync::{Arc, OnceLock};

/// Process id in the high half, generation in the low half; 0 = not yet known.
static CURRENT: AtomicU64 = AtomicU64::new(0);
static HOOKED: AtomicBool = AtomicBool::new(false);

/// On a page that every child finds wiped: 1 = `CURRENT` is of this process. Null before the first look, and where
/// the system has no such pages (Linux before 4.14): there the process id is asked for.
static ENTERED: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// Descriptors the table can hold: 4096, sixteen times the largest number of worker threads.
const TABLE_SLOTS: usize = 4096;
static TABLE: [AtomicI32; TABLE_SLOTS] = [const { AtomicI32::new(EMPTY) }; TABLE_SLOTS];
static NEXT_SLOT: AtomicUsize = AtomicUsize::new(0);
const EMPTY: i32 = -1;

/// Nested forks through which one handle may be passed on.
const MAX_GENERATIONS: usize = 64;

/// The generation of this process.
pub fn generation() -> u32 {
    let entered = entered();
    if entered.is_some_and(|entered| entered.load(Ordering::Acquire) == 1) {
        return CURRENT.load(Ordering::Acquire) as u32;
    }
    let process = std::process::id();
    let seen = CURRENT.load(Ordering::Acquire);
    let generation = if (seen >> 32) as u32 == process { seen as u32 } else { enter(process, seen) };
    if let Some(entered) = entered {
        entered.store(1, Ordering::Release);
    }
    generation
}

fn entered() -> Option<&'static AtomicU32> {
    let entered = ENTERED.load(Ordering::Acquire);
    #[expect(unsafe_code, reason = "the page is none that Rust has allocated")]
    // SAFETY: null, or the start of a page that is never unmapped and holds zeros, or what was stored here.
    unsafe {
        entered.as_ref()
    }
}

/// A page that children find wiped; null where there is none to be had.
fn page_wiped_in_children() -> *mut AtomicU32 {
    const PAGE_BYTES: usize = 4096;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    #[expect(unsafe_code, reason = "std cannot map memory")]
    // SAFETY: a new mapping where the system likes it touches nothing that exists, and is only unmapped again here,
    // where nobody else has seen it.
    unsafe {
        let page = libc::mmap(ptr::null_mut(), PAGE_BYTES, access, kind, -1, 0);
        if page == libc::MAP_FAILED {
            return ptr::null_mut();
        }
        if libc::madvise(page, PAGE_BYTES, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, PAGE_BYTES);
            return ptr::null_mut();
        }
        page.cast()
    }
}

/// Installs the hook on first use, or raises the generation when the process is a new one.
#[cold]
fn enter(process: u32, seen: u64) -> u32 {
    if !HOOKED.swap(true, Ordering::AcqRel) {
        // SAFETY: the child handler touches atomics and calls close(2) only, both allowed after fork.
        #[expect(unsafe_code, reason = "std has no fork hook")]
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
        ENTERED.store(page_wiped_in_children(), Ordering::Release);
    }
    let next = (u64::from(process) << 32) | u64::from((seen as u32).wrapping_add(1));
    match CURRENT.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => next as u32,
        Err(other) => other as u32,
    }
}

/// Runs in the child, right after fork, on its only thread.
extern "C" fn in_child() {
    let seen = CURRENT.load(Ordering::Acquire);
    let next = (u64::from(std::process::id()) << 32) | u64::from((seen as u32).wrapping_add(1));
    CURRENT.store(next, Ordering::Release);
    if let Some(entered) = entered() {
        entered.store(1, Ordering::Release);
    }
    for slot in &TABLE {
        let descriptor = slot.swap(EMPTY, Ordering::AcqRel);
        if descriptor >= 0 {
            // SAFETY: the slot was set while the parent held the descriptor open, and the child's copy of
            // its owner belongs to an older generation, which never closes it.
            #[expect(unsafe_code, reason = "only the number is known here")]
            unsafe {
                libc::close(descriptor);
            }
        }
    }
}

/// Enters a socket into the table while it lives.
#[derive(Debug)]
pub(crate) struct Registered {
    slot: Option<usize>,
    generation: u32,
}

impl Registered {
    /// Registers `descriptor`, which must be open. A full table means a leak in a child, no more.
    pub(crate) fn new(descriptor: RawFd) -> Self {
        let generation = generation();
        let start = NEXT_SLOT.fetch_add(1, Ordering::Relaxed);
        let slot = (0..TABLE_SLOTS).map(|n| start.wrapping_add(n) % TABLE_SLOTS).find(|&index| {
            TABLE[index].compare_exchange(EMPTY, descriptor, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        Registered { slot, generation }
    }

    /// Whether the process is still the one that opened the socket.
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    /// Clears the slot. To be called right before `close(2)`, in the opening process only.
    pub(crate) fn clear(&mut self) {
        if let Some(index) = self.slot.take() {
            TABLE[index].store(EMPTY, Ordering::Release);
        }
    }
}

/// State that every process makes for itself on first use.
///
/// A static of it is whole from the start. One that threads make on first use would be left half made in the child of a
/// fork that comes in that moment, and whoever looks at it there waits for the thread that is not there.
#[derive(Debug)]
pub struct ForkCell<T> {
    /// The generation that looked at it first; 0 = none yet. Set without a lock, so it is there or it is not.
    first: AtomicU32,
    slots: [OnceLock<Arc<T>>; MAX_GENERATIONS],
}

impl<T> Default for ForkCell<T> {
    fn default() -> Self {
        ForkCell::new()
    }
}

impl<T> ForkCell<T> {
    /// An empty cell; nothing is made yet.
    pub const fn new() -> Self {
        ForkCell { first: AtomicU32::new(0), slots: [const { OnceLock::new() }; MAX_GENERATIONS] }
    }

    /// The state of this process, made by `make` if there is none. `None` after more nested forks
    /// than the cell has slots for.
    pub fn get(&self, make: impl FnOnce() -> T) -> Option<&Arc<T>> {
        Some(self.slots.get(self.own_slot())?.get_or_init(|| Arc::new(make())))
    }

    /// The state of this process, if it was made already.
    pub fn peek(&self) -> Option<&Arc<T>> {
        self.slots.get(self.own_slot())?.get()
    }

    fn own_slot(&self) -> usize {
        let generation = generation();
        let mut first = self.first.load(Ordering::Relaxed);
        if first == 0 {
            let set = self.first.compare_exchange(0, generation, Ordering::Relaxed, Ordering::Relaxed);
            first = set.err().unwrap_or(generation);
        }
        generation.wrapping_sub(first) as usize
    }
}

impl<T> Drop for ForkCell<T> {
    fn drop(&mut self) {
        let current = self.own_slot();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(state) = slot.take()
                && index != current
            {
                std::mem::forget(state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_cell_makes_its_state_once() {
        let cell = ForkCell::new();
        let first = Arc::clone(cell.get(|| 1).expect("a slot"));
        let second = cell.get(|| 2).expect("a slot");
        assert_eq!((*first, **second), (1, 1));
    }

    /// The thread that makes it is not there in the child, and never comes back to it.
    #[test]
    fn test_f73_a_static_that_a_thread_is_making_when_the_fork_comes_is_of_use_in_the_child() {
        static CELL: ForkCell<u32> = ForkCell::new();
        let (making, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (told, waits) = (Arc::clone(&making), Arc::clone(&go_on));
        let thread = crate::sync::spawn("maker", move || {
            CELL.get(|| {
                told.wait();
                waits.wait();
                1
            });
        })
        .expect("a thread");
        making.wait();
        #[expect(unsafe_code, reason = "a fork amidst a first use")]
        // SAFETY: the child stores into a slot of its own and exits; an alarm ends it where it would wait for ever.
        let (child, status) = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::alarm(10);
                libc::_exit(if CELL.get(|| 2).is_some_and(|made| **made == 2) { 0 } else { 1 });
            }
            let mut status = 0;
            (child, if libc::waitpid(child, &raw mut status, 0) > 0 { status } else { -1 })
        };
        go_on.wait();
        thread.join().expect("no panic");
        assert!(child > 0);
        assert_eq!(status, 0, "the child made its own");
        assert_eq!(CELL.peek().map(|made| **made), Some(1));
    }

    #[test]
    fn a_child_made_without_the_hook_is_another_generation() {
        let own = generation();
        assert_eq!(generation(), own);
        assert!(
            entered().is_some_and(|entered| entered.load(Ordering::Acquire) == 1),
            "no system call a look"
        );
        #[expect(unsafe_code, reason = "a child that no library knows of")]
        // SAFETY: the child has a copy of this memory and its own stack; it loads and stores atomics and exits.
        let (child, status) = unsafe {
            let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
            if child == 0 {
                let is_other = generation() == own + 1 && generation() == own + 1;
                libc::_exit(if is_other { 0 } else { 1 });
            }
            let mut status = 0;
            (child, if libc::waitpid(child as i32, &raw mut status, 0) > 0 { status } else { -1 })
        };
        assert!(child > 0);
        assert_eq!(status, 0, "it told itself from its parent");
        assert_eq!(generation(), own);
    }

    #[test]
    fn a_registered_descriptor_is_in_the_table_until_it_is_cleared() {
        let mut entry = Registered::new(1_000_000);
        let index = entry.slot.expect("a free slot");
        assert_eq!(TABLE[index].load(Ordering::Acquire), 1_000_000);
        assert!(entry.is_ours());
        entry.clear();
        assert_eq!(TABLE[index].load(Ordering::Acquire), EMPTY);
    }
}
