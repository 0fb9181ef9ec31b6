#![no_main]

oss_fuzz::target!("credential_uris");
