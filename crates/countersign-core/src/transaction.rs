//! A transaction: one request of a relying party to one user to sign one thing.
//!
//! [`Transaction::step`], a pure function, decides every change of it: time is an argument, and the
//! effect is an [`Event`]. This module reaches no clock, no store and no network.
//!
//! ```text
//! start ──▶ Waiting ──Take──▶ Taken ──Finish──▶ Finished (Proof)
//!              │                └── (wrong PINs, wrong codes) ──▶ Locked (which)
//!              └────────────────┴── Decline ─────▶ Declined (who, why)
//!              └────────────────┴── Fail ────────▶ Failed (who, why)
//!              └────────────────┴── Cancel ──────▶ Cancelled
//!              └────────────────┴── Tick ────────▶ Expired (which clock)
//! ```
//!
//! `Discard` hides a transaction from its own caller for good. An open one is cancelled as well.
//!
//! Two clocks run one after the other. A transaction expires at start + *go online*, unless an
//! addressed device has been online by then (`reached`). The first take at *t* sets the deadline to
//! the earlier of *t* + *sign* and start + *go online* + *sign*; later takes do not move it.

mod client_step;
mod end;

use std::sync::Arc;

use countersign_proof::Proof;

pub use self::end::{Decline, End, IdentitySnapshot, Timeout};
use crate::id::DeviceId;
use crate::limits::TAKES_MAX;
pub use crate::outcome::Outcome;
use crate::refusal::DeviceRefusal;
use crate::spec::{Clocks, TransactionSpec};
use crate::time::Timestamp;
use crate::user::Factor;

/// A transaction: its fixed terms, and its present state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transaction {
    /// The terms, fixed at the start.
    pub spec: Arc<TransactionSpec>,
    /// The takes, in order. A device has at most one take for each origin.
    pub takes: Vec<Take>,
    /// The present state.
    pub state: State,
    /// Whether the caller has deleted it. A deleted transaction stays in the ledger, but its
    /// dialect no longer finds it.
    pub discarded: bool,
}

/// A release of the content for a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Take {
    /// The device.
    pub device: DeviceId,
    /// The time of the first release.
    pub at: Timestamp,
    /// The receiver of the content.
    pub origin: TakeOrigin,
}

/// The receiver of the content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TakeOrigin {
    /// The device, which authenticated itself, because the user opened the transaction.
    Device,
    /// A gateway, which named the device without proving anything about it. It is unknown if the
    /// device received or showed the content.
    Gateway,
}

/// The state of a transaction. Each state holds exactly what is known in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// No device has taken it yet.
    Waiting {
        /// Whether an addressed device has been online since the start.
        reached: bool,
    },
    /// A device shows it to the user.
    Taken {
        /// The time at which it expires.
        deadline: Timestamp,
    },
    /// It has ended. This state is final.
    Ended {
        /// The time of the end.
        at: Timestamp,
        /// The way in which it ended.
        end: End,
    },
}

/// What is asked of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// An addressed device is online.
    Reach,
    /// A device wants to show the content.
    Take {
        /// The device, one of the user's.
        device: DeviceId,
        /// The result of the check of the PIN.
        pin: Pin,
    },
    /// A gateway fetches the content for a device.
    Fetch {
        /// The device, one of the user's.
        device: DeviceId,
    },
    /// A device hands in a signature.
    Finish {
        /// The device that signed.
        device: DeviceId,
        /// The verified signature.
        proof: Proof,
        /// The identity of a raw signature.
        identity: Option<Box<IdentitySnapshot>>,
    },
    /// A device hands in a wrong code.
    MistakeCode {
        /// The device that handed in the code.
        device: DeviceId,
        /// Whether this wrong code locks the user, because it exceeds the limit.
        locks: bool,
    },
    /// The user declines.
    Decline {
        /// The device on which the user declined.
        device: DeviceId,
        /// The user's reason.
        reason: Decline,
        /// The user's own words.
        words: String,
    },
    /// A device reports that it cannot sign.
    Fail {
        /// The device that reports it.
        device: DeviceId,
        /// The device's reason.
        reason: String,
    },
    /// The client cancels it.
    Cancel,
    /// The client deletes it, in any state.
    Discard,
    /// Time has passed.
    Tick,
}

/// The result of the check of a PIN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pin {
    /// No PIN was given.
    Absent,
    /// The PIN is right.
    Right,
    /// The PIN is wrong.
    Wrong {
        /// Whether this wrong PIN locks the user, because it exceeds the limit.
        locks: bool,
    },
}

/// An event of a transaction. It is committed together with the deliveries that it requires.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// The transaction started.
    Started,
    /// An addressed device came online.
    Reached,
    /// The content was released for a device, which may be the first or a further one.
    Taken,
    /// A device that had already taken the transaction proved the PIN again.
    PinProved,
    /// A wrong PIN was given.
    PinMistaken,
    /// A wrong code was given.
    CodeMistaken,
    /// The caller deleted the transaction after its end.
    Discarded,
    /// The transaction ended.
    Ended(Outcome),
}

/// The result of a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The transaction after the step.
    pub next: Transaction,
    /// The event; `None` if the same input came again.
    pub event: Option<Event>,
}

impl Transaction {
    /// Starts a transaction. It ends at once if no device is online and the terms allow no time to
    /// come online.
    #[must_use]
    pub fn start(spec: TransactionSpec) -> (Self, Event) {
        let at = spec.started_at;
        let state = State::Waiting { reached: spec.online };
        let spec = Arc::new(spec);
        let waiting = Self { spec, takes: Vec::new(), state, discarded: false };
        if at < waiting.deadline() {
            return (waiting, Event::Started);
        }
        let clock = waiting.clock();
        waiting.ended(at, End::Expired(clock))
    }

    /// Decides the effect of `input` on this transaction at `now`.
    ///
    /// # Errors
    /// Refuses every input that the state does not allow. A refusal changes nothing.
    pub fn step(self, input: Input, now: Timestamp) -> Result<Step, DeviceRefusal> {
        let late = now >= self.deadline();
        let (next, event) = match (&self.state, input) {
            // Inputs that no device sends have functions of their own, which can refuse less.
            (_, Input::Reach) => return Ok(self.reach(now)?),
            (_, Input::Cancel) => return Ok(self.cancel(now)?),
            (_, Input::Discard) => return Ok(self.discard(now)?),
            (_, Input::Tick) => return Ok(self.tick(now)),

            // Networks repeat messages: accept a repeated input, and change nothing.
            (State::Ended { end, .. }, input) if input.repeats(end) => return Ok(self.same()),

            // Next, ended transactions and the deadline, which outranks every other input.
            (State::Ended { end, .. }, _) => return Err(DeviceRefusal::Ended(end.outcome())),
            _ if late => return Err(DeviceRefusal::Late),

            // Next, inputs of an open transaction.
            (_, Input::Take { device, pin }) => return self.take(device, pin, now),
            (_, Input::Fetch { device }) => {
                self.may_fetch(device)?;
                (self.released(device, TakeOrigin::Gateway, now)?, Event::Taken)
            }
            (_, Input::Finish { device, proof, identity }) => {
                self.may_finish(device)?;
                if proof.transaction() != self.spec.id.bytes() {
                    return Err(DeviceRefusal::BadProof(
                        countersign_proof::BadProof::OtherTransaction,
                    ));
                }
                self.ended(now, End::Finished { by: device, proof, identity })
            }
            (_, Input::MistakeCode { device, locks }) => {
                self.may_finish(device)?;
                if locks {
                    self.ended(now, End::Locked { by: device, factor: Factor::Code })
                } else {
                    (self, Event::CodeMistaken)
                }
            }
            (_, Input::Decline { device, reason, words }) => {
                self.may_answer(device)?;
                self.ended(now, End::Declined { by: device, reason, words })
            }
            (_, Input::Fail { device, reason }) => {
                self.may_answer(device)?;
                self.ended(now, End::Failed { by: device, reason })
            }
        };
        Ok(Step { next, event: Some(event) })
    }

    fn take(self, device: DeviceId, pin: Pin, now: Timestamp) -> Result<Step, DeviceRefusal> {
        self.may_answer(device)?;
        match pin {
            _ if !self.spec.pin_required => {}
            Pin::Absent => return Err(DeviceRefusal::PinRequired),
            Pin::Wrong { locks: false } => {
                return Ok(Step { next: self, event: Some(Event::PinMistaken) });
            }
            Pin::Wrong { locks: true } => {
                let (next, event) =
                    self.ended(now, End::Locked { by: device, factor: Factor::Pin });
                return Ok(Step { next, event: Some(event) });
            }
            Pin::Right => {}
        }
        if self.shown_by(device) {
            let event = self.spec.pin_required.then_some(Event::PinProved);
            return Ok(Step { next: self, event });
        }
        let next = self.released(device, TakeOrigin::Device, now)?;
        Ok(Step { next, event: Some(Event::Taken) })
    }

    /// The transaction after one more release.
    fn released(
        mut self,
        device: DeviceId,
        origin: TakeOrigin,
        now: Timestamp,
    ) -> Result<Self, DeviceRefusal> {
        if self.takes.len() >= TAKES_MAX {
            return Err(DeviceRefusal::ManyTakes);
        }
        if matches!(self.state, State::Waiting { .. }) {
            let deadline = match self.spec.clocks {
                Clocks::Two { sign, .. } => self.last_moment().min(now + sign),
                Clocks::One(_) => self.last_moment(),
            };
            self.state = State::Taken { deadline };
        }
        self.takes.push(Take { device, at: now, origin });
        Ok(self)
    }

    /// Checks that `device`, one of the user's, may act on this transaction.
    fn may_answer(&self, device: DeviceId) -> Result<(), DeviceRefusal> {
        if !self.spec.recipients.includes(device) {
            return Err(DeviceRefusal::Unknown);
        }
        match self.takes.first() {
            Some(first) if self.spec.once && first.device != device => {
                Err(DeviceRefusal::OtherDevice)
            }
            _ => Ok(()),
        }
    }

    /// Checks that `device` may hand in a signature. Call it before verifying a signature, so that
    /// other devices cannot make the server verify signatures.
    ///
    /// # Errors
    /// Refuses a device that has neither taken the transaction, nor got it sealed at the start.
    pub fn may_finish(&self, device: DeviceId) -> Result<(), DeviceRefusal> {
        self.may_answer(device)?;
        if !self.taken_by(device) && self.spec.sealed_for != Some(device) {
            return Err(DeviceRefusal::NotTaken);
        }
        Ok(())
    }

    /// Checks that a gateway may fetch the transaction for `device`, one of the user's. This is
    /// possible once, before any take. A gateway cannot prove a PIN, and a signature through a
    /// gateway must name its transaction.
    ///
    /// # Errors
    /// Refuses a transaction that was taken, that requires the PIN, or that accepts no signature
    /// format that names its transaction.
    pub fn may_fetch(&self, device: DeviceId) -> Result<(), DeviceRefusal> {
        self.may_answer(device)?;
        if !self.takes.is_empty() {
            return Err(DeviceRefusal::OtherDevice);
        }
        if self.spec.pin_required {
            return Err(DeviceRefusal::PinRequired);
        }
        let can_end = self.spec.formats.all().iter().any(|form| form.names_transaction());
        can_end.then_some(()).ok_or(DeviceRefusal::OtherForm)
    }

    /// Whether the content was released for `device`, to the device itself or to a gateway.
    #[must_use]
    pub fn taken_by(&self, device: DeviceId) -> bool {
        self.takes.iter().any(|take| take.device == device)
    }

    /// Whether `device` itself took the transaction, to show it.
    #[must_use]
    pub fn shown_by(&self, device: DeviceId) -> bool {
        let itself = |take: &Take| take.device == device && take.origin == TakeOrigin::Device;
        self.takes.iter().any(itself)
    }

    /// The time at which it expires if nothing happens. For an ended transaction, the time of its
    /// end.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        match (&self.state, self.spec.clocks) {
            (State::Waiting { reached: false }, Clocks::Two { go_online, .. }) => {
                self.spec.started_at + go_online
            }
            (State::Waiting { .. }, _) => self.last_moment(),
            (State::Taken { deadline }, _) => *deadline,
            (State::Ended { at, .. }, _) => *at,
        }
    }

    /// The latest possible time of the end, whatever happens.
    #[must_use]
    pub fn last_moment(&self) -> Timestamp {
        match self.spec.clocks {
            Clocks::Two { go_online, sign } => self.spec.started_at + go_online + sign,
            Clocks::One(total) => self.spec.started_at + total,
        }
    }

    /// The time of the last change of its state.
    #[must_use]
    pub fn moment(&self) -> Timestamp {
        match &self.state {
            State::Ended { at, .. } => *at,
            State::Waiting { .. } | State::Taken { .. } => {
                self.takes.last().map_or(self.spec.started_at, |take| take.at)
            }
        }
    }

    /// The end, if it has ended.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended { end, .. } => Some(end),
            State::Waiting { .. } | State::Taken { .. } => None,
        }
    }

    /// The clock that is running.
    fn clock(&self) -> Timeout {
        match (&self.state, self.spec.clocks) {
            (State::Waiting { reached: false }, Clocks::Two { .. }) => Timeout::GoOnline,
            _ => Timeout::Sign,
        }
    }

    fn ended(self, at: Timestamp, end: End) -> (Self, Event) {
        let event = Event::Ended(end.outcome());
        (Self { state: State::Ended { at, end }, ..self }, event)
    }

    fn same(self) -> Step {
        Step { next: self, event: None }
    }
}

impl Input {
    /// Whether this input repeats the one that led to `end`.
    fn repeats(&self, end: &End) -> bool {
        match (self, end) {
            (
                Self::Finish { device, proof, identity: _ },
                End::Finished { by, proof: first, identity: _ },
            ) => device == by && proof == first,
            (
                Self::Decline { device, reason, words },
                End::Declined { by, reason: first, words: said },
            ) => device == by && reason == first && words == said,
            (Self::Fail { device, reason }, End::Failed { by, reason: first }) => {
                device == by && reason == first
            }
            _ => false,
        }
    }
}

impl State {
    /// Whether the transaction has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    /// The state's name in the ledger, in logs and on the command line.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Taken { .. } => "taken",
            Self::Ended { end, .. } => end.outcome().as_str(),
        }
    }
}
