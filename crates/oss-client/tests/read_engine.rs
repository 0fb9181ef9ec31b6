//! The read engine against the emulator: whole objects in order, random access, versions, faults.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod read_support;

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use oss_client::clock::{Clock, SystemClock};
use oss_client::config::{Timeouts, Verify};
use oss_client::error::{Error, ErrorKind};
use oss_client::lend::Lend;
use oss_client::objects::{ObjectRef, ObjectSource};
use oss_client::read::object::ObjectReader;
use oss_client::read::prefetch::{Body, Missing, Next, Prefetch};
use oss_protocol::uri::ObjectUri;
use read_support::{BUCKET, Loan, Tracked, World, bytes_of, content, lend, world, world_by, world_with};
use serde_json::json;

#[derive(Debug)]
struct Listed {
    key: String,
    size: Option<u64>,
    etag: Option<String>,
}

#[derive(Debug)]
struct List(Vec<Listed>);

impl ObjectSource for List {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn object(&self, position: u64) -> Option<ObjectRef<'_>> {
        let listed = self.0.get(usize::try_from(position).ok()?)?;
        Some(ObjectRef { bucket: BUCKET, key: &listed.key, size: listed.size, etag: listed.etag.as_deref() })
    }
}

fn listed(key: &str, size: Option<usize>) -> Listed {
    Listed { key: key.to_owned(), size: size.map(|size| size as u64), etag: None }
}

fn prefetch(world: &World, objects: Vec<Listed>, missing: Missing) -> Prefetch<Loan> {
    let positions = Box::new(0..objects.len() as u64);
    Prefetch::new(&world.engine, Arc::new(List(objects)), positions, missing).unwrap()
}

fn read_all(reader: &mut ObjectReader, size: usize) -> Result<Vec<u8>, Error> {
    reader.read_into(lend(size)?, &mut || Ok(())).map(bytes_of)
}

/// Delivers everything: bytes, None for what was skipped, or the error.
fn deliver(prefetch: &mut Prefetch<Loan>) -> Vec<Result<Option<Vec<u8>>, Error>> {
    deliver_from(prefetch, 0)
}

/// As `deliver`, for a stream of which the objects before `first` were delivered.
fn deliver_from(prefetch: &mut Prefetch<Loan>, first: u64) -> Vec<Result<Option<Vec<u8>>, Error>> {
    let mut delivered = Vec::new();
    loop {
        prefetch.top_up(lend).unwrap();
        match prefetch.try_next() {
            Next::Ready(position, outcome) => {
                assert_eq!(position, first + delivered.len() as u64, "objects come in order");
                delivered.push(outcome.map(|body| match body {
                    Body::Lent(loan) => Some(bytes_of(loan)),
                    Body::Native(bytes) => Some(bytes),
                    Body::Missing => None,
                }));
            }
            Next::Pending => {
                prefetch.wait(Duration::from_millis(50));
            }
            Next::End => return delivered,
        }
    }
}

#[test]
fn objects_of_known_and_unknown_size_come_whole_and_in_order() {
    let world = world();
    let sizes = [1, 100, 4096, 110_000, 300_000, 9 * 1024 * 1024, 0, 17];
    for (number, &size) in sizes.iter().enumerate() {
        world.put(&format!("o/{number}"), &content(number, size));
    }
    for knows_sizes in [true, false] {
        let objects = (0..sizes.len())
            .map(|number| listed(&format!("o/{number}"), knows_sizes.then_some(sizes[number])))
            .collect();
        let delivered = deliver(&mut prefetch(&world, objects, Missing::Raise));
        for (number, (bytes, &size)) in delivered.into_iter().zip(&sizes).enumerate() {
            assert_eq!(bytes.unwrap().unwrap(), content(number, size), "object {number}");
        }
    }
}

#[test]
fn bodies_in_chunks_are_received_whether_their_length_is_known_or_not() {
    let world = world();
    let sizes = [1, 5000, 300_000, 9 * 1024 * 1024];
    for (number, &size) in sizes.iter().enumerate() {
        world.put(&format!("o/{number}"), &content(number, size));
    }
    world
        .emulator
        .set_rules(json!({"rules": [
            {"match": {"op": "GetObject"}, "action": {"chunked": 1000}},
        ]}))
        .unwrap();
    for knows_sizes in [true, false] {
        let objects = (0..sizes.len())
            .map(|number| listed(&format!("o/{number}"), knows_sizes.then_some(sizes[number])))
            .collect();
        let delivered = deliver(&mut prefetch(&world, objects, Missing::Raise));
        for (number, (bytes, &size)) in delivered.into_iter().zip(&sizes).enumerate() {
            assert_eq!(bytes.unwrap().unwrap(), content(number, size), "object {number}");
        }
    }
    assert_eq!(world.engine.client().stats().get("retries_protocol"), 0);
}

#[test]
fn a_small_object_costs_one_request() {
    // A machine that stops for a moment is no reason to repeat one; what is late by then may be asked for once more.
    let world = world_by(|config| config.timeouts = Timeouts::default());
    for number in 0..50 {
        world.put(&format!("o/{number}"), &content(number, 5000));
    }
    let objects = (0..50).map(|number| listed(&format!("o/{number}"), Some(5000))).collect();
    assert_eq!(deliver(&mut prefetch(&world, objects, Missing::Raise)).len(), 50);
    let hedges = usize::try_from(world.engine.client().stats().get("hedges_sent")).unwrap();
    // One that is cut off may not have been sent by then.
    assert!((50..=50 + hedges).contains(&world.requests("GetObject")));
    assert_eq!(world.requests("HeadObject"), 0);
}

#[test]
fn a_missing_object_is_an_error_in_its_place_or_is_skipped() {
    let world = world();
    world.put("a", b"first");
    world.put("c", b"third");
    let objects = || vec![listed("a", Some(5)), listed("b", Some(6)), listed("c", Some(5))];
    let delivered = deliver(&mut prefetch(&world, objects(), Missing::Raise));
    assert_eq!(delivered[1].as_ref().unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(delivered[2].as_ref().unwrap().as_deref(), Some(&b"third"[..]));
    let delivered = deliver(&mut prefetch(&world, objects(), Missing::Skip));
    assert_eq!(delivered[1].as_ref().unwrap(), &None);
}

#[test]
fn a_missing_bucket_is_never_skipped() {
    let world = world();
    let source = ObjectReader::new(
        &world.engine,
        ObjectUri { bucket: "nowhere".to_owned(), key: "k".to_owned() },
        None,
        None,
    );
    let error = source.unwrap().size(&mut || Ok(())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[test]
fn an_object_replaced_since_it_was_listed_is_read_whole_in_its_new_version() {
    let world = world();
    world.put("k", &content(1, 1000));
    let etag = "\"0123456789ABCDEF0123456789ABCDEF\"".to_owned();
    let objects = vec![Listed { key: "k".to_owned(), size: Some(77), etag: Some(etag) }];
    let delivered = deliver(&mut prefetch(&world, objects, Missing::Raise));
    assert_eq!(delivered[0].as_ref().unwrap().as_deref(), Some(&content(1, 1000)[..]));
    assert_eq!(world.engine.client().stats().get("objects_changed"), 1);
}

#[test]
fn resets_refusals_and_flipped_bits_are_survived_in_order() {
    let world = world();
    for number in 0..200 {
        world.put(&format!("o/{number:03}"), &content(number, 40_000));
    }
    world.emulator.set_rules(json!({"seed": 5, "rules": [
        {"match": {"op": "GetObject", "probability": 0.05}, "action": {"reset_after_bytes": 20_000}},
        {"match": {"op": "GetObject", "probability": 0.05}, "action": {"status": 503, "code": "ServiceUnavailable"}},
        {"match": {"op": "GetObject", "probability": 0.05}, "action": {"flip_bit": "out"}},
    ]})).unwrap();
    let objects = (0..200).map(|number| listed(&format!("o/{number:03}"), Some(40_000))).collect();
    for (number, bytes) in deliver(&mut prefetch(&world, objects, Missing::Raise)).into_iter().enumerate() {
        assert_eq!(bytes.unwrap().unwrap(), content(number, 40_000), "object {number}");
    }
    let stats = world.engine.client().stats();
    assert!(stats.get("resumed") > 0 && stats.get("retries_server") > 0 && stats.get("crc_mismatched") > 0);
}

#[test]
fn closing_gives_the_memory_back_at_once() {
    let world = world();
    world.put("k", &content(0, 100_000));
    world
        .emulator
        .set_rules(json!({"rules": [
            {"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 1000}},
        ]}))
        .unwrap();
    let mut prefetch = prefetch(&world, (0..8).map(|_| listed("k", Some(100_000))).collect(), Missing::Raise);
    prefetch.top_up(lend).unwrap();
    world.emulator.wait_for_journal(1, Duration::from_secs(10));
    prefetch.close(Duration::from_secs(10));
    assert!(matches!(prefetch.try_next(), Next::End));
}

#[test]
fn what_a_closed_stream_had_asked_for_takes_no_turns_of_the_pace() {
    let world = world_by(|config| config.limits.max_requests_per_second = Some(2.0));
    world.put("k", &content(0, 100));
    let many = |count| (0..count).map(|_| listed("k", Some(100))).collect();
    let mut closed = prefetch(&world, many(200), Missing::Raise);
    closed.top_up(lend).unwrap();
    assert_eq!(closed.ahead(), 32);
    closed.close(Duration::from_secs(10));
    let started = SystemClock.now();
    deliver(&mut prefetch(&world, many(1), Missing::Raise)).remove(0).unwrap();
    let took = SystemClock.now() - started;
    assert!(took < Duration::from_secs(8), "{took:?}: the turns of 32 objects take 16 s");
}

#[test]
fn a_stream_that_is_closed_early_counts_the_requests_that_were_sent() {
    // Whatever the machine does meanwhile, none of them is repeated.
    let world = world_by(|config| config.timeouts = Timeouts::default());
    world.put("k", &content(0, 100));
    world
        .emulator
        .set_rules(json!({"rules": [
            {"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 0}},
        ]}))
        .unwrap();
    let mut prefetch = prefetch(&world, (0..200).map(|_| listed("k", Some(100))).collect(), Missing::Raise);
    prefetch.top_up(lend).unwrap();
    while world.requests("GetObject") < 16 {
        world.emulator.wait_for_journal(1, Duration::from_millis(10));
    }
    prefetch.close(Duration::from_secs(10));
    let stats = world.engine.client().stats();
    assert_eq!((stats.get("requests"), stats.get("connections_opened")), (16, 16));
    assert_eq!(world.requests("GetObject"), 16);
}

#[test]
fn a_reader_reads_any_part_of_the_object() {
    let world = world();
    let whole = content(3, 3_000_000);
    world.put("big", &whole);
    let mut reader = world.reader("big");
    assert_eq!(reader.size(&mut || Ok(())).unwrap(), 3_000_000);
    for (start, size) in
        [(2_999_990, 10), (0, 10), (1_500_000, 1_400_000), (10, 1), (2_900_000, 100_000), (0, 3_000_000)]
    {
        reader.seek(start as u64);
        assert_eq!(
            read_all(&mut reader, size).unwrap(),
            &whole[start..start + size],
            "{size} bytes at {start}"
        );
    }
}

#[test]
fn small_reads_in_order_are_served_from_parts_read_ahead() {
    let world = world();
    let whole = content(4, 2_000_000);
    world.put("log", &whole);
    let mut reader = world.reader("log");
    let mut read = Vec::new();
    loop {
        reader.fill(&mut || Ok(())).unwrap();
        let taken = reader.buffered().len().min(1000);
        if taken == 0 {
            break;
        }
        read.extend_from_slice(&reader.buffered()[..taken]);
        reader.advance(taken);
    }
    assert_eq!(read, whole);
    assert!(world.requests("GetObject") <= 8, "{} requests", world.requests("GetObject"));
    assert_eq!(world.engine.client().stats().get("crc_mismatched"), 0);
}

#[test]
fn a_reader_stays_with_one_version() {
    let world = world();
    world.put("k", &content(1, 24_000_000));
    let mut reader = world.reader("k");
    assert_eq!(read_all(&mut reader, 10).unwrap(), content(1, 10));
    world.put("k", &content(2, 24_000_000));
    reader.seek(20_000_000);
    // What was read ahead of the change may still be delivered; this part was not.
    let error = read_all(&mut reader, 1_000_000).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ObjectChanged);
}

#[test]
fn an_interrupt_ends_a_read_and_leaves_the_reader_usable() {
    let world = world();
    let whole = content(5, 3_000_000);
    world.put("k", &whole);
    let mut reader = world.reader("k");
    reader.size(&mut || Ok(())).unwrap();
    world
        .emulator
        .set_rules(json!({"rules": [
            {"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 1000}},
        ]}))
        .unwrap();
    let mut looks = 0;
    let mut watch = || {
        looks += 1;
        if looks > 2 { Err(Error::new(ErrorKind::Internal, "signal", "interrupted")) } else { Ok(()) }
    };
    let loan = lend(3_000_000).unwrap();
    assert_eq!(reader.read_into(loan, &mut watch).unwrap_err().operation, "signal");
    world.emulator.set_rules(json!({"rules": []})).unwrap();
    assert_eq!(read_all(&mut reader, 3_000_000).unwrap(), whole);
}

#[test]
fn damage_in_a_whole_read_is_found_and_repaired() {
    let world = world();
    let whole = content(6, 9 * 1024 * 1024);
    world.put("k", &whole);
    world
        .emulator
        .set_rules(json!({"rules": [
            {"match": {"op": "GetObject", "nth": [2]}, "action": {"flip_bit": "out"}, "times": 1},
        ]}))
        .unwrap();
    assert_eq!(read_all(&mut world.reader("k"), whole.len()).unwrap(), whole);
    assert_eq!(world.engine.client().stats().get("crc_mismatched"), 1);
}

#[test]
fn a_failed_loan_delays_no_object_before_it() {
    let world = world();
    (0..4).for_each(|number| world.put(&number.to_string(), &content(number, 100)));
    let mut prefetch = prefetch(
        &world,
        (0..4).map(|number| listed(&number.to_string(), Some(100))).collect(),
        Missing::Raise,
    );
    let mut loans = 0;
    let mut scarce = |size_bytes| {
        loans += 1;
        if loans > 2 {
            Err(Error::new(ErrorKind::OutOfMemory, "lend", "none left"))
        } else {
            lend(size_bytes)
        }
    };
    for number in 0..2 {
        prefetch.top_up(&mut scarce).unwrap();
        assert!(prefetch.wait(Duration::from_secs(10)));
        let Next::Ready(position, Ok(Body::Lent(loan))) = prefetch.try_next() else { panic!("{number}") };
        assert_eq!((position, bytes_of(loan)), (number as u64, content(number, 100)));
    }
    assert_eq!(prefetch.top_up(&mut scarce).unwrap_err().kind, ErrorKind::OutOfMemory);
    assert_eq!(deliver_from(&mut prefetch, 2).len(), 2, "once there is memory, the rest comes");
}

#[test]
fn a_large_object_is_read_once_when_nothing_is_verified() {
    let world = world_with(Verify::Off);
    let whole = content(7, 9 * 1024 * 1024);
    world.put("k", &whole);
    let delivered = deliver(&mut prefetch(&world, vec![listed("k", Some(whole.len()))], Missing::Raise));
    assert_eq!(delivered[0].as_ref().unwrap().as_deref(), Some(whole.as_slice()));
    assert_eq!(world.requests("GetObject"), 3);
    assert_eq!(read_all(&mut world.reader("k"), whole.len()).unwrap(), whole);
    assert_eq!(world.requests("GetObject"), 6);
    let mut reader = world.reader("k");
    while reader.remaining(&mut || Ok(())).unwrap() > 0 {
        reader.fill(&mut || Ok(())).unwrap();
        reader.advance(reader.buffered().len());
    }
}

#[test]
fn a_large_object_without_a_checksum_is_counted_or_refused() {
    for verify in [Verify::Check, Verify::Require] {
        let world = world_with(verify);
        let size = 9 * 1024 * 1024;
        world.put("k", &content(8, size));
        world
            .emulator
            .set_rules(json!({"rules": [
                {"match": {}, "action": {"drop_headers": ["x-oss-hash-crc64ecma"]}, "times": 100},
            ]}))
            .unwrap();
        let delivered =
            deliver(&mut prefetch(&world, vec![listed("k", Some(size))], Missing::Raise)).remove(0);
        let read = read_all(&mut world.reader("k"), size);
        if verify == Verify::Check {
            assert!(delivered.is_ok() && read.is_ok());
            assert_eq!(world.engine.client().stats().get("crc_unchecked"), 2);
        } else {
            assert_eq!(delivered.unwrap_err().kind, ErrorKind::Integrity);
            assert_eq!(read.unwrap_err().kind, ErrorKind::Integrity);
        }
    }
}

#[test]
fn an_interrupt_while_damage_is_repaired_waits_for_the_loan() {
    let world = world();
    let size = 9 * 1024 * 1024;
    world.put("k", &content(9, size));
    world
        .emulator
        .set_rules(json!({"rules": [
            {"match": {"op": "GetObject", "nth": [2]}, "action": {"flip_bit": "out"}},
            {"match": {"op": "GetObject", "nth": [4]}, "action": {"stall_after_bytes": 1000}},
        ]}))
        .unwrap();
    let (alive, client) = (Arc::new(()), world.engine.client().clone());
    let mut watch = || match client.stats().get("crc_mismatched") {
        0 => Ok(()),
        _ => Err(Error::new(ErrorKind::Internal, "signal", "interrupted")),
    };
    let loan = Tracked { loan: lend(size).unwrap(), _alive: Arc::clone(&alive) };
    let Err(error) = world.reader("k").read_into(loan, &mut watch) else { panic!("it is interrupted") };
    assert_eq!(error.operation, "signal");
    assert_eq!(Arc::strong_count(&alive), 1, "no worker can still write into it");
}

/// The keys of an object that is held up, and of those behind it.
const HELD: [&str; 2] = ["held", "k"];

/// Lets the first object begin half a second late, however often it is asked for.
/// Long enough for a busy machine to do meanwhile what it is to do, and less than the 3 s to the first byte.
const HELD_MS: u64 = 2000;

fn hold_up(world: &World, content: &[u8]) {
    world.put("held", content);
    let rules = json!([{"match": {"op": "GetObject", "key": "held"}, "action": {"delay_ms": HELD_MS}}]);
    world.emulator.set_rules(json!({"rules": rules})).unwrap();
}

#[test]
fn an_object_that_is_held_up_does_not_stop_those_behind_it() {
    let world = world();
    world.put("k", &content(1, 1000));
    hold_up(&world, &content(1, 1000));
    let objects = (0..400).map(|number| listed(HELD[usize::from(number > 0)], Some(1000))).collect();
    let mut prefetch = prefetch(&world, objects, Missing::Raise);
    let mut most_asked = 0;
    while matches!(prefetch.try_next(), Next::Pending) {
        prefetch.top_up(lend).unwrap();
        most_asked = most_asked.max(prefetch.ahead());
        prefetch.wait(Duration::from_millis(50));
    }
    // Twice the window is 32.
    assert!(most_asked >= 100, "{most_asked}");
    assert_eq!(deliver_from(&mut prefetch, 1).len(), 399);
}

#[test]
fn test_f14_what_arrived_pays_for_the_second_request_of_the_first_object() {
    late_objects_are_asked_for_again(&world());
}

#[test]
fn test_f14_a_bound_that_holds_nothing_back_forbids_no_second_request() {
    late_objects_are_asked_for_again(&world_by(|config| {
        config.limits.max_requests_per_second = Some(100_000.0);
    }));
}

/// The first object comes only when it is asked for a second time, and that is done.
fn late_objects_are_asked_for_again(world: &World) {
    world.put("k", &content(1, 10_000));
    world
        .emulator
        .set_rules(json!({"rules": [
            {"match": {"op": "GetObject", "nth": [1, 2]}, "action": {"stall_after_bytes": 100, "count_from": "head"}},
        ]}))
        .unwrap();
    let objects = (0..400).map(|_| listed("k", Some(10_000))).collect();
    assert_eq!(deliver(&mut prefetch(world, objects, Missing::Raise)).len(), 400);
    let stats = world.engine.client().stats();
    // A busy machine may make others late as well.
    assert!(stats.get("hedges_won") >= 2, "both stalled before anything was delivered");
    assert_eq!(stats.get("retries_timeout"), 0);
}

#[test]
fn what_is_there_already_takes_half_of_the_bytes_at_most() {
    const SIZE: usize = 1 << 20;
    let world = world();
    world.put("k", &content(1, SIZE));
    hold_up(&world, &content(1, SIZE));
    let objects = (0..200).map(|number| listed(HELD[usize::from(number > 0)], Some(SIZE))).collect();
    let mut prefetch = prefetch(&world, objects, Missing::Raise);
    let (mut most_asked, half) = (0, 32);
    while matches!(prefetch.try_next(), Next::Pending) {
        prefetch.top_up(lend).unwrap();
        most_asked = most_asked.max(prefetch.ahead());
        prefetch.wait(Duration::from_millis(50));
    }
    assert!(most_asked <= half + 2 * 16, "{most_asked} MiB");
}

#[test]
fn what_is_of_unknown_size_is_counted_as_soon_as_it_is_told() {
    const SIZE: usize = 8 << 20;
    let world = world();
    world.put("held", &content(1, SIZE));
    world.put("k", &content(1, SIZE));
    // The first answer comes late; the others tell their size, and their bodies take as long.
    let rules = json!([
        {"match": {"op": "GetObject", "key": "held"}, "action": {"delay_ms": 800}},
        {"match": {"op": "GetObject", "key": "k"}, "action": {"stall_after_bytes": 100, "count_from": "body"}},
    ]);
    world.emulator.set_rules(json!({"rules": rules})).unwrap();
    // Of the first stream one window, as nothing is known yet; of the next ones what 48 of 64 MiB have room for.
    for most in [16, 6] {
        let objects = (0..60).map(|number| listed(HELD[usize::from(number > 0)], None)).collect();
        let mut prefetch = prefetch(&world, objects, Missing::Raise);
        let (mut most_asked, mut most_booked) = (0, 0);
        while matches!(prefetch.try_next(), Next::Pending) {
            prefetch.top_up(lend).unwrap();
            most_asked = most_asked.max(prefetch.ahead());
            most_booked = most_booked.max(world.engine.client().stats().get("read_ahead_bytes"));
            prefetch.wait(Duration::from_millis(5));
        }
        assert!(most_asked <= most, "{most_asked} objects");
        // The first one does not wait for room.
        assert!(most_booked <= (64 << 20) + SIZE as u64, "{most_booked} bytes");
        prefetch.close(Duration::from_secs(5));
    }
}

#[test]
fn what_turns_out_to_be_large_comes_in_parts_of_the_version_that_was_announced() {
    // A machine that stops for a moment is no reason to repeat one.
    let world = world_by(|config| config.timeouts = Timeouts::default());
    let whole = content(1, 9 << 20);
    world.put("k", &whole);
    let mut prefetch = prefetch(&world, vec![listed("k", None)], Missing::Raise);
    let body = loop {
        prefetch.top_up(lend).unwrap();
        match prefetch.try_next() {
            Next::Ready(_, outcome) => break outcome.unwrap(),
            _ => drop(prefetch.wait(Duration::from_millis(50))),
        }
    };
    let Body::Lent(loan) = body else { panic!("it is copied by whoever gets it: {body:?}") };
    assert_eq!(bytes_of(loan), whole);
    let journal = world.emulator.journal(0);
    let entries = journal["entries"].as_array().unwrap().iter();
    let asked: Vec<_> =
        entries.filter(|entry| entry["operation"] == "GetObject").map(|entry| &entry["headers"]).collect();
    let parts: Vec<_> = asked.iter().filter(|headers| headers["range"].is_string()).collect();
    assert_eq!(
        (asked.len(), parts.len()),
        (4, 3),
        "once to hear of it, and 9 MiB in parts of 4: {journal:#}"
    );
    assert!(parts.iter().all(|headers| headers["if-match"].is_string()));
    let stats = world.engine.client().stats();
    assert_eq!((stats.get("requests_failed"), stats.get("requests_cancelled")), (0, 1));
    assert_eq!((stats.get("crc_checked"), stats.get("read_ahead_bytes")), (1, 0));
}

#[test]
fn what_is_replaced_after_it_was_announced_comes_whole_in_its_new_version() {
    let world = world();
    world.put("k", &content(1, 9 << 20));
    let again = json!({"replace_object": {"body": {"repeat": "B", "count": 10 << 20}}});
    world
        .emulator
        .set_rules(json!({"rules": [{"match": {"op": "GetObject", "nth": [2]}, "action": again}]}))
        .unwrap();
    let delivered = deliver(&mut prefetch(&world, vec![listed("k", None)], Missing::Raise)).remove(0);
    assert_eq!(delivered.unwrap().unwrap().len(), 10 << 20);
    let stats = world.engine.client().stats();
    assert_eq!((stats.get("crc_checked"), stats.get("objects_changed")), (1, 0), "nobody had listed it");
}

#[test]
fn large_objects_of_unknown_size_wait_for_room_and_the_first_one_does_not() {
    const SIZE: usize = 9 << 20;
    let world = world_by(|config| config.limits.max_bytes_in_flight = 20 << 20);
    world.put("k", &content(1, SIZE));
    // Of the second stream it is known from the start what they likely take.
    for _ in 0..2 {
        let objects: Vec<_> = (0..30).map(|_| listed("k", None)).collect();
        let mut prefetch = prefetch(&world, objects, Missing::Raise);
        let (mut delivered, mut most_lent) = (0, 0);
        loop {
            prefetch.top_up(lend).unwrap();
            most_lent = most_lent.max(world.engine.client().stats().get("read_ahead_bytes"));
            match prefetch.try_next() {
                Next::Ready(position, outcome) => {
                    assert_eq!(position, delivered);
                    let Ok(Body::Lent(loan)) = outcome else { panic!("object {position}: {outcome:?}") };
                    assert_eq!(bytes_of(loan).len(), SIZE);
                    delivered += 1;
                }
                Next::Pending => drop(prefetch.wait(Duration::from_millis(50))),
                Next::End => break,
            }
        }
        assert_eq!(delivered, 30);
        assert!(most_lent <= (20 << 20) + SIZE as u64, "{most_lent} bytes");
    }
    assert_eq!(world.engine.client().stats().get("requests_failed"), 0);
}

#[test]
fn a_throttle_narrows_the_window() {
    let world = world();
    world.put("k", &content(1, 100));
    // Two rounds of 25 ms, and the window is at its ceiling of 16.
    world
        .emulator
        .set_rules(json!({"rules": [
            {"match": {"op": "GetObject", "nth": [60]}, "action": {"status": 503, "code": "TotalQpsLimitExceeded"}},
            {"match": {"op": "GetObject"}, "action": {"delay_ms": 25}},
        ]}))
        .unwrap();
    let objects = (0..150).map(|_| listed("k", Some(100))).collect();
    assert_eq!(deliver(&mut prefetch(&world, objects, Missing::Raise)).len(), 150);
    let stats = world.engine.client().stats();
    assert_eq!(stats.get("throttled"), 1);
    // 11, and a quarter more is tried soon after.
    assert!((11..16).contains(&stats.get("in_flight_limit")), "{}", stats.get("in_flight_limit"));
}

/// Memory that makes the worker panic which is to fill it.
#[derive(Debug)]
struct Trap {
    memory: Loan,
    is_set: bool,
}

impl Lend for Trap {
    fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        assert!(!self.is_set, "on purpose");
        self.memory.memory()
    }
}

#[test]
fn test_f95_a_worker_that_panics_fails_one_object_and_no_other() {
    let world = world();
    let sizes: Vec<usize> = (0..40).map(|number| 1000 + number).collect();
    for (number, size) in sizes.iter().enumerate() {
        world.put(&format!("k{number:02}"), &content(number, *size));
    }
    for _ in 0..5 {
        let objects =
            sizes.iter().enumerate().map(|(number, size)| listed(&format!("k{number:02}"), Some(*size)));
        let objects: Vec<_> = objects.collect();
        let positions = Box::new(0..objects.len() as u64);
        let mut prefetch: Prefetch<Trap> =
            Prefetch::new(&world.engine, Arc::new(List(objects)), positions, Missing::Raise).unwrap();
        let mut asked = 0;
        let mut outcomes = Vec::new();
        loop {
            let lent = prefetch.top_up(|size_bytes| {
                asked += 1;
                Ok::<_, Error>(Trap { memory: lend(size_bytes)?, is_set: asked % 3 == 0 })
            });
            lent.unwrap();
            match prefetch.try_next() {
                Next::Ready(_, outcome) => outcomes.push(outcome),
                Next::Pending => drop(prefetch.wait(Duration::from_millis(50))),
                Next::End => break,
            }
        }
        assert_eq!(outcomes.len(), sizes.len());
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(Body::Lent(trap)) => assert_eq!(bytes_of(trap.memory), content(number, sizes[number])),
                // One that was late, and asked for again.
                Ok(Body::Native(bytes)) => assert_eq!(bytes, content(number, sizes[number])),
                Ok(Body::Missing) => assert_eq!(number, usize::MAX, "nothing is missing"),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Internal, "{error}");
                    assert_eq!(number % 3, 2);
                }
            }
        }
    }
    assert_eq!(read_all(&mut world.reader("k07"), sizes[7]).unwrap(), content(7, sizes[7]));
    // One that was asked for again, and came meanwhile, is cut off.
    let end = SystemClock.now() + Duration::from_secs(20);
    while world.engine.client().stats().get("in_flight") > 0 {
        assert!(SystemClock.now() < end, "a request that nobody waits for ends");
        std::thread::yield_now();
    }
}
