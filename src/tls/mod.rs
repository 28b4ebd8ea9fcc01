//! TLS: which certificate is shown to whom, and on which terms. Nothing outside of it names the library that does the cryptography.
