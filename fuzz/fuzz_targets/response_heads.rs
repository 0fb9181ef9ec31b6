#![no_main]

oss_fuzz::target!("response_heads");
