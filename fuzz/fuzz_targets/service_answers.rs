#![no_main]

oss_fuzz::target!("service_answers");
