//! The program's version.

/// The version, and the commit from which it was built, if that is known.
pub(crate) const LONG: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("COUNTERSIGN_COMMIT"), ")");
