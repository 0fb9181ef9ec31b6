//! A parallel listing is the serial one, whatever the keys look like; and it lets no lie through.
#![expect(clippy::expect_used, reason = "a test that cannot set up its scene has failed")]
#![expect(clippy::panic, reason = "a panic is what one of the tests injects")]

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use oss_client::cancel::Cancel;
use oss_client::crew::Crew;
use oss_client::error::{Error, ErrorKind};
use oss_client::list::{PageSource, Progress, Sweep};
use oss_client::operations::{ListPage, ListPageRequest, ListedObject, PageCost};
use oss_protocol::uri::ObjectUri;
use proptest::prelude::*;

/// How a bucket lies, from the page with this number on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    SameToken,
    NoToken,
    NotRising,
    OtherPrefix,
    IgnoresStartAfter,
    Fails,
    Panics,
}

/// A bucket of keys that answers in pages of `page_keys`.
struct Bucket {
    keys: BTreeSet<String>,
    page_keys: usize,
    requests: AtomicU64,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    lie: Option<(u64, Lie)>,
    /// Requests wait until so many are there at once, or for a moment.
    together: Option<(Mutex<usize>, Condvar)>,
    /// What each page claims to have taken.
    cost: PageCost,
}

impl Bucket {
    fn of(keys: impl IntoIterator<Item = String>, page_keys: usize) -> Self {
        Bucket {
            keys: keys.into_iter().collect(),
            page_keys,
            requests: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            lie: None,
            together: None,
            cost: PageCost::default(),
        }
    }

    fn honest_page(&self, request: &ListPageRequest<'_>) -> ListPage {
        let after = request.continuation_token.or(request.start_after).unwrap_or("");
        let from =
            if after < request.prefix { Bound::Included(request.prefix) } else { Bound::Excluded(after) };
        let mut keys = self
            .keys
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|key| key.starts_with(request.prefix));
        let objects: Vec<_> = keys.by_ref().take(self.page_keys).map(|key| object(key)).collect();
        let is_truncated = keys.next().is_some();
        let next_token = objects.last().map(|last| last.key.clone()).filter(|_| is_truncated);
        ListPage { objects, common_prefixes: Vec::new(), next_token, is_truncated, cost: self.cost }
    }

    fn serial(&self, prefix: &str) -> Vec<String> {
        self.keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect()
    }
}

fn object(key: &str) -> ListedObject {
    ListedObject {
        key: key.to_owned(),
        size: key.len() as u64,
        etag: format!("\"{key}\""),
        last_modified: None,
        storage_class: "Standard".into(),
        object_type: "Normal".into(),
    }
}

impl PageSource for Bucket {
    fn page(&self, request: &ListPageRequest<'_>, cancel: &Cancel) -> Result<ListPage, Error> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        if let Some((lock, condvar)) = &self.together {
            *lock.lock().expect("a lock") += 1;
            condvar.notify_all();
            let guard = lock.lock().expect("a lock");
            drop(condvar.wait_timeout(guard, Duration::from_micros(300)).expect("a lock"));
        }
        let mut page = self.honest_page(request);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if cancel.is_cancelled() {
            return Err(Error::cancelled("ListObjectsV2"));
        }
        match self.lie {
            Some((from, lie)) if number >= from => match lie {
                Lie::Panics => panic!("on purpose"),
                Lie::Fails => {
                    return Err(Error::new(ErrorKind::PermissionDenied, "ListObjectsV2", "no rights"));
                }
                Lie::SameToken => {
                    page.is_truncated = true;
                    page.next_token = Some(request.continuation_token.unwrap_or("p").to_owned());
                }
                Lie::NoToken => {
                    page.is_truncated = true;
                    page.next_token = None;
                }
                Lie::NotRising => page.objects.reverse(),
                Lie::OtherPrefix => page.objects.push(object("~elsewhere")),
                Lie::IgnoresStartAfter => {
                    if request.start_after.is_some() {
                        page = self.honest_page(&ListPageRequest {
                            bucket: request.bucket,
                            prefix: request.prefix,
                            start_after: None,
                            continuation_token: None,
                            delimiter: None,
                            max_keys: 0,
                        });
                    }
                }
            },
            _ => (),
        }
        Ok(page)
    }
}

fn sweep(bucket: &Bucket, prefix: &str, max_concurrency: usize) -> Result<Vec<String>, Error> {
    let uri = ObjectUri { bucket: "b".to_owned(), key: prefix.to_owned() };
    let (cancel, progress) = (Cancel::new(), Progress::default());
    let mut keys = Vec::new();
    Sweep { uri: &uri, max_concurrency, crew: &Crew::default(), cancel: &cancel, progress: &progress }.run(
        bucket,
        &mut |found| {
            assert_eq!(found.size, found.key.len() as u64);
            assert_eq!(found.etag, format!("\"{}\"", found.key));
            keys.push(found.key.to_owned());
            Ok(())
        },
    )?;
    Ok(keys)
}

/// Flat numbers, deep directories, one giant group beside small ones, other alphabets, all skewed.
fn key_sets() -> impl Strategy<Value = BTreeSet<String>> {
    let number = (0_u32..3000).prop_map(|n| format!("p/{n:08}"));
    let deep =
        ("[a-c]{1,2}", "[x-z]", 0_u32..50).prop_map(|(a, b, n)| format!("p/{a}/{a}{b}/{a}_{b}_{n}.jpg"));
    let giant = (0_u32..900)
        .prop_map(|n| format!("p/giant/common/prefix/of/all/{:x}", n.wrapping_mul(2_654_435_761)));
    let odd = "p/[ü😀\u{e000}\u{ffff}/%+ a~]{0,5}";
    let outside = "[oq][a-z]{0,3}";
    proptest::collection::btree_set(
        prop_oneof![5 => number, 5 => deep, 5 => giant, 2 => odd, 1 => outside],
        0..400,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_parallel_listing_is_the_serial_one(
        keys in key_sets(), page_keys in 1_usize..20, threads in 1_usize..9, whole_bucket: bool
    ) {
        let bucket = Bucket::of(keys, page_keys);
        let prefix = if whole_bucket { "" } else { "p/" };
        let listed = sweep(&bucket, prefix, threads).expect("a listing");
        prop_assert_eq!(listed, bucket.serial(prefix));
        prop_assert!(bucket.most_in_flight.load(Ordering::SeqCst) <= threads);
    }

    #[test]
    fn a_lie_is_an_error_and_never_a_gap(
        keys in key_sets(), page_keys in 2_usize..9, threads in 1_usize..9, from in 0_u64..12,
        lie in prop_oneof![
            Just(Lie::SameToken), Just(Lie::NoToken), Just(Lie::NotRising), Just(Lie::OtherPrefix),
            Just(Lie::IgnoresStartAfter), Just(Lie::Fails),
        ],
    ) {
        let bucket = Bucket { lie: Some((from, lie)), ..Bucket::of(keys, page_keys) };
        match sweep(&bucket, "p/", threads) {
            // The lie came too late, or said nothing wrong.
            Ok(listed) => prop_assert_eq!(listed, bucket.serial("p/")),
            Err(error) => {
                let expected = if lie == Lie::Fails { ErrorKind::PermissionDenied } else { ErrorKind::Listing };
                prop_assert_eq!(&error.kind, &expected, "{}", error);
                prop_assert!(error.to_string().contains("oss://b/p/"), "{}", error);
            }
        }
    }
}

#[test]
fn small_listings_cost_what_they_always_did() {
    for (keys, requests) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2000, 2), (4000, 4)] {
        let bucket = Bucket::of((0..keys).map(|n| format!("p/{n:08}")), 1000);
        assert_eq!(sweep(&bucket, "p/", 16).expect("a listing").len(), keys);
        assert_eq!(bucket.requests.load(Ordering::SeqCst), requests, "{keys} keys");
    }
}

#[test]
fn many_requests_are_in_flight_and_few_are_wasted() {
    let flat: Vec<String> = (0..200_000).map(|n| format!("p/{n:08}.jpg")).collect();
    let classes: Vec<String> = (0..200_000)
        .map(|n| format!("p/train/n{:08}/n{0:08}_{}.JPEG", n / 1300 * 7919, n % 1300 * 37))
        .collect();
    let hashed: Vec<String> =
        (0_u64..200_000).map(|n| format!("p/{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    for (name, keys) in [("flat", flat), ("classes", classes), ("hashed", hashed)] {
        let together = Some((Mutex::new(0), Condvar::new()));
        let bucket = Bucket { together, ..Bucket::of(keys, 1000) };
        assert_eq!(sweep(&bucket, "p/", 16).expect("a listing"), bucket.serial("p/"));
        let requests = bucket.requests.load(Ordering::SeqCst);
        assert!(requests <= 200 * 5 / 4 + 64 + 16, "{name}: {requests} requests");
        assert!(bucket.most_in_flight.load(Ordering::SeqCst) > 8, "{name}");
    }
}

#[test]
fn no_more_are_asked_for_than_the_processors_can_read() {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let whole = Duration::from_millis(1);
    // As if one request kept all of them busy.
    let cost = PageCost { whole, decoding: whole * processors };
    let together = Some((Mutex::new(0), Condvar::new()));
    let keys = (0..100_000).map(|n| format!("p/{n:08}.jpg"));
    let bucket = Bucket { together, cost, ..Bucket::of(keys, 1000) };
    assert_eq!(sweep(&bucket, "p/", 16).expect("a listing").len(), 100_000);
    assert_eq!(bucket.most_in_flight.load(Ordering::SeqCst), 1);
    assert_eq!(bucket.requests.load(Ordering::SeqCst), 100, "nobody was idle, so nothing was cut");
}

#[test]
fn a_listing_is_cut_later_where_reading_a_page_is_what_it_costs() {
    for (whole_ms, most_wasted) in [(2, 0), (40, 64)] {
        let cost = PageCost { whole: Duration::from_millis(whole_ms), decoding: Duration::from_millis(1) };
        let keys = (0..20_000).map(|n| format!("p/{n:08}.jpg"));
        let bucket = Bucket { cost, ..Bucket::of(keys, 1000) };
        assert_eq!(sweep(&bucket, "p/", 16).expect("a listing").len(), 20_000);
        let wasted = bucket.requests.load(Ordering::SeqCst) - 20;
        assert!(wasted <= most_wasted, "{whole_ms} ms a page: {wasted} requests too many");
    }
    let cost = PageCost { whole: Duration::from_millis(2), decoding: Duration::from_millis(1) };
    let together = Some((Mutex::new(0), Condvar::new()));
    let keys = (0..200_000).map(|n| format!("p/{n:08}.jpg"));
    let bucket = Bucket { together, cost, ..Bucket::of(keys, 1000) };
    assert_eq!(sweep(&bucket, "p/", 16).expect("a listing").len(), 200_000);
    assert!(bucket.most_in_flight.load(Ordering::SeqCst) > 1, "a long listing is shared all the same");
}

#[test]
fn test_f95_a_page_that_makes_a_thread_panic_is_the_listings_error() {
    let keys: Vec<String> = (0..50_000).map(|n| format!("p/{n:08}")).collect();
    // From the page on that the threads share.
    let bucket = Bucket { lie: Some((4, Lie::Panics)), ..Bucket::of(keys, 10) };
    let error = sweep(&bucket, "p/", 8).expect_err("a panic");
    assert_eq!(error.kind, ErrorKind::Internal, "{error}");
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[test]
fn the_error_of_the_taker_ends_it() {
    let bucket = Bucket::of((0..50_000).map(|n| format!("p/{n:08}")), 10);
    let uri = ObjectUri { bucket: "b".to_owned(), key: "p/".to_owned() };
    let (cancel, progress) = (Cancel::new(), Progress::default());
    let crew = Crew::default();
    let sweep = Sweep { uri: &uri, max_concurrency: 8, crew: &crew, cancel: &cancel, progress: &progress };
    let mut taken = 0;
    let ended = sweep.run(&bucket, &mut |_| {
        taken += 1;
        if taken == 500 { Err(Error::config("the disk is full")) } else { Ok(()) }
    });
    assert_eq!(ended.expect_err("its error").kind, ErrorKind::Config);
    let ended = sweep.run(&bucket, &mut |_| {
        cancel.cancel();
        Ok(())
    });
    assert_eq!(ended.expect_err("cancelled").kind, ErrorKind::Cancelled);
}
