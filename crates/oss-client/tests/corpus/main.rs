//! Every parser against the stored corpus of `tests/corpus`, damaged in every way that a seed can think of.
//!
//! For each parser there is a folder of samples and a property: no panic, no endless loop, no more memory than it may
//! have, and an error of the right class or a value that can be written and read again. `cargo test --test corpus`
//! tries some thousand inputs a parser, the same each time; with `OSS_MUTATION_SECONDS=300` each parser gets so many
//! seconds of inputs that nobody has seen before (`make soak`). An input that is not survived is written to a file.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "a long run says how many inputs there were")]

mod files;
mod inputs;
mod judge;
mod memory;
mod messages;
mod mutation;
mod texts;
