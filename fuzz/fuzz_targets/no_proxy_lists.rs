#![no_main]

oss_fuzz::target!("no_proxy_lists");
