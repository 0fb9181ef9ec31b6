#![no_main]

oss_fuzz::target!("growing_indexes");
