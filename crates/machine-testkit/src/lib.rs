//! What tests share: lab hosts that are real Debian systems, TCP proxies that make networks slow, short or
//! countable, what to do where a program is missing, the driver conformance suite and its fakes.
//!
//! In: a wish for a host or a fault. Out: the real thing, gone again when the value is dropped.
//! Nothing here is part of the product; other rooms name this one under `dev-dependencies` only.

pub mod conformance;
pub mod double;
mod ended;
pub mod lab;
pub mod openapi;
pub mod proxy;
pub mod skip;

pub use ended::Ended;
