//! The public interface: every forged message is refused for its own reason, and OpenSSL accepts
//! every message that is accepted here.
#![expect(clippy::unwrap_used, reason = "every helper belongs to a test")]

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
