#![no_main]

oss_fuzz::target!("request_heads");
