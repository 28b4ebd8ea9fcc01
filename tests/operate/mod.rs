//! The server as its administrator sees it, a module a topic.
//!
//! Invariant: a test here starts the real program, and looks at it from outside.

mod privileges;
mod sandbox;
