//! Objects of pages that wait for their turn, in few bytes: a listing may have millions.

use super::Found;
use crate::operations::ListedObject;
use crate::varint::{Reading, put, put_length};

/// The objects of a page, front-coded.
#[derive(Debug)]
pub(super) struct WaitingPage(Vec<u8>);

impl WaitingPage {
    pub(super) fn of(objects: &[ListedObject]) -> Self {
        let mut bytes = Vec::with_capacity(objects.len() * 64);
        let mut last = "";
        for object in objects {
            let front = super::split::common_bytes(last, &object.key);
            put_length(&mut bytes, front);
            for text in [&object.key[front..], &object.etag] {
                put_length(&mut bytes, text.len());
                bytes.extend_from_slice(text.as_bytes());
            }
            put(&mut bytes, object.size);
            last = &object.key;
        }
        bytes.shrink_to_fit();
        WaitingPage(bytes)
    }

    /// Bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Gives each object to `take`.
    pub(super) fn for_each<E>(&self, mut take: impl FnMut(&Found<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut reading = Reading(&self.0);
        let mut key = String::new();
        while let Some((etag, size)) = next(&mut reading, &mut key) {
            take(&Found { key: &key, size, etag })?;
        }
        Ok(())
    }
}

fn next<'a>(reading: &mut Reading<'a>, key: &mut String) -> Option<(&'a str, u64)> {
    let front = reading.length()?;
    let text = |reading: &mut Reading<'a>| {
        let length = reading.length()?;
        std::str::from_utf8(reading.bytes(length)?).ok()
    };
    key.truncate(front);
    key.push_str(text(reading)?);
    Some((text(reading)?, reading.number()?))
}
