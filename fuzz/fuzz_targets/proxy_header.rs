//! Runs `targets::proxy_header` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otus_httpd_fuzz::targets::proxy_header(data));
