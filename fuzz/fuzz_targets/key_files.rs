#![no_main]

oss_fuzz::target!("key_files");
