//! The way in which a transaction ended, without further data.
//!
//! [`End`] adds the device and the reason.
//!
//! [`End`]: crate::transaction::End

/// The outcome of a transaction.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// See [`End::Finished`](crate::transaction::End::Finished).
    Finished,
    /// See [`End::Declined`](crate::transaction::End::Declined).
    Declined,
    /// See [`End::Failed`](crate::transaction::End::Failed).
    Failed,
    /// See [`End::Expired`](crate::transaction::End::Expired).
    Expired,
    /// See [`End::Cancelled`](crate::transaction::End::Cancelled).
    Cancelled,
    /// See [`End::Locked`](crate::transaction::End::Locked).
    Locked,
}
