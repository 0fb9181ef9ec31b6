//! The raw limit of a server and a machine, for benchmarks to be measured against.
//!
//! Blocking threads send plain GETs over keep-alive connections and `recv` each body into fresh memory, or PUTs from
//! memory that stays the same. Nothing is signed, checked or put in order. `fill` makes the files that are served and
//! writes down their CRC-64; `crc64` tells that of a byte that is repeated.
//!
//! ```text
//! raw-client fill DIR COUNT OBJECT_BYTES BIG_BYTES HEAD_FILE
//! raw-client objects ADDRESS COUNT DISTINCT OBJECT_BYTES THREADS RECEIVE
//! raw-client ranges ADDRESS BIG_BYTES RANGE_BYTES THREADS each|whole|first RECEIVE
//! raw-client parts ADDRESS BYTES PART_BYTES THREADS
//! raw-client crc64 BYTE COUNT
//! ```
//!
//! ADDRESS is `host:port`, or for TLS `host:port,ca.pem`, the authority to trust.
//! RECEIVE is `all`, a body in as few calls as can be, or the most bytes that one call may take:
//! ```text
//! raw-client objects 127.0.0.1:8000 20000 1 112640 24 8192
//! ```

mod connection;
mod crc64;
mod epoll;
mod fill;
mod load;
mod tls;

use connection::Receive;
use load::Memory;
use std::process::ExitCode;

/// Whatever went wrong, as one line: a benchmark stops at the first failure.
type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: raw-client fill DIR COUNT OBJECT_BYTES BIG_BYTES HEAD_FILE
       raw-client objects ADDRESS COUNT DISTINCT OBJECT_BYTES THREADS RECEIVE
       raw-client ranges ADDRESS BIG_BYTES RANGE_BYTES THREADS each|whole|first RECEIVE
       raw-client parts ADDRESS BYTES PART_BYTES THREADS
       raw-client crc64 BYTE COUNT";

fn run(arguments: &[&str]) -> Result<(), Failure> {
    match *arguments {
        ["fill", directory, count, object_bytes, big_bytes, head_file] => {
            let (count, object_bytes, big_bytes) =
                (count.parse()?, object_bytes.parse()?, big_bytes.parse()?);
            fill::fill(directory.as_ref(), count, object_bytes, big_bytes, &std::fs::read(head_file)?)
        }
        ["objects", address, count, distinct, object_bytes, threads, receive] => {
            let (count, distinct) = (count.parse()?, distinct.parse()?);
            let (object_bytes, threads) = (object_bytes.parse()?, threads.parse()?);
            load::objects(address, count, distinct, object_bytes, threads, parse_receive(receive)?)?.print()
        }
        ["ranges", address, big_bytes, range_bytes, threads, memory, receive] => {
            let (big_bytes, range_bytes, threads) =
                (big_bytes.parse()?, range_bytes.parse()?, threads.parse()?);
            let (memory, receive) = (parse_memory(memory)?, parse_receive(receive)?);
            load::ranges(address, big_bytes, range_bytes, threads, memory, receive)?.print()
        }
        ["parts", address, bytes, part_bytes, threads] => {
            load::parts(address, bytes.parse()?, part_bytes.parse()?, threads.parse()?)?.print()
        }
        ["crc64", byte, count] => {
            println!("{}", crc64::of_one_byte(byte.parse()?, count.parse()?));
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

fn parse_receive(text: &str) -> Result<Receive, Failure> {
    Ok(if text == "all" { Receive::Whole } else { Receive::AsWrk(text.parse()?) })
}

fn parse_memory(text: &str) -> Result<Memory, Failure> {
    match text {
        "each" => Ok(Memory::Each),
        "whole" => Ok(Memory::Whole),
        "first" => Ok(Memory::First),
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
