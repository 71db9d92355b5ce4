//! The state machine of one device's channel, without I/O: inputs, outputs and a deadline.
//!
//! A driver passes inputs to the session and then drains [`Session::poll`]. Then it waits for the
//! socket, a notification or [`Session::deadline`]. A session holds no content, only the ids of the
//! transactions that the device knows. If a session is lost, transactions are delayed but not lost.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use crate::id::{DeviceId, TransactionId};
use crate::limits::CHANNEL_FRAMES_MAX;
use crate::time::Timestamp;
use crate::transaction::Outcome;

/// The session of a device that has been welcomed.
#[derive(Debug)]
pub struct Session {
    known: BTreeSet<TransactionId>,
    outputs: VecDeque<SessionOutput>,
    pace: Pace,
    ping_at: Timestamp,
    silent_at: Timestamp,
    closed: bool,
}

/// The timing that keeps a channel alive.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The time between two pings.
    pub ping: Duration,
    /// The time for which a device may be silent; longer than `ping`.
    pub idle: Duration,
}

/// An input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionInput {
    /// The device sent a message, which may be a pong.
    Heard,
    /// A transaction for the device.
    Offer(TransactionId),
    /// A transaction ended.
    Ended(TransactionId, Outcome),
    /// Another device of the user was enrolled.
    DeviceAdded(DeviceId),
    /// A transaction ended, and this device learnt it from the answer to its own call.
    Told(TransactionId),
    /// The device opened another channel.
    Replaced,
    /// The device or its user was locked or logged out.
    Locked,
    /// Notifications for the device were lost, because it read too slowly.
    Overrun,
    /// The server is stopping.
    Stopping,
    /// The deadline has passed.
    Timeout,
}

/// An output for the driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionOutput {
    /// Send an offer of this transaction.
    Offer(TransactionId),
    /// Report that an offered transaction has ended without this device.
    Withdrawn(TransactionId, Outcome),
    /// Report that another device of the user was enrolled.
    DeviceAdded(DeviceId),
    /// Send a ping.
    Ping,
    /// Close the channel. No output follows.
    Close(Reason),
}

/// The reason for closing a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The device opened another channel.
    Replaced,
    /// The device or its user was locked or logged out.
    Locked,
    /// The device does not read fast enough. It resumes from the ledger.
    Slow,
    /// The device was silent for too long.
    Idle,
    /// The server is stopping. The device can connect to another node, or to this one later.
    Stopping,
}

impl Session {
    /// A session that begins at `now`; the welcome message contained `open`.
    #[must_use]
    pub fn welcomed(
        open: impl IntoIterator<Item = TransactionId>,
        pace: Pace,
        now: Timestamp,
    ) -> Self {
        Self {
            known: open.into_iter().collect(),
            outputs: VecDeque::new(),
            pace,
            ping_at: now + pace.ping,
            silent_at: now + pace.idle,
            closed: false,
        }
    }

    /// Handles an input.
    pub fn handle(&mut self, input: SessionInput, now: Timestamp) {
        if self.closed {
            return;
        }
        match input {
            SessionInput::Heard => self.silent_at = now + self.pace.idle,
            SessionInput::Offer(id) => {
                if self.known.insert(id) {
                    self.send(SessionOutput::Offer(id));
                }
            }
            SessionInput::Ended(id, outcome) => {
                if self.known.remove(&id) {
                    self.send(SessionOutput::Withdrawn(id, outcome));
                }
            }
            SessionInput::DeviceAdded(id) => self.send(SessionOutput::DeviceAdded(id)),
            SessionInput::Told(id) => {
                self.known.remove(&id);
            }
            SessionInput::Replaced => self.close(Reason::Replaced),
            SessionInput::Locked => self.close(Reason::Locked),
            SessionInput::Overrun => self.close(Reason::Slow),
            SessionInput::Stopping => self.close(Reason::Stopping),
            SessionInput::Timeout if now >= self.silent_at => self.close(Reason::Idle),
            SessionInput::Timeout if now >= self.ping_at => {
                self.ping_at = now + self.pace.ping;
                self.send(SessionOutput::Ping);
            }
            SessionInput::Timeout => {}
        }
    }

    /// The next output; `None` if there is none.
    pub fn poll(&mut self) -> Option<SessionOutput> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() {
            // An idle session has no room for outputs.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// The time at which to pass [`SessionInput::Timeout`].
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.ping_at.min(self.silent_at)
    }

    /// Closes the channel of a slow reader instead of buffering more.
    fn send(&mut self, output: SessionOutput) {
        if self.outputs.len() >= CHANNEL_FRAMES_MAX {
            self.close(Reason::Slow);
        } else {
            self.outputs.push_back(output);
        }
    }

    fn close(&mut self, reason: Reason) {
        self.outputs.clear();
        self.outputs.push_back(SessionOutput::Close(reason));
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { ping: Duration::from_secs(30), idle: Duration::from_secs(75) };
    const ONE: TransactionId = TransactionId(1);
    const TWO: TransactionId = TransactionId(2);

    fn told(inputs: &[(SessionInput, u64)]) -> Vec<SessionOutput> {
        let mut session = Session::welcomed([ONE], PACE, Timestamp(0));
        for (input, at) in inputs {
            session.handle(*input, Timestamp(*at));
        }
        core::iter::from_fn(|| session.poll()).collect()
    }

    #[test]
    fn each_transaction_is_offered_once_and_withdrawn_only_if_it_was() {
        assert_eq!(
            told(&[
                (SessionInput::Offer(ONE), 1),
                (SessionInput::Offer(TWO), 1),
                (SessionInput::Offer(TWO), 2)
            ]),
            [SessionOutput::Offer(TWO)]
        );
        let ended = |id| (SessionInput::Ended(id, Outcome::Cancelled), 3);
        assert_eq!(
            told(&[ended(ONE), ended(ONE), ended(TWO)]),
            [SessionOutput::Withdrawn(ONE, Outcome::Cancelled)]
        );
        assert_eq!(told(&[(SessionInput::Told(ONE), 1), ended(ONE)]), []);
    }

    #[test]
    fn an_added_device_is_reported_to_a_channel() {
        let added = DeviceId::try_from(7).unwrap();
        assert_eq!(
            told(&[(SessionInput::DeviceAdded(added), 1), (SessionInput::Replaced, 2)]),
            [SessionOutput::Close(Reason::Replaced)]
        );
        assert_eq!(
            told(&[(SessionInput::DeviceAdded(added), 1)]),
            [SessionOutput::DeviceAdded(added)]
        );
    }

    #[test]
    fn a_silent_device_is_pinged_and_then_closed() {
        assert_eq!(told(&[(SessionInput::Timeout, 29_999)]), []);
        assert_eq!(
            told(&[(SessionInput::Timeout, 30_000), (SessionInput::Timeout, 60_000)]),
            [SessionOutput::Ping, SessionOutput::Ping]
        );
        assert_eq!(told(&[(SessionInput::Timeout, 75_000)]), [SessionOutput::Close(Reason::Idle)]);
        assert_eq!(
            told(&[(SessionInput::Heard, 74_000), (SessionInput::Timeout, 75_000)]),
            [SessionOutput::Ping]
        );
    }

    #[test]
    fn the_channel_of_a_device_that_does_not_read_is_closed_without_further_output() {
        let flood: Vec<_> = (10..11 + CHANNEL_FRAMES_MAX as u128)
            .map(|n| (SessionInput::Offer(TransactionId(n)), 1))
            .collect();
        assert_eq!(told(&flood), [SessionOutput::Close(Reason::Slow)]);
        assert_eq!(
            told(&[
                (SessionInput::Replaced, 1),
                (SessionInput::Offer(TWO), 2),
                (SessionInput::Stopping, 3)
            ]),
            [SessionOutput::Close(Reason::Replaced)]
        );
    }
}
