#![no_main]

oss_fuzz::target!("ini_files");
