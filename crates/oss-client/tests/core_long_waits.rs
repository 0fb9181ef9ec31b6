//! Every long wait says so: what, where, which attempt, what failed last, how much longer.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod core_support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use core_support::{Memory, World, client_by, client_with, config, get_whole, uri, world_with};
use oss_client::cancel::Cancel;
use oss_client::client::Client;
use oss_client::clock::{Clock, SystemClock};
use oss_client::config::{ClientConfig, Proxy};
use oss_client::credentials::{CallbackProvider, Fetched};
use oss_client::error::ErrorKind;
use oss_client::logs;
use oss_client::operations::GetObject;
use oss_client::sync::{Arc, Mutex};
use oss_emulator::Options;
use oss_protocol::sign::Credentials;
use serde_json::json;
use socket2::{Domain, Socket, Type};

/// What was logged so far: the tests of this file run side by side, and the log is one.
static SEEN: Mutex<Vec<logs::Record>> = Mutex::new(Vec::new());

const MS: Duration = Duration::from_millis(1);

/// Told after 100 ms; nothing else ends a wait before the deadline of 1.8 s.
fn world(change: impl FnOnce(&mut ClientConfig)) -> World {
    world_with(Options::default(), |config| {
        config.timeouts.tell_after = 100 * MS;
        config.timeouts.tell_every = 10_000 * MS;
        config.timeouts.read_stall = 10_000 * MS;
        config.timeouts.first_byte = 10_000 * MS;
        config.timeouts.floor = 10_000 * MS;
        change(config);
    })
}

fn lines_about(key: &str) -> Vec<logs::Record> {
    let uri = format!("oss://bucket/{key}");
    let mut seen = SEEN.lock();
    seen.extend(logs::drain());
    seen.iter().filter(|record| record.text.contains(&uri)).cloned().collect()
}

/// The one line about `key`.
fn told(key: &str) -> String {
    let lines = lines_about(key);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((line.level, line.module), (logs::Level::Warning, "transport"));
    line.text.clone()
}

#[test]
fn a_body_that_stops_and_an_answer_that_does_not_come_say_so_once() {
    let world = world(|_config| {});
    let cases =
        [("body", json!({"stall_after_bytes": 3, "stall_ms": 5000})), ("answer", json!({"delay_ms": 5000}))];
    for (key, action) in cases {
        world.put(key, b"0123456789");
        world.rule(json!({"key": key, "op": "GetObject"}), action, 1);
        get_whole(&world.client, key).unwrap_err();
        let line = told(key);
        assert!(
            line.starts_with(&format!("GetObject oss://bucket/{key}: no progress for 0 s: nothing moves; ")),
            "{line}"
        );
        assert!(line.ends_with("; attempt 1, last cause: none; 2 s until the deadline"), "{line}");
    }
}

#[test]
fn the_attempt_and_the_last_cause_are_told() {
    let world = world(|_config| {});
    world.put("again", b"0123456789");
    let failing =
        json!({"match": {"key": "again", "nth": [1, 2]}, "action": {"status": 500, "message": "odd"}});
    let stalling = json!({"match": {"key": "again"}, "action": {"stall_after_bytes": 3, "stall_ms": 5000}});
    world.emulator.set_rules(json!({"rules": [failing, stalling]})).unwrap();
    get_whole(&world.client, "again").unwrap_err();
    let line = told("again");
    assert!(line.contains("nothing moves; attempt 3, last cause: ") && line.contains("500"), "{line}");
}

#[test]
fn a_pause_that_the_service_asks_for_is_told_by_who_must_wait_with_it() {
    let world = world(|_config| {});
    world.put("paused", b"x");
    world.put("other", b"x");
    let action = json!({"status": 503, "code": "ServiceBusy", "headers": {"x-oss-qos-delay-time": "700"}});
    world.rule(json!({"key": "paused", "op": "GetObject"}), action, 1);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| get_whole(&world.client, "paused").map(drop));
        // It tells of the pause itself, so the pause holds by then.
        while lines_about("paused").is_empty() {
            std::thread::yield_now();
        }
        get_whole(&world.client, "other").unwrap();
        first.join().unwrap().unwrap();
    });
    let line = told("other");
    assert!(line.contains("held back") && line.contains("attempt 1, last cause: none"), "{line}");
}

#[test]
fn a_pause_that_the_service_asks_for_is_told_by_who_was_refused() {
    let world = world(|_config| {});
    world.put("refused", b"x");
    let action = json!({"status": 503, "code": "ServiceBusy", "headers": {"x-oss-qos-delay-time": "700"}});
    world.rule(json!({"key": "refused", "op": "GetObject"}), action, 1);
    get_whole(&world.client, "refused").unwrap();
    let line = told("refused");
    assert!(line.contains("no progress for 0 s: failed, again in 0."), "{line}");
    assert!(line.contains("; attempt 1, last cause: ") && line.contains("503 ServiceBusy"), "{line}");
}

/// A client of `world` whose keys come from a function that answers after `delay`.
fn client_with_keys_after(world: &World, delay: Duration) -> Client {
    let keys = world.emulator.credentials();
    let provider = CallbackProvider::new("my.Vault", move || {
        SystemClock.sleep_until(SystemClock.now() + delay);
        Ok(Fetched { credentials: Some(keys.clone()), expires_at: None })
    });
    let mut config = config(&world.emulator.endpoint());
    config.timeouts.tell_after = 100 * MS;
    config.timeouts.tell_every = 10_000 * MS;
    client_by(&config, Arc::new(provider))
}

#[test]
fn waiting_for_keys_is_told_by_who_asks_and_by_who_waits_for_the_answer() {
    let world = world(|_config| {});
    let client = client_with_keys_after(&world, 800 * MS);
    let keys = ["key-asker", "key-waiter"];
    keys.iter().for_each(|key| world.put(key, b"x"));
    std::thread::scope(|scope| {
        for key in keys {
            scope.spawn(|| get_whole(&client, key).map(drop).unwrap());
        }
    });
    for key in keys {
        let line = told(key);
        let expected = format!(
            "GetObject oss://bucket/{key}: no progress for 0 s: waiting for credentials provider my.Vault; attempt 1, "
        );
        assert!(line.starts_with(&expected), "{line}");
        assert!(!line.contains(world.emulator.credentials().access_key_secret.expose()), "{line}");
    }
}

#[test]
fn waiting_for_a_connection_is_told() {
    let world = world(|config| config.limits.max_concurrency = 1);
    world.put("holds", b"0123456789");
    world.put("waits", b"x");
    let stall = json!({"stall_after_bytes": 3, "stall_ms": 900});
    world.rule(json!({"key": "holds", "op": "GetObject"}), stall, 1);
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| get_whole(&world.client, "holds").map(drop));
        while world.stat("in_flight") == 0 {
            std::thread::yield_now();
        }
        get_whole(&world.client, "waits").unwrap();
        holder.join().unwrap().unwrap();
    });
    let line = told("waits");
    assert!(line.contains("no progress for 0 s: all connections are busy; attempt 1"), "{line}");
}

#[test]
fn what_moves_says_nothing() {
    let world = world(|_config| {});
    world.put("slow", &[7; 3000]);
    world.rule(json!({"key": "slow"}), json!({"rate_bytes_per_second": 6000}), 1);
    get_whole(&world.client, "slow").unwrap();
    assert!(lines_about("slow").is_empty());
}

/// A client of `endpoint` with the timers of `world`.
fn client_waiting(endpoint: &str, change: impl FnOnce(&mut ClientConfig)) -> Client {
    let mut config = config(endpoint);
    config.timeouts.tell_after = 100 * MS;
    config.timeouts.tell_every = 10_000 * MS;
    config.timeouts.first_contact = 10_000 * MS;
    change(&mut config);
    client_with(&config, Credentials::new("id", "secret", None))
}

/// Gets `key` from who never lets a connection come about; gives up once that was told. The line.
fn told_while_connecting(client: &Client, key: &str) -> String {
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let getting = scope.spawn(|| {
            client.get_object(&GetObject::whole(&uri(key)), &mut Memory::default(), &cancel).map(drop)
        });
        while lines_about(key).is_empty() && !getting.is_finished() {
            std::thread::yield_now();
        }
        cancel.cancel();
        assert_eq!(getting.join().unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    });
    told(key)
}

#[test]
fn a_tls_handshake_that_does_not_end_is_told_before_it_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", silent.local_addr().unwrap());
    let client = client_waiting(&endpoint, |config| config.timeouts.tls_handshake = 10_000 * MS);
    let line = told_while_connecting(&client, "handshake");
    let expected =
        "GetObject oss://bucket/handshake: no progress for 0 s: waiting for the TLS handshake; attempt 1, ";
    assert!(line.starts_with(expected), "{line}");
}

#[test]
fn a_connect_that_does_not_end_is_told_before_it_is_given_up() {
    // Nobody accepts, and the queue of those who wait is full: the next one gets no answer at all.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(address).unwrap();
    let client = client_waiting(&format!("http://{address}"), |config| {
        config.timeouts.connect = 10_000 * MS;
    });
    let line = told_while_connecting(&client, "connect");
    assert!(line.contains("no progress for 0 s: waiting for connect; attempt 1, "), "{line}");
}

#[test]
fn a_proxy_that_does_not_answer_is_told_before_it_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client_waiting("https://oss-cn-hangzhou.aliyuncs.com", |config| {
        config.timeouts.tls_handshake = 10_000 * MS;
        config.proxy = Some(Proxy::parse(&format!("http://{}", silent.local_addr().unwrap())).unwrap());
    });
    let line = told_while_connecting(&client, "proxied");
    assert!(line.contains("waiting for the proxy's CONNECT; attempt 1, "), "{line}");
}
