#![no_main]

oss_fuzz::target!("header_values");
