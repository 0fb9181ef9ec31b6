#![no_main]

oss_fuzz::target!("process_outputs");
