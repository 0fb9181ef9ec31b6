//! Blocks in, rows out; None wherever the bytes are not those of an encoder.

use super::columns::{COLUMNS, Column, EtagKind, read};
use crate::error::Error;
use crate::index::format::Row;
use crate::varint::Reading;

/// The blocks of a packed index.
pub(super) struct Blocks<'a> {
    reading: Reading<'a>,
    buckets: &'a [&'a str],
}

impl<'a> Blocks<'a> {
    pub(super) fn new(bytes: &'a [u8], buckets: &'a [&'a str]) -> Self {
        Blocks { reading: Reading(bytes), buckets }
    }

    fn block(&mut self) -> Option<Block<'a>> {
        let rows = self.reading.length()?;
        let mut columns = [const { Vec::new() }; COLUMNS];
        for column in &mut columns {
            *column = read(&mut self.reading)?;
        }
        Some(Block { rows, columns, buckets: self.buckets })
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Option<Block<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reading.0.is_empty() {
            return None;
        }
        let block = self.block();
        if block.is_none() {
            self.reading = Reading(&[]);
        }
        Some(block)
    }
}

/// The columns of some rows.
pub(super) struct Block<'a> {
    rows: usize,
    columns: [Vec<u8>; COLUMNS],
    buckets: &'a [&'a str],
}

impl Block<'_> {
    /// Gives each row to `push`; None if the block is damaged, and the error of `push` if it has one.
    pub(super) fn for_each(
        &self,
        push: &mut dyn FnMut(&Row<'_>) -> Result<(), Error>,
    ) -> Option<Result<(), Error>> {
        let mut columns = Readings(self.columns.each_ref().map(|column| Reading(column)));
        let (mut key, mut label, mut etag) = (Vec::new(), String::new(), String::new());
        for n in 0..self.rows {
            next_key(&mut key, &mut columns)?;
            next_label(&mut label, columns.of(Column::Label))?;
            next_etag(&mut etag, &mut columns)?;
            let range = match columns.of(Column::Range).number()? {
                0 => None,
                length => {
                    let start = columns.of(Column::Range).number()?;
                    Some(start..start.checked_add(length - 1)?)
                }
            };
            let bucket = columns.of(Column::Bucket).length()?;
            let pushed = push(&Row {
                bucket: self.buckets.get(bucket)?,
                key: std::str::from_utf8(&key).ok()?,
                range,
                size: self.size(n)?,
                etag: Some(etag.as_str()).filter(|etag| !etag.is_empty()),
                label: &label,
            });
            if pushed.is_err() {
                return Some(pushed);
            }
        }
        Some(Ok(()))
    }

    /// The outer None is damage, the inner one an unknown size.
    fn size(&self, n: usize) -> Option<Option<u64>> {
        let planes = &self.columns[Column::Size as usize];
        let mut size = 0;
        for plane in 0..8 {
            size |= u64::from(*planes.get(plane * self.rows + n)?) << (8 * plane);
        }
        Some(size.checked_sub(1))
    }
}

/// Where each column is read.
struct Readings<'a>([Reading<'a>; COLUMNS]);

impl<'a> Readings<'a> {
    fn of(&mut self, column: Column) -> &mut Reading<'a> {
        &mut self.0[column as usize]
    }
}

fn next_key(key: &mut Vec<u8>, columns: &mut Readings<'_>) -> Option<()> {
    let (front, back) = (columns.of(Column::Front).length()?, columns.of(Column::Back).length()?);
    let growth = columns.of(Column::Growth).number()?;
    let growth = (growth >> 1).cast_signed() ^ -(growth & 1).cast_signed();
    let total = key.len().checked_add_signed(isize::try_from(growth).ok()?)?;
    let length = total.checked_sub(front.checked_add(back)?)?;
    let between = columns.of(Column::Text).bytes(length)?;
    let end = key.len().checked_sub(back).filter(|end| *end >= front)?;
    key.splice(front..end, between.iter().copied());
    Some(())
}

fn next_label(label: &mut String, column: &mut Reading<'_>) -> Option<()> {
    let length = column.length()?;
    if length > 0 {
        label.clear();
        label.push_str(std::str::from_utf8(column.bytes(length - 1)?).ok()?);
    }
    Some(())
}

fn next_etag(etag: &mut String, columns: &mut Readings<'_>) -> Option<()> {
    let kind = *columns.of(Column::EtagKind).bytes(1)?.first()?;
    let kind = *EtagKind::ALL.get(usize::from(kind))?;
    etag.clear();
    if matches!(kind, EtagKind::Sum | EtagKind::Parts) {
        etag.push('"');
        for byte in columns.of(Column::EtagSum).bytes(16)? {
            for digit in [byte >> 4, byte & 0xF] {
                etag.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    if matches!(kind, EtagKind::Parts | EtagKind::Other) {
        let rest = columns.of(Column::EtagRest);
        let length = rest.length()?;
        etag.push_str(std::str::from_utf8(rest.bytes(length)?).ok()?);
    }
    if matches!(kind, EtagKind::Sum | EtagKind::Parts) {
        etag.push('"');
    }
    Some(())
}
