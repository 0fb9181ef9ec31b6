//! The raw limit of a server and a machine, for benchmarks to be measured against.
//!
//! Blocking threads send plain GETs over keep-alive connections and `recv` each body into fresh memory. Nothing is
//! signed, checked or put in order. `fill` makes the files that are served and writes down their CRC-64.
//!
//! ```text
//! raw-client fill DIR COUNT OBJECT_BYTES BIG_BYTES
//! raw-client objects ADDRESS COUNT OBJECT_BYTES THREADS
//! raw-client ranges ADDRESS BIG_BYTES RANGE_BYTES THREADS each|whole
//! ```

mod connection;
mod crc64;
mod fill;
mod load;

use std::process::ExitCode;

/// Whatever went wrong, as one line: a benchmark stops at the first failure.
type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: raw-client fill DIR COUNT OBJECT_BYTES BIG_BYTES
       raw-client objects ADDRESS COUNT OBJECT_BYTES THREADS
       raw-client ranges ADDRESS BIG_BYTES RANGE_BYTES THREADS each|whole";

fn run(arguments: &[&str]) -> Result<(), Failure> {
    match *arguments {
        ["fill", directory, count, object_bytes, big_bytes] => {
            fill::fill(directory.as_ref(), count.parse()?, object_bytes.parse()?, big_bytes.parse()?)
        }
        ["objects", address, count, object_bytes, threads] => {
            let load = load::objects(address, count.parse()?, object_bytes.parse()?, threads.parse()?)?;
            load.print()
        }
        ["ranges", address, big_bytes, range_bytes, threads, memory @ ("each" | "whole")] => {
            let whole = memory == "whole";
            let load =
                load::ranges(address, big_bytes.parse()?, range_bytes.parse()?, threads.parse()?, whole)?;
            load.print()
        }
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("raw-client: {failure}");
            ExitCode::FAILURE
        }
    }
}
