//! What encryption adds between the socket and the body: records that trickle, and words that are no answer.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod core_support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use core_support::{BUCKET, Memory, World, client_with, config, content, get_whole, uri, world_with};
use oss_client::cancel::Cancel;
use oss_client::client::Client;
use oss_client::config::Timeouts;
use oss_client::error::{Error, ErrorKind};
use oss_client::operations::{GetObject, PutOptions};
use oss_emulator::Options;
use oss_protocol::sign::Credentials;
use serde_json::json;

const MS: Duration = Duration::from_millis(1);

#[expect(clippy::disallowed_methods, reason = "a test measures how long something took")]
fn now() -> Instant {
    Instant::now()
}

/// Says the bytes of `from` one by one, far more often than the tick of 10 ms, for half a minute.
fn drawl(mut from: impl Read, to: &mut TcpStream, said: &AtomicUsize) {
    let mut byte = [0];
    for _ in 0..10_000 {
        if from.read_exact(&mut byte).and_then(|()| to.write_all(&byte)).is_err() {
            return;
        }
        said.fetch_add(1, Ordering::SeqCst);
        std::thread::park_timeout(3 * MS);
    }
}

/// Listens, and lets `speak` speak to each who comes.
fn listen(speak: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::Builder::new().spawn(move || listener.incoming().flatten().for_each(speak)).unwrap();
    address
}

/// Leads to `target`. On the first `narrow` connections answers come freely at first, and from their 8 KiB on byte by
/// byte.
fn narrow_way_to(target: SocketAddr, narrow: usize) -> SocketAddr {
    let count = AtomicUsize::new(0);
    listen(move |mut client| {
        let freely = if count.fetch_add(1, Ordering::SeqCst) < narrow { 8192 } else { u64::MAX };
        let mut server = TcpStream::connect(target).unwrap();
        let (mut asks, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::Builder::new().spawn(move || io::copy(&mut asks, &mut to_server)).unwrap();
        let _ = io::copy(&mut (&mut server).take(freely), &mut client);
        drawl(server, &mut client, &AtomicUsize::new(0));
    })
}

fn address_of(world: &World) -> SocketAddr {
    world.emulator.endpoint().trim_start_matches("https://").parse().unwrap()
}

/// A client of the emulator that goes by `way`.
fn client_over(way: SocketAddr, world: &World, change: impl FnOnce(&mut Timeouts)) -> Client {
    let mut config = config(&format!("https://{way}"));
    config.ca_file = world.emulator.ca_file().map(Into::into);
    change(&mut config.timeouts);
    client_with(&config, world.emulator.credentials())
}

#[test]
fn test_f13_a_record_that_trickles_meets_the_deadline() {
    // A body of known length, and one in chunks, are received in different ways.
    for action in [json!({}), json!({"chunked": 100_000})] {
        let world = world_with(Options { tls: true, ..Options::default() }, |_config| {});
        world.put("k", &content(200_000));
        world.rule(json!({"op": "GetObject"}), action.clone(), 100);
        let way = narrow_way_to(address_of(&world), 100);
        let client = client_over(way, &world, |timeouts| timeouts.deadline = 2000 * MS);
        let started = now();
        let error = get_whole(&client, "k").unwrap_err();
        assert_eq!(error.kind, ErrorKind::RequestTimeout, "{action}: {error}");
        assert!(error.message.contains("deadline"), "{action}: {error}");
        assert!(started.elapsed() < 20_000 * MS, "{action}: {:?}", started.elapsed());
    }
}

#[test]
fn test_f13_a_record_that_trickles_is_given_up_for_another_connection() {
    for action in [json!({}), json!({"chunked": 100_000})] {
        let world = world_with(Options { tls: true, ..Options::default() }, |_config| {});
        let bytes = content(200_000);
        world.put("k", &bytes);
        world.rule(json!({"op": "GetObject"}), action.clone(), 100);
        let way = narrow_way_to(address_of(&world), 1);
        let client = client_over(way, &world, |timeouts| {
            timeouts.deadline = 20_000 * MS;
            timeouts.first_byte = 10_000 * MS;
            timeouts.read_stall = 10_000 * MS;
        });
        let started = now();
        let (read, got) = get_whole(&client, "k").unwrap();
        assert_eq!((read, got.attempts), (bytes, 2), "{action}");
        assert!(started.elapsed() < 10_000 * MS, "{action}: {:?}", started.elapsed());
        assert_eq!(client.stats().get("retries_timeout"), 1, "{action}");
    }
}

/// A server that says its hello so slowly that it takes minutes; and how many bytes of it were said.
fn slow_hello() -> (SocketAddr, Arc<AtomicUsize>) {
    // The largest record there is, whose first bytes begin a ServerHello.
    let hello = [0x16, 3, 3, 0x3F, 0xFF, 2, 0, 0x3F, 0xFB, 3, 3];
    let said = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&said);
    let speak = move |mut client: TcpStream| {
        // It does not speak first.
        let heard = client.read(&mut [0; 4096]);
        if heard.is_ok_and(|count| count > 0) {
            drawl(hello.chain(io::repeat(0)), &mut client, &counter);
        }
    };
    (listen(speak), said)
}

/// Reads from a server with which no connection comes about within `patience`.
fn read_from(server: SocketAddr, patience: Duration, cancel: &Cancel) -> Result<(), Error> {
    let mut config = config(&format!("https://{server}"));
    config.timeouts.tls_handshake = patience;
    config.timeouts.first_contact = patience;
    config.timeouts.deadline = config.timeouts.deadline.max(2 * patience);
    let client = client_with(&config, Credentials::new("id", "secret", None));
    client.get_object(&GetObject::whole(&uri("k")), &mut Memory::default(), cancel).map(drop)
}

#[test]
fn test_f13_a_handshake_that_trickles_ends_in_time() {
    let (server, _) = slow_hello();
    let started = now();
    let error = read_from(server, 300 * MS, &Cancel::new()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionFailed, "{error}");
    assert!(error.message.contains("the TLS handshake took too long"), "{error}");
    assert!(started.elapsed() < 10_000 * MS, "{:?}", started.elapsed());
}

#[test]
fn a_handshake_that_trickles_can_be_given_up() {
    let (server, said) = slow_hello();
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_from(server, 20_000 * MS, &cancel));
        while said.load(Ordering::SeqCst) < 5 && !reading.is_finished() {
            std::thread::yield_now();
        }
        cancel.cancel();
        assert_eq!(reading.join().unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    });
}

/// Leads to `target`, and stops taking what the client says for 300 ms.
fn halting_way_to(target: SocketAddr) -> SocketAddr {
    listen(move |client| {
        let server = TcpStream::connect(target).unwrap();
        let (mut answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::Builder::new().spawn(move || io::copy(&mut answers, &mut to_client)).unwrap();
        let taken = io::copy(&mut (&client).take(100_000), &mut &server);
        std::thread::park_timeout(300 * MS);
        let _ = taken.and_then(|_| io::copy(&mut &client, &mut &server));
    })
}

#[test]
fn test_f11_session_tickets_are_no_answer_to_an_upload_that_pauses() {
    let world = world_with(Options { tls: true, ..Options::default() }, |_config| {});
    let client = client_over(halting_way_to(address_of(&world)), &world, |timeouts| {
        timeouts.write_stall = 10_000 * MS;
        timeouts.first_byte = 10_000 * MS;
        timeouts.floor = 10_000 * MS;
        timeouts.deadline = 30_000 * MS;
    });
    // More than all the buffers on the way hold.
    let body = vec![7; 32 << 20];
    let written = client.put_object(&uri("k"), &[&body], &PutOptions::default(), &Cancel::new()).unwrap();
    assert_eq!((written.attempts, client.stats().get("retries_timeout")), (1, 0));
    assert_eq!(world.emulator.object(BUCKET, "k").unwrap(), body);
}
