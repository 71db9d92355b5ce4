//! Counting the attempts of a delivery, the same in every adapter.

/// One more attempt than before. Stays below the largest number, so that counting the present
/// attempt does not overflow.
pub(crate) fn begun(attempts: u16) -> u16 {
    attempts.saturating_add(1).min(u16::MAX - 1)
}
