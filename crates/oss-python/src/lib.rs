//! oss-python
