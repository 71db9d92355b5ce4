//! Verifies signatures and returns proofs.
//!
//! The guarantee: a [`Proof`] says that the holder of a certificate which chains to a tenant's
//! roots signed exactly these bytes, of this media type, for this transaction. [`cms::verify`]
//! makes a proof of a device's CMS message, [`raw::verify`] of a bare signature. [`ocra::verify`]
//! makes one of a short code, without a certificate; it says that a holder of the device's code key
//! signed.
//!
//! ```text
//! Roots + certificate + chain ──▶ Signer ─┬──────────────┐
//!                                         ├─ cms::verify ├─ raw::verify ──▶ Proof
//! submission ─ ber ─▶ DER ─▶ Expected ────┘    Subject ──┘
//! ```
//!
//! The crate is pure: no clock, no I/O, no randomness. Times are arguments, in seconds since the
//! Unix epoch.

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
pub use signer::{
    CERTIFICATE_BYTES_MAX, CHAIN_CERTIFICATES_MAX, Roots, Signer, check_key_proof, public_key,
    validity,
};
