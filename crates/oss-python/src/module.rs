//! What the module exports.

use pyo3::prelude::*;

use crate::client::{Client, ObjectInfo};
use crate::index::Index;
use crate::prefetch::Prefetch;
use crate::process;
use crate::reader::Reader;
use crate::writer::Writer;

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

/// The Rust core of osstorchconnector.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Client>()?;
    module.add_class::<Index>()?;
    module.add_class::<Prefetch>()?;
    module.add_class::<Reader>()?;
    module.add_class::<Writer>()?;
    module.add_class::<ObjectInfo>()?;
    module.add_function(wrap_pyfunction!(option_names, module)?)?;
    module.add_function(wrap_pyfunction!(process::process_stats, module)?)?;
    module.add_function(wrap_pyfunction!(process::drain_logs, module)?)?;
    module.add_function(wrap_pyfunction!(emulator_main, module)?)
}
