//! Makes the objects that the server hands out, and the map of their checksums for its configuration.

use crate::{Failure, crc64::crc64};
use std::fs::{File, FileTimes, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Seconds after the epoch of the first object's mtime; each next object is one second younger, so that the ETags
/// the server makes from mtime and size differ.
const FIRST_MTIME: u64 = 1_700_000_000;

/// Bytes made and written at a time.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Writes `count` objects below `directory/bucket/train/`, one large `directory/bucket/big.bin` that begins with
/// `head`, and `directory/crc.map` with a line `path checksum;` for each.
pub(crate) fn fill(
    directory: &Path,
    count: u64,
    object_bytes: u64,
    big_bytes: u64,
    head: &[u8],
) -> Result<(), Failure> {
    create_dir_all(directory.join("bucket/train"))?;
    let mut map = BufWriter::new(File::create(directory.join("crc.map"))?);
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for number in 0..count {
        let path = format!("bucket/train/{number:08}.bin");
        let crc = write_object(&directory.join(&path), object_bytes, FIRST_MTIME + number, &[], &mut noise)?;
        writeln!(map, "/{path} {crc};")?;
    }
    let crc = write_object(&directory.join("bucket/big.bin"), big_bytes, FIRST_MTIME, head, &mut noise)?;
    writeln!(map, "/bucket/big.bin {crc};")?;
    map.flush()?;
    Ok(())
}

/// Writes one object of noise behind `head`, which fits a block, and returns its CRC-64.
fn write_object(path: &Path, bytes: u64, mtime: u64, head: &[u8], noise: &mut Noise) -> Result<u64, Failure> {
    let mut file = File::create(path)?;
    let mut block = vec![0; BLOCK_BYTES.min(bytes.try_into()?)];
    let (mut crc, mut left) = (0, bytes);
    while left > 0 {
        let now = block.len().min(left.try_into()?);
        noise.fill(&mut block[..now]);
        if left == bytes {
            block[..now]
                .get_mut(..head.len())
                .ok_or("the head is longer than a block")?
                .copy_from_slice(head);
        }
        crc = crc64(crc, &block[..now]);
        file.write_all(&block[..now])?;
        left -= now as u64;
    }
    file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(mtime)))?;
    Ok(crc)
}

/// xorshift64: the same bytes on every machine, and no two blocks alike.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, block: &mut [u8]) {
        for word in block.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}
