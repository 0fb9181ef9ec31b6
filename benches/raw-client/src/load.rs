//! The loads: many small objects, one large object by ranges, and one written in parts.

use crate::{
    Failure,
    connection::{Connection, Receive},
};
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// What one run took.
pub(crate) struct Load {
    requests: u64,
    bytes: u64,
    seconds: f64,
}

impl Load {
    /// Prints one line of JSON.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        println!(
            "{{\"requests\": {}, \"bytes\": {}, \"seconds\": {:.6}, \"cpu_seconds\": {:.6}}}",
            self.requests,
            self.bytes,
            self.seconds,
            cpu_seconds()?,
        );
        Ok(())
    }
}

/// Gets `count` small objects, the first `distinct` in turn, each into memory allocated for it and dropped after it.
pub(crate) fn objects(
    address: &str,
    count: u64,
    distinct: u64,
    bytes: usize,
    threads: usize,
    receive: Receive,
) -> Result<Load, Failure> {
    let work = |connection: &mut Connection, number: u64| {
        let mut body = Vec::with_capacity(bytes);
        let path = format!("/bucket/train/{:08}.bin", number % distinct);
        connection.get(&path, None, &mut body.spare_capacity_mut()[..bytes])
    };
    let seconds = spread(address, count, threads, receive, &work)?;
    Ok(Load { requests: count, bytes: count * bytes as u64, seconds })
}

/// Where the ranges of the large object go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Each into an allocation of its own.
    Each,
    /// All into one fresh allocation.
    Whole,
    /// As `Each`, and every request is for the first range: as wrk can ask without a script.
    First,
}

/// Gets as many bytes as the large object has, by ranges.
pub(crate) fn ranges(
    address: &str,
    bytes: u64,
    range_bytes: u64,
    threads: usize,
    memory: Memory,
    receive: Receive,
) -> Result<Load, Failure> {
    let count = bytes.div_ceil(range_bytes);
    let whole = if memory == Memory::Whole { bytes.try_into()? } else { 0 };
    let mut whole: Vec<u8> = Vec::with_capacity(whole);
    let mut slots: Vec<_> = whole
        .spare_capacity_mut()
        .chunks_mut(range_bytes.try_into()?)
        .map(|slot| Mutex::new(Some(slot)))
        .collect();
    slots.truncate(count.try_into()?);
    let work = |connection: &mut Connection, number: u64| {
        let first = if memory == Memory::First { 0 } else { number * range_bytes };
        let last = bytes.min(first + range_bytes) - 1;
        let length = usize::try_from(last + 1 - first)?;
        let get = |connection: &mut Connection, body: &mut [MaybeUninit<u8>]| {
            connection.get("/bucket/big.bin", Some((first, last)), &mut body[..length])
        };
        if memory != Memory::Whole {
            let mut body: Vec<u8> = Vec::with_capacity(length);
            return get(connection, body.spare_capacity_mut());
        }
        let slot = slots[usize::try_from(number)?].lock().ok().and_then(|mut slot| slot.take());
        get(connection, slot.ok_or("a range was taken twice")?)
    };
    let seconds = spread(address, count, threads, receive, &work)?;
    Ok(Load { requests: count, bytes, seconds })
}

/// Puts so many bytes in parts, all from the same memory.
pub(crate) fn parts(address: &str, bytes: u64, part_bytes: u64, threads: usize) -> Result<Load, Failure> {
    let count = bytes.div_ceil(part_bytes);
    let memory = vec![0xA5; part_bytes.try_into()?];
    let work = |connection: &mut Connection, number: u64| {
        let length = usize::try_from(part_bytes.min(bytes - number * part_bytes))?;
        connection.put(&format!("/bucket/saved/part-{}", number % threads as u64), &memory[..length])
    };
    let seconds = spread(address, count, threads, Receive::Whole, &work)?;
    Ok(Load { requests: count, bytes, seconds })
}

/// Lets `threads` threads, a connection each, take the numbers `0..count` in turn; returns the seconds it took.
fn spread<W>(address: &str, count: u64, threads: usize, receive: Receive, work: &W) -> Result<f64, Failure>
where
    W: Fn(&mut Connection, u64) -> Result<(), Failure> + Sync,
{
    let next = AtomicU64::new(0);
    let worker = || -> Result<(), Failure> {
        let mut connection = Connection::open(address, receive)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            work(&mut connection, number)?;
        }
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// CPU-seconds of this process so far, user and system.
fn cpu_seconds() -> Result<f64, Failure> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to memory of the right type that this call alone may write.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: `getrusage` succeeded, so it has filled the struct.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}
