#![no_main]

oss_fuzz::target!("tunnel_heads");
