//! The PyO3 module `osstorchconnector._native`: conversion, GIL, signals. No decisions.

mod arguments;
mod buckets;
mod buffer;
mod client;
mod credentials;
mod errors;
mod index;
mod leaving;
mod listing;
mod module;
mod order;
mod prefetch;
mod process;
mod reader;
mod retired;
mod tail;
mod telling;
mod uploads;
mod waiting;
mod writer;
