use proptest::prelude::*;

use super::super::parts::{MAX_PARTS, PartSchedule};
use super::*;

const MIB: u64 = 1 << 20;

/// 256 MiB, or two parts.
fn promised(part_bytes: u64) -> u64 {
    (256 * MIB).max(2 * part_bytes)
}

proptest! {
    #[test]
    fn the_buffers_of_an_upload_stay_within_its_window_while_its_parts_grow(
        first_part_bytes in prop_oneof![Just(16 * MIB), 100 * 1024..80 * MIB],
        memory_bytes in proptest::option::of(MIB..2048 * MIB),
        // How many parts farther the next one is, and how many of those on their way end before it.
        steps in proptest::collection::vec((0..1500_u32, 0..6_usize), 1..40),
    ) {
        let schedule = PartSchedule::new(first_part_bytes, None, memory_bytes);
        let mut state = State::new(64, 0, 0);
        let mut out: VecDeque<Vec<u8>> = VecDeque::new();
        let mut number = 1;
        for (farther, ended) in steps {
            let part_bytes = schedule.part_size_bytes(number).expect("a part");
            let window_bytes = schedule.window_bytes(part_bytes);
            let buffer = loop {
                match state.take_buffer(part_bytes, window_bytes) {
                    // The memory is never touched, so it costs nothing.
                    Some(taken) => break taken.unwrap_or_else(|| allocate(part_bytes).expect("memory")),
                    None => state.free.push(out.pop_front().expect("a part is on its way, or nobody would ever go on")),
                }
            };
            prop_assert!(buffer.capacity() as u64 >= part_bytes);
            out.push_back(buffer);
            let held: usize = out.iter().chain(&state.free).map(Vec::capacity).sum();
            prop_assert_eq!(state.held_bytes, held as u64);
            prop_assert!(held as u64 <= window_bytes.min(promised(part_bytes)), "{} of {}", held, window_bytes);
            state.free.extend(out.drain(..ended.min(out.len())));
            number = (number + farther).min(MAX_PARTS);
        }
    }
}
