//! Proofs from outside: forged messages are refused, each for its own reason, and what is accepted
//! here OpenSSL accepts too.
#![expect(clippy::unwrap_used, reason = "every helper here is a test's")]

mod accepted;
mod certificates;
mod differential;
mod forger;
mod forgeries;
mod ocra;
mod openssl;
mod raw;
mod request;
mod vectors;
