//! The pure parts of the hot path, again and again: `benches/instructions.py` counts their instructions.
//!
//! ```text
//! instructions sign|order|listing COUNT
//! ```

use oss_client::index::order::Order;
use oss_client::read::plan::{PART_BYTES, cut};
use oss_protocol::sign::{Credentials, RequestParts, Signer, Stamp};
use oss_protocol::time::UtcTime;
use oss_protocol::xml::{Document, ListBucketResult, ListedObject};
use std::error::Error;
use std::hint::black_box;

/// Keys of a full page.
const PAGE_KEYS: usize = 1000;

/// A page of a thousand keys is some 250 KB.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// Signs the head of a GET.
fn sign(count: usize) {
    let signer = Signer::new(Credentials::new("id", "secret".to_owned(), None), "cn-hangzhou");
    let stamp = Stamp::new(UtcTime(1_700_000_000));
    let mut head = Vec::with_capacity(1024);
    for _ in 0..count {
        let parts = RequestParts {
            method: "GET",
            bucket: Some("bucket"),
            key: Some(black_box("train/00000000.bin")),
            query: &[],
            headers: &[],
        };
        head.clear();
        signer.sign_into(&parts, &stamp, &mut head);
        black_box(&head);
    }
}

/// Draws positions of a shuffled epoch, and cuts a large object into parts.
fn order(count: usize) {
    let order = Order::shuffled(1_000_000, 7, 7, 7);
    for number in 0..count as u64 {
        black_box(order.row_at(black_box(number)));
        black_box(cut(0..black_box(4 * PART_BYTES), PART_BYTES).count());
    }
}

/// Reads a full page of a listing.
fn listing(count: usize) -> Result<(), Box<dyn Error>> {
    let contents = (0..PAGE_KEYS).map(|number| ListedObject {
        key: format!("train/{number:08}.bin"),
        size: 112_640,
        etag: format!("\"{number:032X}\""),
        last_modified: "2026-11-22T00:00:00.000Z".to_owned(),
        storage_class: "Standard".into(),
        object_type: "Normal".into(),
        ..ListedObject::default()
    });
    let page = ListBucketResult { contents: contents.collect(), ..ListBucketResult::default() }.encode();
    for _ in 0..count {
        black_box(ListBucketResult::decode(black_box(&page), MAX_PAGE_BYTES)?);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, count] = arguments.as_slice() else { return Err("sign|order|listing COUNT".into()) };
    let count = count.parse()?;
    match what.as_str() {
        "sign" => sign(count),
        "order" => order(count),
        "listing" => listing(count)?,
        _ => return Err("sign|order|listing COUNT".into()),
    }
    Ok(())
}
