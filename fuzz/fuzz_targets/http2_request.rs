//! Runs `targets::http2_request` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otus_httpd_fuzz::targets::http2_request(data));
