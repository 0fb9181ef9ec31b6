#![no_main]

oss_fuzz::target!("index_files");
