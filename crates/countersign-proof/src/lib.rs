//! Signatures in, proofs out.
//!
//! The one promise: a [`Proof`] says that the holder of a certificate which chains to a tenant's
//! roots signed exactly these bytes, of this media type, for this transaction. [`cms::verify`]
//! makes it from what a device submitted. A signature that carries nothing else is
//! [`raw::verify`]'s. For a short code, which needs no certificate, [`ocra::verify`] makes one that
//! says that a holder of the device's code key did.
//!
//! ```text
//! Roots + certificate + chain ──▶ Signer ─┬──────────────┐
//!                                         ├─ cms::verify ├─ raw::verify ──▶ Proof
//! submission ─ ber ─▶ DER ─▶ Expected ────┘    Subject ──┘
//! ```
//!
//! Pure: no clock, no I/O, no randomness; times are arguments, in seconds since the Unix epoch.

mod bad;
pub mod ber;
pub mod cms;
mod fields;
mod key;
pub mod ocra;
pub mod oid;
mod proof;
pub mod raw;
mod request;
mod signer;

pub use bad::{Attribute, BadProof};
pub use cms::{Expected, Inspected};
pub use proof::Proof;
pub use raw::Raw;
pub use request::{REQUEST_BYTES_MAX, Request};
pub use signer::{CERTIFICATE_BYTES_MAX, CHAIN_CERTIFICATES_MAX, Roots, Signer, public_key};
