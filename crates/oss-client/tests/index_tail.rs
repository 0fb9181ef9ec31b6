//! Reading an index while it is written: every row once, none that is not whole, and none of a listing that failed.
#![expect(clippy::expect_used, reason = "a test that cannot set up its scene has failed")]

use std::fs;
use std::path::Path;

use oss_client::error::Error;
use oss_client::index::{Builder, Index, Row, Tail, build, build_from_rows};
use oss_client::objects::ObjectSource;
use proptest::prelude::*;

mod index_support;

use index_support::{Place, patiently};

fn built(path: &Path, fill: impl FnOnce(&mut Builder) -> Result<(), Error>) -> Result<Index, Error> {
    patiently(|patience| build(path, patience, |builder, _| fill(builder).map(|()| 0)))?;
    Index::open(path)
}

fn row(key: &str, size: u64) -> Row<'_> {
    Row { bucket: "b", key, range: None, size: Some(size), etag: Some("\"E\""), label: "" }
}

/// Takes all that a tail has to give now; pieces follow each other without a gap.
fn taken(tail: &mut Tail, keys: &mut Vec<String>) -> usize {
    let mut pieces = 0;
    loop {
        let piece = tail.next_piece().expect("a piece");
        assert_eq!(piece.first(), keys.len() as u64);
        assert_eq!(piece.count(), piece.first() + piece.rows());
        if piece.rows() == 0 {
            return pieces;
        }
        for position in piece.first()..piece.count() {
            let object = piece.object(position).expect("an object of the piece");
            assert_eq!((object.bucket, object.size, object.etag), ("b", Some(position), Some("\"E\"")));
            keys.push(object.key.to_owned());
        }
        assert_eq!(piece.object(piece.count()), None);
        assert_eq!(piece.first().checked_sub(1).and_then(|before| piece.object(before)), None);
        pieces += 1;
    }
}

#[test]
fn nobody_writes_nothing_to_read() {
    let place = Place::new();
    assert!(Tail::open(&place.file("index"), "b", 1).expect("no failure").is_none());
}

#[test]
fn rows_are_read_while_they_are_written() {
    let place = Place::new();
    let all: Vec<String> = (0..150_000).map(|n| format!("some/longer/prefix/{n:08}.jpg")).collect();
    let mut keys = Vec::new();
    let mut tail = None;
    let mut pieces = 0;
    let index = built(&place.file("index"), |builder| {
        for (n, key) in all.iter().enumerate() {
            builder.push(&row(key, n as u64))?;
            if n == 500 {
                let opened = tail.insert(Tail::open(&place.file("index"), "b", 1)?.expect("somebody writes"));
                assert_eq!(taken(opened, &mut keys), 1);
                assert!((200..=500).contains(&keys.len()), "{} rows", keys.len());
            }
        }
        Ok(())
    })
    .expect("built");
    let tail = tail.as_mut().expect("opened");
    pieces += taken(tail, &mut keys);
    // 10 MB are more than one piece, and what stands behind the rows is none.
    assert!(pieces >= 2, "{pieces} pieces");
    assert_eq!(keys, all);
    assert_eq!(tail.next_piece().expect("a piece").rows(), 0);
    assert!(tail.is_beginning_of(&index).expect("compared"));
}

#[test]
fn pieces_end_with_a_round_of_ranks() {
    let place = Place::new();
    let all: Vec<String> = (0..1000).map(|n| format!("{n:08}")).collect();
    let (mut keys, mut tail) = (Vec::new(), None);
    built(&place.file("index"), |builder| {
        for (n, key) in all.iter().enumerate() {
            builder.push(&row(key, n as u64))?;
            if n > 500 {
                let opened =
                    tail.get_or_insert(Tail::open(&place.file("index"), "b", 48)?.expect("somebody writes"));
                taken(opened, &mut keys);
                assert_eq!(keys.len() % 48, 0);
            }
        }
        Ok(())
    })
    .expect("built");
    taken(tail.as_mut().expect("opened"), &mut keys);
    assert_eq!(keys, all[..960]);
}

#[test]
fn another_listing_is_told_by_its_rows() {
    let place = Place::new();
    let keys: Vec<String> = (0..2000).map(|n| format!("{n:08}")).collect();
    let mut tail = None;
    let failed = built(&place.file("index"), |builder| {
        for (n, key) in keys.iter().enumerate() {
            builder.push(&row(key, n as u64))?;
        }
        tail = Tail::open(&place.file("index"), "b", 1)?;
        Err(Error::cancelled("list"))
    });
    assert!(failed.is_err());
    let tail = tail.as_mut().expect("opened");
    let mut read = Vec::new();
    taken(tail, &mut read);
    assert!(read.len() > 1000, "{} rows", read.len());
    let compared = |changed: usize, count: usize| {
        let _ = fs::remove_file(place.file("index"));
        let index = built(&place.file("index"), |builder| {
            let sizes = (0..).map(|n| if n == changed { 7777 } else { n as u64 });
            keys[..count].iter().zip(sizes).try_for_each(|(key, size)| builder.push(&row(key, size)))
        });
        tail.is_beginning_of(&index.expect("built")).expect("compared")
    };
    assert!(compared(usize::MAX, 2000));
    assert!(compared(1999, 2000));
    assert!(!compared(3, 2000));
    assert!(!compared(usize::MAX, 1000));
}

proptest! {
    #[test]
    fn whatever_was_written_of_a_file_only_whole_rows_are_read(
        labels in proptest::collection::vec("[a-ü]{0,9}", 1..20), cut in 0.0_f64..=1.0,
    ) {
        let place = Place::new();
        let rows: Vec<Row<'_>> = labels.iter().map(|label| Row { label, ..row(label, 1) }).collect();
        let given = rows.iter().cloned().map(Ok);
        patiently(|patience| build_from_rows(&place.file("index"), patience, given)).expect("built");
        let whole = fs::read(place.file("index")).expect("bytes");
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a small number")]
        let cut = (whole.len() as f64 * cut) as usize;
        place.written("index.building", &whole[..cut]);
        let mut tail = Tail::open(&place.file("index"), "b", 1).expect("opened").expect("somebody writes");
        let piece = tail.next_piece().expect("a piece");
        for position in 0..piece.rows() {
            let position_usize = usize::try_from(position).expect("small");
            prop_assert_eq!(piece.row(position).expect("a row"), rows[position_usize].clone());
        }
        // What is missing comes with the next piece.
        place.written("index.building", &whole);
        let behind = tail.next_piece().expect("a piece");
        prop_assert_eq!(piece.rows() + behind.rows(), rows.len() as u64);
    }
}
