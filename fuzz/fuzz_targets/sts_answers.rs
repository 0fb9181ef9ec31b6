#![no_main]

oss_fuzz::target!("sts_answers");
