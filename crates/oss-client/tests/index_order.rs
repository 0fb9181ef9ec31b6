//! Orders of an epoch: every row exactly once, and the same in every process.

use oss_client::index::order::{Order, Share};
use proptest::prelude::*;

#[test]
fn the_listed_order_is_the_identity() {
    let order = Order::Listed { rows: 3 };
    assert_eq!((0..4).map(|n| order.row_at(n)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2), None]);
}

#[test]
fn a_shuffled_order_never_changes_between_releases() {
    let order = Order::shuffled(10, 1, 2, 3);
    let rows: Vec<u64> = (0..10).filter_map(|n| order.row_at(n)).collect();
    assert_eq!(rows, [2, 6, 0, 1, 7, 9, 5, 4, 8, 3]);
}

#[test]
fn epochs_and_seeds_give_other_orders() {
    let take = |order: Order| (0..1000).filter_map(|n| order.row_at(n)).collect::<Vec<_>>();
    let first = take(Order::shuffled(1000, 7, 1, 0));
    assert_ne!(first, take(Order::shuffled(1000, 7, 1, 1)));
    assert_ne!(first, take(Order::shuffled(1000, 7, 2, 0)));
    assert_ne!(first, take(Order::shuffled(1000, 8, 1, 0)));
    let stayed = first.iter().enumerate().filter(|(n, row)| *n as u64 == **row).count();
    assert!(stayed < 20, "{stayed} of 1000 rows kept their place");
}

#[test]
fn a_share_is_dealt_in_runs_to_the_workers_of_a_rank() {
    let share = Share { first: 1, step: 2, run: 3, worker: 1, workers: 2 };
    // The rank has 1, 3, 5, ...; its first worker takes 1 3 5, its second 7 9 11, and so on in turn.
    let positions: Vec<u64> = (0..6).map(|place| share.position_at(place)).collect();
    assert_eq!(positions, [7, 9, 11, 19, 21, 23]);
}

proptest! {
    #[test]
    fn every_row_comes_exactly_once(rows in 0..3000_u64, fingerprint: u64, seed: u64, epoch: u64) {
        let order = Order::shuffled(rows, fingerprint, seed, epoch);
        let mut seen = vec![false; usize::try_from(rows).expect("few rows")];
        for position in 0..rows {
            let row = usize::try_from(order.row_at(position).expect("a row")).expect("few rows");
            prop_assert!(!std::mem::replace(&mut seen[row], true), "row {} twice", row);
        }
        prop_assert_eq!(order.row_at(rows), None);
    }

    #[test]
    fn large_orders_stay_inside(rows in 1..=u64::MAX, position: u64, key: u64) {
        let order = Order::Shuffled { rows, key };
        prop_assert!(order.row_at(position % rows).expect("a row") < rows);
    }
}
