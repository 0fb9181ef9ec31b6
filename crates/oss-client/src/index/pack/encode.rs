//! Rows in, blocks out.

use super::columns::{COLUMNS, Column, EtagKind, write};
use crate::index::format::Row;
use crate::varint::{put, put_length};

/// Most rows of a block: enough for the compression to learn, few enough to hold.
const BLOCK_ROWS: usize = 65_536;

/// A block is closed when its texts reach this: 4 MiB.
const BLOCK_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// Takes rows and gives blocks.
#[derive(Default)]
pub(super) struct Encoder {
    blocks: Vec<u8>,
    buckets: Vec<String>,
    columns: [Vec<u8>; COLUMNS],
    sizes: Vec<u64>,
    key: String,
    label: String,
    text_bytes: usize,
}

impl Encoder {
    pub(super) fn push(&mut self, row: &Row<'_>) {
        self.push_key(row.key);
        self.push_etag(row.etag.unwrap_or(""));
        let known = self.buckets.iter().rposition(|name| name == row.bucket);
        let bucket = known.unwrap_or_else(|| {
            self.buckets.push(row.bucket.to_owned());
            self.buckets.len() - 1
        });
        put_length(self.column(Column::Bucket), bucket);
        self.push_label(row.label);
        let ranges = self.column(Column::Range);
        match &row.range {
            None => put(ranges, 0),
            Some(range) => {
                put(ranges, (range.end - range.start).saturating_add(1));
                put(ranges, range.start);
            }
        }
        self.sizes.push(row.size.map_or(0, |size| size.wrapping_add(1)));
        self.text_bytes += row.key.len() + row.label.len() + row.etag.map_or(0, str::len);
        if self.sizes.len() == BLOCK_ROWS || self.text_bytes >= BLOCK_TEXT_BYTES {
            self.close_block();
        }
    }

    /// The buckets and the blocks.
    pub(super) fn finish(mut self) -> (Vec<String>, Vec<u8>) {
        self.close_block();
        (self.buckets, self.blocks)
    }

    fn column(&mut self, column: Column) -> &mut Vec<u8> {
        &mut self.columns[column as usize]
    }

    fn push_key(&mut self, key: &str) {
        let last = std::mem::take(&mut self.key);
        let (old, new) = (last.as_bytes(), key.as_bytes());
        let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let rest = (old.len() - front).min(new.len() - front);
        let back = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
        put_length(self.column(Column::Front), front);
        put_length(self.column(Column::Back), back);
        let between = &new[front..new.len() - back];
        put(self.column(Column::Growth), zigzag(new.len().wrapping_sub(old.len())));
        self.column(Column::Text).extend_from_slice(between);
        self.key = last;
        key.clone_into(&mut self.key);
    }

    fn push_etag(&mut self, etag: &str) {
        let kind = match (etag, sum_and_rest(etag)) {
            ("", _) => EtagKind::None,
            (_, Some((sum, ""))) => {
                self.column(Column::EtagSum).extend_from_slice(&sum);
                EtagKind::Sum
            }
            (_, Some((sum, parts))) => {
                self.column(Column::EtagSum).extend_from_slice(&sum);
                self.push_text(Column::EtagRest, parts);
                EtagKind::Parts
            }
            (other, None) => {
                self.push_text(Column::EtagRest, other);
                EtagKind::Other
            }
        };
        self.column(Column::EtagKind).push(kind as u8);
    }

    fn push_text(&mut self, column: Column, text: &str) {
        let column = self.column(column);
        put_length(column, text.len());
        column.extend_from_slice(text.as_bytes());
    }

    fn push_label(&mut self, label: &str) {
        if label == self.label {
            self.column(Column::Label).push(0);
            return;
        }
        let column = self.column(Column::Label);
        put_length(column, label.len() + 1);
        column.extend_from_slice(label.as_bytes());
        label.clone_into(&mut self.label);
    }

    fn close_block(&mut self) {
        if self.sizes.is_empty() {
            return;
        }
        let planes = (0..64).step_by(8).flat_map(|shift| {
            let byte = move |size: &u64| (size >> shift & 0xFF) as u8;
            self.sizes.iter().map(byte)
        });
        self.columns[Column::Size as usize] = planes.collect();
        put_length(&mut self.blocks, self.sizes.len());
        for (column, bytes) in ALL.into_iter().zip(&mut self.columns) {
            write(&mut self.blocks, column, bytes);
            bytes.clear();
        }
        self.sizes.clear();
        self.key.clear();
        self.label.clear();
        self.text_bytes = 0;
    }
}

/// Small numbers of either sign as small numbers: 0, -1, 1, -2 become 0, 1, 2, 3.
fn zigzag(difference: usize) -> u64 {
    let signed = difference as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

/// The columns in the order of a block.
const ALL: [Column; COLUMNS] = [
    Column::Front,
    Column::Back,
    Column::Growth,
    Column::Text,
    Column::Size,
    Column::EtagKind,
    Column::EtagSum,
    Column::EtagRest,
    Column::Bucket,
    Column::Label,
    Column::Range,
];

/// The sixteen bytes of an MD5 in capitals, and what follows it before the closing quote: nothing, or `-<parts>`.
fn sum_and_rest(etag: &str) -> Option<([u8; 16], &str)> {
    let inner = etag.strip_prefix('"')?.strip_suffix('"')?;
    let (digits, rest) = inner.split_at_checked(32)?;
    let mut sum = [0; 16];
    for (byte, pair) in sum.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    (rest.is_empty() || rest.starts_with('-')).then_some((sum, rest))
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
