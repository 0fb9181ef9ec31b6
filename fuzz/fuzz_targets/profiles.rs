#![no_main]

oss_fuzz::target!("profiles");
