//! oss-protocol
