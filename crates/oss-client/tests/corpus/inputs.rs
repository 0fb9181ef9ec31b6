//! The stored samples.

use std::fs;
use std::path::{Path, PathBuf};

use crate::mutation::Corpus;

/// The samples of `tests/corpus/<kind>`, in the order of their names.
pub(crate) fn corpus(kind: &str) -> Corpus {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus").join(kind);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&folder).expect("the corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    Corpus::new(paths.iter().map(|path| fs::read(path).expect("a sample")).collect())
}
