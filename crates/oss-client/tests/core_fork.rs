//! A forked child makes its own state and leaves the parent's connections alone.
//!
//! One test: a process that forks runs nothing else meanwhile that the child would miss.

mod core_support;

use core_support::{Memory, content, get_whole, uri, world_with};
use oss_client::cancel::Cancel;
use oss_client::config::Timeouts;
use oss_client::fork;
use oss_client::operations::GetObject;
use oss_emulator::Options;

/// Runs `body` in a forked child; returns its exit code.
fn in_child(body: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child uses what is safe after fork in this process: the client is made for it, and the
    // allocator is. It leaves by _exit, so nothing of the parent's is dropped.
    #[expect(unsafe_code, reason = "there is no safe fork")]
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork failed");
        if child == 0 {
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
            libc::_exit(if ok { 0 } else { 1 });
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
    }
}

#[test]
fn test_f72_a_child_starts_afresh_and_the_parent_goes_on() {
    for tls in [false, true] {
        let world =
            world_with(Options { tls, ..Options::default() }, |config| config.timeouts = Timeouts::default());
        let bytes = content(1 << 20);
        world.put("slow", &bytes);
        for n in 0..20 {
            world.put(&format!("k{n}"), format!("body of k{n}").as_bytes());
        }
        get_whole(&world.client, "k0").unwrap();
        let before = fork::generation();
        assert_eq!(world.stat("connections_opened"), 1);

        // A read is in mid-body while we fork.
        world.rule(
            serde_json::json!({"key": "slow"}),
            serde_json::json!({"rate_bytes_per_second": 4 << 20}),
            1,
        );
        let (client, cancel) = (world.client.clone(), Cancel::new());
        let reading = cancel.clone();
        let reader = oss_client::sync::spawn("reader", move || {
            let mut memory = Memory::default();
            let got = client.get_object(&GetObject::whole(&uri("slow")), &mut memory, &reading);
            got.map(|got| (memory.bytes(), got.attempts))
        })
        .unwrap();
        while world.stat("bytes_received") < 100_000 {
            std::thread::yield_now();
        }
        let child = in_child(|| {
            let fresh = fork::generation() == before + 1 && world.client.stats().get("requests") == 0;
            // In a child a cancel of the parent's must not reach the parent's connection.
            cancel.cancel();
            let reads = (0..20).all(|n| {
                let key = format!("k{n}");
                get_whole(&world.client, &key)
                    .is_ok_and(|(bytes, _)| bytes == format!("body of {key}").as_bytes())
            });
            fresh && reads && world.client.stats().get("connections_opened") == 1
        });
        assert_eq!(child, 0, "tls {tls}");
        let (read, attempts) = reader.join().unwrap().unwrap();
        assert_eq!((read == bytes, attempts), (true, 1), "the parent's stream went on to its last byte");
        assert_eq!(fork::generation(), before);
        get_whole(&world.client, "k1").unwrap();

        // A child of a child, with the state of both generations before it forgotten.
        let grandchild = in_child(|| {
            get_whole(&world.client, "k2").is_ok() && in_child(|| get_whole(&world.client, "k3").is_ok()) == 0
        });
        assert_eq!(grandchild, 0);
    }
}
