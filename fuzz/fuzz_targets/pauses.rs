#![no_main]

oss_fuzz::target!("pauses");
