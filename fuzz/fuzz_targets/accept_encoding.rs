//! Runs `targets::accept_encoding` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otus_httpd_fuzz::targets::accept_encoding(data));
