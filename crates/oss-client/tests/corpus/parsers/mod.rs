//! Parsers of what somebody else writes, and what must hold of every input that they are given.
//!
//! The mutation test beside this folder gives them damaged samples; `fuzz/` takes this folder too, and gives them what
//! a coverage-guided fuzzer makes of the same samples. A parser's name is that of its test, of its fuzz target and,
//! with hyphens, of its samples in `tests/corpus`.

pub(crate) mod files;
pub(crate) mod messages;
pub(crate) mod secrets;
pub(crate) mod texts;

/// Reads one input; says whether it was taken. Whatever else it finds wrong it panics about.
pub(crate) type Property = Box<dyn Fn(&[u8]) -> bool + Send>;
/// Makes a checksum right again, as one who forges a file would.
pub(crate) type Seal = fn(&mut Vec<u8>);

/// A parser, and what must hold of every input.
pub(crate) struct Parser {
    pub(crate) property: Property,
    pub(crate) seal: Option<Seal>,
}

impl Parser {
    fn new(property: impl Fn(&[u8]) -> bool + Send + 'static) -> Self {
        Parser { property: Box::new(property), seal: None }
    }

    /// One that looks at a checksum first.
    fn sealed(seal: Seal, property: impl Fn(&[u8]) -> bool + Send + 'static) -> Self {
        Parser { seal: Some(seal), ..Parser::new(property) }
    }
}

/// Hands the list of all parsers to a macro.
macro_rules! each_parser {
    ($then:ident) => {
        $then! {
            files::growing_indexes
            files::index_files
            files::ini_files
            files::key_files
            files::packed_indexes
            files::profiles
            messages::chunked_bodies
            messages::documents
            messages::pauses
            messages::questions
            messages::refusals
            messages::request_heads
            messages::response_heads
            messages::tunnel_heads
            secrets::credential_uris
            secrets::process_outputs
            secrets::service_answers
            secrets::sts_answers
            secrets::words
            texts::endpoints
            texts::header_values
            texts::locations
            texts::no_proxy_lists
            texts::proxies
        }
    };
}
pub(crate) use each_parser;
