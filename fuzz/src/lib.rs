//! The parsers of `tests/corpus`, for fuzzers that watch which code an input reaches.
//!
//! The properties are those of the mutation test, taken from there as they are: what a fuzzer finds is put into
//! `tests/corpus` and fails in `make test` too, without a fuzzer. The seeds are the samples of that folder.
#![expect(clippy::expect_used, clippy::panic, reason = "a property that does not hold ends the process")]

#[path = "../../crates/oss-client/tests/corpus/parsers/mod.rs"]
mod parsers;

use std::cell::OnceCell;

use parsers::Parser;

macro_rules! by_name {
    ($($room:ident::$name:ident)*) => {
        fn parser(name: &str) -> Parser {
            match name {
                $(stringify!($name) => parsers::$room::$name(),)*
                other => panic!("there is no parser {other}"),
            }
        }
    };
}
parsers::each_parser!(by_name);

thread_local! {
    static PARSER: OnceCell<Parser> = const { OnceCell::new() };
}

/// Gives one input to the parser of this target, and again with its checksum made right, where it has one.
pub fn give(name: &str, input: &[u8]) {
    PARSER.with(|cell| {
        let parser = cell.get_or_init(|| parser(name));
        (parser.property)(input);
        if let Some(seal) = parser.seal {
            let mut sealed = input.to_vec();
            seal(&mut sealed);
            (parser.property)(&sealed);
        }
    });
}

/// Makes a fuzz target of the parser of this name.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::give($name, input));
    };
}
