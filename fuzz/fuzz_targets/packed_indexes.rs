#![no_main]

oss_fuzz::target!("packed_indexes");
