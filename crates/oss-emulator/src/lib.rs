//! oss-emulator
