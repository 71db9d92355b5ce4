//! One device's channel, without the channel: what happened in, what to do out, and a deadline.
//!
//! A driver hands it what happened, then drains [`Session::poll`] until it is empty, then waits for
//! the socket, a bell or [`Session::deadline`]. It holds no content, only which transactions the
//! device knows of: losing it costs delay, never a transaction.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use crate::id::TransactionId;
use crate::limits::CHANNEL_FRAMES_MAX;
use crate::time::Timestamp;
use crate::transaction::Outcome;

/// A welcomed device's channel.
#[derive(Debug)]
pub struct Session {
    known: BTreeSet<TransactionId>,
    outputs: VecDeque<SessionOutput>,
    pace: Pace,
    ping_at: Timestamp,
    silent_at: Timestamp,
    closed: bool,
}

/// How a channel is kept alive.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one ping to the next.
    pub ping: Duration,
    /// How long a device may be silent; longer than `ping`.
    pub idle: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionInput {
    /// The device sent something, a pong included.
    Heard,
    /// There is something for it.
    Offer(TransactionId),
    /// Something ended.
    Ended(TransactionId, Outcome),
    /// Something ended, and this device was told in the answer to its own call.
    Told(TransactionId),
    /// The device opened another channel.
    Replaced,
    /// The device or its user was locked or logged out.
    Locked,
    /// News for it was lost, because it did not take what there was.
    Overrun,
    /// The server stops.
    Stopping,
    /// The deadline has passed.
    Timeout,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionOutput {
    /// Send an offer.
    Offer(TransactionId),
    /// Say that an offered transaction has ended elsewhere.
    Withdrawn(TransactionId, Outcome),
    /// Send a ping.
    Ping,
    /// Close, and do nothing more.
    Close(Reason),
}

/// Why the server closes a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The device opened another one.
    Replaced,
    /// The device or its user was locked or logged out.
    Locked,
    /// It does not read fast enough; it resumes from the ledger.
    Slow,
    /// It has been silent too long.
    Idle,
    /// The server stops; another one, or the same one later, is there.
    Stopping,
}

impl Session {
    /// A device was welcomed at `now`, with `open` in the welcome.
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

    /// Takes in what happened.
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

    /// Gives the next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    /// When to call back with [`SessionInput::Timeout`].
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.ping_at.min(self.silent_at)
    }

    /// A slow reader is closed, not buffered.
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
    fn a_device_that_does_not_read_is_closed_and_told_nothing_more() {
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
