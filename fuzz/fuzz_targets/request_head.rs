//! Runs `targets::request_head` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otus_httpd_fuzz::targets::request_head(data));
