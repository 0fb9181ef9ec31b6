//! The two loads: many small objects, and one large object by ranges.

use crate::{Failure, connection::Connection};
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

/// Gets every small object once, each into memory allocated for it and dropped after it.
pub(crate) fn objects(address: &str, count: u64, bytes: usize, threads: usize) -> Result<Load, Failure> {
    let work = |connection: &mut Connection, number: u64| {
        let mut body = Vec::with_capacity(bytes);
        let path = format!("/bucket/train/{number:08}.bin");
        connection.get(&path, None, &mut body.spare_capacity_mut()[..bytes])
    };
    let seconds = spread(address, count, threads, &work)?;
    Ok(Load { requests: count, bytes: count * bytes as u64, seconds })
}

/// Gets the large object once by ranges: `whole` into one fresh allocation, else each range into its own.
pub(crate) fn ranges(
    address: &str,
    bytes: u64,
    range_bytes: u64,
    threads: usize,
    whole: bool,
) -> Result<Load, Failure> {
    let count = bytes.div_ceil(range_bytes);
    let mut memory: Vec<u8> = Vec::with_capacity(if whole { bytes.try_into()? } else { 0 });
    let mut slots: Vec<_> = memory
        .spare_capacity_mut()
        .chunks_mut(range_bytes.try_into()?)
        .map(|slot| Mutex::new(Some(slot)))
        .collect();
    slots.truncate(count.try_into()?);
    let work = |connection: &mut Connection, number: u64| {
        let first = number * range_bytes;
        let last = bytes.min(first + range_bytes) - 1;
        let length = usize::try_from(last + 1 - first)?;
        let get = |connection: &mut Connection, body: &mut [MaybeUninit<u8>]| {
            connection.get("/bucket/big.bin", Some((first, last)), &mut body[..length])
        };
        if !whole {
            let mut body: Vec<u8> = Vec::with_capacity(length);
            return get(connection, body.spare_capacity_mut());
        }
        let slot = slots[usize::try_from(number)?].lock().ok().and_then(|mut slot| slot.take());
        get(connection, slot.ok_or("a range was taken twice")?)
    };
    let seconds = spread(address, count, threads, &work)?;
    Ok(Load { requests: count, bytes, seconds })
}

/// Lets `threads` threads, a connection each, take the numbers `0..count` in turn; returns the seconds it took.
fn spread<W>(address: &str, count: u64, threads: usize, work: &W) -> Result<f64, Failure>
where
    W: Fn(&mut Connection, u64) -> Result<(), Failure> + Sync,
{
    let next = AtomicU64::new(0);
    let worker = || -> Result<(), Failure> {
        let mut connection = Connection::open(address)?;
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
