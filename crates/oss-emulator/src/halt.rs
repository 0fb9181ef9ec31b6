//! Why an operation ended without its proper answer.

use std::io;

use crate::refusal::Refusal;

/// The two ways in which a request can fail here.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The service refuses it: there is an answer.
    Refuse(Refusal),
    /// The connection is over: nothing can be answered.
    Gone,
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Halt::Refuse(refusal)
    }
}

impl From<io::Error> for Halt {
    fn from(_: io::Error) -> Self {
        Halt::Gone
    }
}
