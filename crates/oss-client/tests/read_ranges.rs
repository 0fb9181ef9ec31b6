//! Many ranges into many buffers at once: what lands where, in how many requests, and what damage and faults do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod read_support;

use std::sync::Arc;
use std::time::Duration;

use oss_client::clock::{Clock as _, SystemClock};
use oss_client::error::{Error, ErrorKind};
use oss_client::read::object::ObjectReader;
use oss_protocol::crc64::crc64;
use read_support::{Loan, Tracked, World, bytes_of, content, lend, world, world_by};
use serde_json::{Value, json};

const MIB: usize = 1024 * 1024;

/// Reads the ranges (offset, size) and compares bytes and checksums with `whole`.
fn read_and_compare(reader: &mut ObjectReader, whole: &[u8], ranges: &[(usize, usize)]) {
    let filled = read_ranges(reader, ranges).unwrap();
    for ((bytes, crc), &(start, size)) in filled.iter().zip(ranges) {
        assert!(*bytes == whole[start..start + size], "{size} bytes at {start}");
        assert_eq!(*crc, crc64(bytes));
    }
    assert_eq!(filled.len(), ranges.len());
}

fn read_ranges(reader: &mut ObjectReader, ranges: &[(usize, usize)]) -> Result<Vec<(Vec<u8>, u64)>, Error> {
    let targets: Vec<(u64, Loan)> =
        ranges.iter().map(|&(start, size)| (start as u64, lend(size).unwrap())).collect();
    let filled = reader.read_ranges(targets, &mut || Ok(()))?;
    Ok(filled.into_iter().map(|(loan, crc)| (bytes_of(loan), crc)).collect())
}

fn set_rules(world: &World, rules: Value) {
    world.emulator.set_rules(json!({"rules": rules})).unwrap();
}

fn counter(world: &World, name: &str) -> u64 {
    world.engine.client().stats().get(name)
}

#[test]
fn ranges_of_every_kind_land_in_their_buffers() {
    let world = world();
    let whole = content(1, 20 * MIB);
    world.put("k", &whole);
    let ranges = [
        (19 * MIB, MIB),
        (0, 10),
        (10, 0),
        (10, 20),
        (50, 100_000),
        (5 * MIB, 9 * MIB),
        (6 * MIB, 100),
        (5 * MIB, 9 * MIB),
        (20 * MIB, 0),
    ];
    read_and_compare(&mut world.reader("k"), &whole, &ranges);
    assert_eq!(counter(&world, "crc_mismatched"), 0);
}

#[test]
fn neighbours_travel_in_one_request() {
    let world = world();
    let whole = content(2, 3 * MIB);
    world.put("k", &whole);
    let ranges: Vec<(usize, usize)> = (0..1000).map(|number| (5000 + number * 1000, 900)).collect();
    read_and_compare(&mut world.reader("k"), &whole, &ranges);
    assert_eq!(world.requests("GetObject"), 1);
}

#[test]
fn what_was_read_ahead_is_not_asked_for_again_and_the_whole_is_checked() {
    let world = world();
    let whole = content(3, 6 * MIB);
    world.put("k", &whole);
    let mut reader = world.reader("k");
    reader.fill(&mut || Ok(())).unwrap();
    assert_eq!(reader.buffered()[..1000], whole[..1000]);
    reader.advance(1000);
    read_and_compare(&mut reader, &whole, &[(1000, 3 * MIB), (1000 + 3 * MIB, 3 * MIB - 1000)]);
    assert_eq!(counter(&world, "crc_checked"), 1);
    let sent: u64 = world.emulator.journal(0)["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["operation"] == "GetObject")
        .map(|entry| entry["bytes_out"].as_u64().unwrap())
        .sum();
    assert_eq!(sent, 6 * MIB as u64);
}

#[test]
fn a_range_beyond_the_end_is_refused_before_anything_is_read() {
    let world = world();
    world.put("k", &content(4, 100));
    let error = read_ranges(&mut world.reader("k"), &[(0, 10), (95, 6)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.to_string().contains("95..101"), "{error}");
    let error = read_ranges(&mut world.reader("k"), &[(usize::MAX, 6)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert_eq!(world.requests("GetObject"), 0);
}

#[test]
fn damage_is_fetched_again_when_the_ranges_tile_the_object() {
    let world = world();
    let whole = content(5, 9 * MIB + 17);
    world.put("k", &whole);
    set_rules(
        &world,
        // Not the last range, which is asked for apart: alone it could not be checked.
        json!([{"match": {"op": "GetObject", "range": "bytes=0-*"}, "action": {"flip_bit": "out"}, "times": 1}]),
    );
    let ranges = [(0, 100), (100, 5 * MIB), (100 + 5 * MIB, 4 * MIB + 17 - 100), (50, 7)];
    read_and_compare(&mut world.reader("k"), &whole, &ranges);
    assert_eq!(counter(&world, "crc_mismatched"), 1);
}

#[test]
fn an_object_that_is_always_damaged_is_an_error() {
    let world = world();
    world.put("k", &content(6, 5 * MIB));
    set_rules(&world, json!([{"match": {"op": "GetObject"}, "action": {"flip_bit": 77}}]));
    let error = read_ranges(&mut world.reader("k"), &[(0, 5 * MIB)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Integrity);
}

#[test]
fn damage_in_what_was_read_before_is_told() {
    let world = world();
    let whole = content(7, 9 * MIB);
    world.put("k", &whole);
    set_rules(
        &world,
        json!([{"match": {"op": "GetObject", "nth": [1]}, "action": {"flip_bit": 77}, "times": 1}]),
    );
    let mut reader = world.reader("k");
    assert_ne!(read_ranges(&mut reader, &[(0, MIB)]).unwrap()[0].0, &whole[..MIB]);
    let error = read_ranges(&mut reader, &[(MIB, 8 * MIB)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Integrity);
    assert!(error.to_string().contains("read before"), "{error}");
}

/// Reads `size_bytes` from the position on, straight into the caller's memory.
fn read_on(reader: &mut ObjectReader, size_bytes: usize) -> Result<Vec<u8>, Error> {
    reader.read_into(lend(size_bytes).unwrap(), &mut || Ok(())).map(bytes_of)
}

#[test]
fn ranges_are_good_again_once_damage_in_what_was_read_before_was_told() {
    let world = world();
    let whole = content(7, 9 * MIB);
    world.put("k", &whole);
    set_rules(&world, json!([{"match": {"op": "GetObject"}, "action": {"flip_bit": 77}, "times": 1}]));
    let mut reader = world.reader("k");
    read_ranges(&mut reader, &[(0, MIB)]).unwrap();
    read_ranges(&mut reader, &[(MIB, 8 * MIB)]).unwrap_err();
    read_and_compare(&mut reader, &whole, &[(0, MIB), (MIB, 8 * MIB)]);
    read_and_compare(&mut reader, &whole, &[(2 * MIB, 3 * MIB)]);
    // The object as it was fetched again, and the ranges that make it.
    assert_eq!((counter(&world, "crc_mismatched"), counter(&world, "crc_checked")), (1, 2));
}

#[test]
fn a_stream_whose_start_came_damaged_is_read_anew_from_its_start_alone() {
    let world = world();
    let whole = content(9, 8 * MIB);
    world.put("k", &whole);
    set_rules(
        &world,
        // What is read ahead meanwhile is asked for as well.
        json!([{"match": {"op": "GetObject", "range": "bytes=0-*"}, "action": {"flip_bit": 77}, "times": 1}]),
    );
    let mut reader = world.reader("k");
    assert!(read_on(&mut reader, 4 * MIB).unwrap() != whole[..4 * MIB]);
    for _ in 0..2 {
        let error = read_on(&mut reader, 4 * MIB).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Integrity, "{error}");
        assert!(error.to_string().contains("read before"), "{error}");
    }
    reader.seek(0);
    assert!(read_on(&mut reader, 4 * MIB).unwrap() == whole[..4 * MIB]);
    assert!(read_on(&mut reader, 4 * MIB).unwrap() == whole[4 * MIB..]);
    assert_eq!((counter(&world, "crc_mismatched"), counter(&world, "crc_checked")), (1, 2));
}

#[test]
fn damage_that_nobody_was_given_is_not_told_as_that_of_an_earlier_read() {
    let world = world_by(|config| config.timeouts.deadline = Duration::from_millis(300));
    let whole = content(10, 8 * MIB);
    world.put("k", &whole);
    let mut reader = world.reader("k");
    assert!(read_on(&mut reader, 4 * MIB).unwrap() == whole[..4 * MIB]);
    reader.close();
    // What is left comes damaged, and the whole object, fetched to tell who is right, does not come.
    set_rules(
        &world,
        json!([
            {"match": {"op": "GetObject", "range": "bytes=4194304-*"}, "action": {"flip_bit": 77}, "times": 1},
            {"match": {"op": "GetObject"}, "action": {"status": 500}},
        ]),
    );
    let error = read_on(&mut reader, 4 * MIB).unwrap_err();
    assert_ne!(error.kind, ErrorKind::Integrity, "{error}");
    set_rules(&world, json!([]));
    assert!(read_on(&mut reader, 4 * MIB).unwrap() == whole[4 * MIB..]);
    assert_eq!(counter(&world, "crc_mismatched"), 1);
}

/// What was asked for with a range: where it starts and ends, sorted.
fn asked(world: &World) -> Vec<(usize, usize)> {
    let journal = world.emulator.journal(0);
    let ranges =
        journal["entries"].as_array().unwrap().iter().filter_map(|entry| entry["headers"]["range"].as_str());
    let numbers = ranges.map(|range| range.trim_start_matches("bytes=").split_once('-').unwrap());
    let mut asked: Vec<(usize, usize)> =
        numbers.map(|(start, last)| (start.parse().unwrap(), last.parse::<usize>().unwrap() + 1)).collect();
    asked.sort_unstable();
    asked
}

#[test]
fn large_reads_in_order_find_what_follows_them_on_its_way() {
    let world = world();
    let whole = content(11, 24 * MIB);
    world.put("k", &whole);
    let mut reader = world.reader("k");
    for number in 0..2 {
        let range = number * 4 * MIB..(number + 1) * 4 * MIB;
        assert!(read_on(&mut reader, 4 * MIB).unwrap() == whole[range.clone()]);
        // No further call: 16 MiB behind this one are asked for, and nothing twice.
        let expected: Vec<_> =
            (0..range.end / MIB + 16).step_by(4).map(|at| (at * MIB, (at + 4) * MIB)).collect();
        let began = SystemClock.now();
        while asked(&world) != expected {
            let waited = SystemClock.now() - began;
            assert!(waited < Duration::from_secs(20), "{:?} were asked for", asked(&world));
            SystemClock.sleep_until(SystemClock.now() + Duration::from_millis(5));
        }
    }
}

/// The request for a part that starts so far in the object.
fn part_at(start_mib: usize) -> Value {
    json!({"op": "GetObject", "range": format!("bytes={}-*", start_mib * MIB)})
}

/// Reads to the end in calls of so many bytes, and compares.
fn read_in_calls(world: &World, whole: &[u8], call_bytes: usize) {
    let mut reader = world.reader("k");
    for piece in whole.chunks(call_bytes) {
        assert!(read_on(&mut reader, piece.len()).unwrap() == *piece, "in calls of {call_bytes}");
    }
}

#[test]
fn calls_of_every_size_give_what_is_there_and_ask_once() {
    let whole = content(12, 25 * MIB + 7);
    for call_mib in [1, 3, 9, 16, 18, 24] {
        let world = world();
        world.put("k", &whole);
        read_in_calls(&world, &whole, call_mib * MIB);
        let asked = asked(&world);
        let ends = asked.iter().map(|(_, end)| *end);
        let starts = asked.iter().skip(1).map(|(start, _)| *start).chain([whole.len()]);
        assert!(ends.eq(starts), "{call_mib} MiB: {asked:?}");
        assert_eq!((counter(&world, "crc_checked"), counter(&world, "crc_mismatched")), (1, 0));
    }
}

#[test]
fn parts_that_land_in_the_next_call_are_resumed_and_checked() {
    let world = world();
    let whole = content(13, 48 * MIB);
    world.put("k", &whole);
    // The late ones are on their way when their call comes, with every timing.
    let late = json!({"match": {"op": "GetObject"}, "action": {"delay_ms": 20}});
    for action in [json!({"reset_after_bytes": 70_123}), json!({"chunked": true})] {
        let hurt = [20, 28].map(|at| json!({"match": part_at(at), "action": action, "times": 1}));
        set_rules(&world, json!([hurt[0], hurt[1], late]));
        read_in_calls(&world, &whole, 16 * MIB);
    }
    assert_eq!(counter(&world, "crc_mismatched"), 0);
    let hurt = json!({"match": part_at(36), "action": {"flip_bit": 77}, "times": 1});
    set_rules(&world, json!([hurt, late]));
    read_in_calls(&world, &whole, 16 * MIB);
    assert_eq!(counter(&world, "crc_mismatched"), 1, "the last call is fetched again");
}

#[test]
fn a_refusal_of_a_part_that_was_asked_for_ahead_is_that_of_the_call() {
    let world = world();
    let whole = content(14, 48 * MIB);
    world.put("k", &whole);
    let refused = json!({"match": part_at(24), "action": {"status": 403, "code": "AccessDenied"}});
    set_rules(&world, json!([refused]));
    let mut reader = world.reader("k");
    assert!(read_on(&mut reader, 16 * MIB).unwrap() == whole[..16 * MIB]);
    assert_eq!(read_on(&mut reader, 16 * MIB).unwrap_err().kind, ErrorKind::PermissionDenied);
    set_rules(&world, json!([]));
    assert!(read_on(&mut reader, 16 * MIB).unwrap() == whole[16 * MIB..32 * MIB], "it goes on where it was");
}

#[test]
fn an_interrupt_gives_back_what_was_lent_to_parts_on_their_way() {
    let world = world();
    let whole = content(15, 48 * MIB);
    world.put("k", &whole);
    let silent =
        [16, 20, 24, 28].map(|at| json!({"match": part_at(at), "action": {"stall_after_bytes": 1000}}));
    set_rules(&world, json!(silent));
    let mut reader = world.reader("k");
    assert!(read_on(&mut reader, 16 * MIB).unwrap() == whole[..16 * MIB]);
    let alive = Arc::new(());
    let mut looks = 0;
    let mut watch = || {
        looks += 1;
        if looks > 2 { Err(Error::new(ErrorKind::Internal, "signal", "interrupted")) } else { Ok(()) }
    };
    let memory = Tracked { loan: lend(16 * MIB).unwrap(), _alive: Arc::clone(&alive) };
    let Err(error) = reader.read_into(memory, &mut watch) else { panic!("it is interrupted") };
    assert_eq!(error.operation, "signal");
    assert_eq!(Arc::strong_count(&alive), 1, "no worker can still write into it");
    set_rules(&world, json!([]));
    assert!(read_on(&mut reader, 16 * MIB).unwrap() == whole[16 * MIB..32 * MIB], "it goes on where it was");
}

#[test]
fn bodies_that_break_off_are_resumed_and_bodies_in_chunks_are_understood() {
    let world = world();
    let whole = content(8, 6 * MIB);
    world.put("k", &whole);
    for action in [json!({"reset_after_bytes": 70_123}), json!({"chunked": true})] {
        set_rules(&world, json!([{"match": {"op": "GetObject", "nth": [1, 3]}, "action": action}]));
        let ranges = [(100, 50_000), (50_107, 90_000), (140_200, 10), (150_000, 5 * MIB)];
        read_and_compare(&mut world.reader("k"), &whole, &ranges);
    }
}

#[test]
fn ranges_of_a_replaced_object_are_of_one_version_or_an_error() {
    let world = world();
    world.put("k", &content(1, 9 * MIB));
    let mut reader = world.reader("k");
    read_and_compare(&mut reader, &content(1, 9 * MIB), &[(0, 100)]);
    world.put("k", &content(2, 9 * MIB));
    assert_eq!(read_ranges(&mut reader, &[(5 * MIB, MIB)]).unwrap_err().kind, ErrorKind::ObjectChanged);
}

#[test]
fn an_interrupt_gives_every_loan_back() {
    let world = world();
    world.put("k", &content(9, 9 * MIB));
    set_rules(&world, json!([{"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 1000}}]));
    let alive = Arc::new(());
    let mut reader = world.reader("k");
    reader.size(&mut || Ok(())).unwrap();
    let targets = (0..9_u64)
        .map(|number| (number * MIB as u64, Tracked { loan: lend(MIB).unwrap(), _alive: Arc::clone(&alive) }))
        .collect();
    let mut looks = 0;
    let mut watch = || {
        looks += 1;
        if looks > 2 { Err(Error::new(ErrorKind::Internal, "signal", "interrupted")) } else { Ok(()) }
    };
    let Err(error) = reader.read_ranges(targets, &mut watch) else { panic!("it is interrupted") };
    assert_eq!(error.operation, "signal");
    assert_eq!(Arc::strong_count(&alive), 1, "no worker can still write into it");
}
