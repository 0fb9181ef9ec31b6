//! Every parser against the stored corpus of `tests/corpus`, damaged in every way that a seed can think of.
//!
//! For each parser there is a folder of samples and a property: no panic, no endless loop, no more memory than it may
//! have, and an error of the right class or a value that can be written and read again. `cargo test --test corpus`
//! tries some thousand inputs a parser, the same each time; with `OSS_MUTATION_SECONDS=300` each parser gets so many
//! seconds of inputs that nobody has seen before (`make soak`). An input that is not survived is written to a file.
//! The same properties are given to coverage-guided fuzzers in `fuzz/`.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "a long run says how many inputs there were")]

mod inputs;
mod judge;
mod memory;
mod mutation;
mod parsers;

macro_rules! tests {
    ($($room:ident::$name:ident)*) => {
        $(
            #[test]
            fn $name() {
                judge::survive(stringify!($name), parsers::$room::$name());
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}
parsers::each_parser!(tests);

#[test]
fn every_parser_is_a_target_of_the_fuzzers_too() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let targets = std::fs::read_dir(fuzz.join("fuzz_targets")).expect("the targets");
    let mut names: Vec<String> =
        targets.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    let mut expected: Vec<String> = NAMES.iter().map(|name| format!("{name}.rs")).collect();
    expected.sort();
    assert_eq!(names, expected);
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    for name in NAMES {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
        let target = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).expect("a target");
        assert!(target.contains(&format!("oss_fuzz::target!(\"{name}\")")), "{name}");
    }
}
