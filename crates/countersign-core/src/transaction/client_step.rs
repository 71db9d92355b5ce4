//! The steps that no device decides: those of the client and of the server. They can refuse less
//! than the steps of devices.

use super::{End, Event, State, Step, Transaction};
use crate::refusal::CancelRefusal;
use crate::time::Timestamp;

impl Transaction {
    /// [`super::Input::Reach`]: an addressed device is online.
    ///
    /// # Errors
    /// Refuses an open transaction whose deadline has passed.
    pub fn reach(self, now: Timestamp) -> Result<Step, CancelRefusal> {
        match self.state {
            State::Ended { .. } => Ok(self.same()),
            _ if now >= self.deadline() => Err(CancelRefusal::Late),
            State::Waiting { reached: false } => {
                let next = Self { state: State::Waiting { reached: true }, ..self };
                Ok(Step { next, event: Some(Event::Reached) })
            }
            State::Waiting { reached: true } | State::Taken { .. } => Ok(self.same()),
        }
    }

    /// [`super::Input::Cancel`]: the client cancels it. A repeated cancel changes nothing.
    ///
    /// # Errors
    /// Refuses a transaction that ended another way, or whose deadline has passed.
    pub fn cancel(self, now: Timestamp) -> Result<Step, CancelRefusal> {
        match &self.state {
            State::Ended { end: End::Cancelled, .. } => return Ok(self.same()),
            State::Ended { end, .. } => return Err(CancelRefusal::Ended(end.outcome())),
            _ if now >= self.deadline() => return Err(CancelRefusal::Late),
            State::Waiting { .. } | State::Taken { .. } => {}
        }
        let (next, event) = self.ended(now, End::Cancelled);
        Ok(Step { next, event: Some(event) })
    }

    /// [`super::Input::Discard`]: the client deletes it, once, in any state. Deleting an open
    /// transaction also ends it.
    ///
    /// # Errors
    /// Refuses a transaction that was deleted already.
    pub fn discard(self, now: Timestamp) -> Result<Step, CancelRefusal> {
        if self.discarded {
            return Err(CancelRefusal::Unknown);
        }
        let (next, event) = if self.state.is_ended() {
            (Self { discarded: true, ..self }, Event::Discarded)
        } else {
            let late = now >= self.deadline();
            let end = if late { End::Expired(self.clock()) } else { End::Cancelled };
            Self { discarded: true, ..self }.ended(now, end)
        };
        Ok(Step { next, event: Some(event) })
    }

    /// [`super::Input::Tick`]: time has passed. Ends an open transaction whose deadline has
    /// passed.
    #[must_use]
    pub fn tick(self, now: Timestamp) -> Step {
        if self.state.is_ended() || now < self.deadline() {
            return self.same();
        }
        let clock = self.clock();
        let (next, event) = self.ended(now, End::Expired(clock));
        Step { next, event: Some(event) }
    }
}
