//! The server as its administrator sees it: started, changed, watched, pressed, and ended, a module a topic.
//!
//! Invariant: whatever an administrator does or undergoes, clients that keep to the rules notice nothing, or what the
//! documentation says they do.

mod admin;
mod browsers;
mod certificates;
mod client_certificates;
mod configuration;
mod control;
mod drain;
mod exhaustion;
mod inherit;
mod limits;
mod log_files;
mod logs;
mod metrics;
mod privileges;
mod reload;
mod sandbox;
mod slow_clients;
mod status;
mod systemd;
mod upgrade;
