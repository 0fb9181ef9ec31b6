#![no_main]

oss_fuzz::target!("chunked_bodies");
