//! Runs `targets::hpack` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otus_httpd_fuzz::targets::hpack(data));
