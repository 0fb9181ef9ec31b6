//! What the module exports.

use oss_protocol::crc64::{Crc64, combine};
use pyo3::prelude::*;

use crate::buffer::with_bytes;
use crate::client::{Client, ObjectInfo};
use crate::errors;
use crate::index::Index;
use crate::leaving;
use crate::order::{Order, Share};
use crate::prefetch::Prefetch;
use crate::process;
use crate::reader::Reader;
use crate::tail::{Piece, Tail};
use crate::telling;
use crate::waiting;
use crate::writer::Writer;

/// Bytes from which on hashing lets other Python threads run: about a microsecond of work at 30 GB/s.
const DETACH_BYTES: usize = 32 * 1024;

/// Names every option that `Client` takes.
#[pyfunction]
fn option_names() -> Vec<&'static str> {
    oss_client::config::option_names().collect()
}

/// Runs the emulator until SIGTERM; returns the exit status.
#[pyfunction]
fn emulator_main(py: Python<'_>, arguments: Vec<String>) -> i32 {
    py.detach(|| oss_emulator::main_with_args(arguments))
}

/// Computes the CRC-64/XZ that OSS keeps of an object, on from `value`.
#[pyfunction]
#[pyo3(signature = (data, value = 0))]
fn crc64(data: &Bound<'_, PyAny>, value: u64) -> PyResult<u64> {
    with_bytes(data, |py, bytes| {
        // Hashing a short piece takes less time than letting go of the GIL.
        if bytes.len() < DETACH_BYTES {
            return Ok(continued(value, bytes));
        }
        Ok(py.detach(|| continued(value, bytes)))
    })
}

/// Computes the CRC-64 of two neighbours from those of each.
#[pyfunction]
fn crc64_combine(first: u64, second: u64, second_bytes: u64) -> u64 {
    combine(first, second, second_bytes)
}

fn continued(value: u64, bytes: &[u8]) -> u64 {
    let mut crc = Crc64::with(value);
    crc.update(bytes);
    crc.value()
}

/// The Rust core of osstorchconnector.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::prepare(module.py())?;
    let at_exit = module.py().import("atexit")?.getattr("register")?;
    at_exit.call1((wrap_pyfunction!(leaving::leave, module)?,))?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Client>()?;
    module.add_class::<Index>()?;
    module.add_class::<Order>()?;
    module.add_class::<Piece>()?;
    module.add_class::<Prefetch>()?;
    module.add_class::<Reader>()?;
    module.add_class::<Share>()?;
    module.add_class::<Tail>()?;
    module.add_class::<Writer>()?;
    module.add_class::<ObjectInfo>()?;
    module.add_function(wrap_pyfunction!(crc64, module)?)?;
    module.add_function(wrap_pyfunction!(crc64_combine, module)?)?;
    module.add_function(wrap_pyfunction!(option_names, module)?)?;
    module.add_function(wrap_pyfunction!(process::process_stats, module)?)?;
    module.add_function(wrap_pyfunction!(process::drain_logs, module)?)?;
    module.add_function(wrap_pyfunction!(telling::answer_at, module)?)?;
    module.add_function(wrap_pyfunction!(telling::set_role, module)?)?;
    module.add_function(wrap_pyfunction!(telling::start_trace, module)?)?;
    module.add_function(wrap_pyfunction!(telling::state, module)?)?;
    module.add_function(wrap_pyfunction!(telling::stop_trace, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::raise_left_standing, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::show_logs_by, module)?)?;
    module.add_function(wrap_pyfunction!(emulator_main, module)?)
}
