//! A transaction: one thing that a relying party asks one person to sign.
//!
//! Its whole life is [`Transaction::step`], a pure function: time comes in as an argument, effects
//! go out as an [`Event`]. No clock, no store and no network is reachable from this module.
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
//! `Discard` hides it from its own caller for good, and cancels it where it was open.
//!
//! Two clocks run one after the other. At start + *go online* it expires, unless an addressed
//! device has been online by then (`reached`). The first take at *t* sets the deadline to the
//! earlier of *t* + *sign* and start + *go online* + *sign*; later takes do not move it.

mod end;

use std::sync::Arc;

use countersign_proof::Proof;

pub use self::end::{Decline, End, Timeout};
use crate::id::DeviceId;
use crate::limits::TAKES_MAX;
pub use crate::outcome::Outcome;
use crate::refusal::Refusal;
use crate::spec::{Clocks, TransactionSpec};
use crate::time::Timestamp;
use crate::user::Factor;

/// A transaction: what was agreed, and how far it has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transaction {
    /// What was fixed at its start.
    pub spec: Arc<TransactionSpec>,
    /// Which devices have its content, and from whom, in order; a device stands here once for each
    /// origin.
    pub takes: Vec<Take>,
    /// Where it is in its life.
    pub state: State,
    /// Whether its caller has deleted it: it stays, and its dialect knows it no more.
    pub discarded: bool,
}

/// The content was released for a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Take {
    /// The device.
    pub device: DeviceId,
    /// When, for the first time.
    pub at: Timestamp,
    /// To whom it was released.
    pub origin: TakeOrigin,
}

/// To whom a content was released.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TakeOrigin {
    /// To the device, which authenticated itself, because the person opened it.
    Device,
    /// To a gateway, which named the device and proved nothing of it. Whether the device got the
    /// content, or showed it, is not known.
    Gateway,
}

/// Where a transaction is in its life. Each state holds exactly what is known in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// No device has taken it yet.
    Waiting {
        /// Whether an addressed device has been online since the start.
        reached: bool,
    },
    /// A device shows it to the person.
    Taken {
        /// When that must have led to something.
        deadline: Timestamp,
    },
    /// It is over, and stays so.
    Ended {
        /// Since when.
        at: Timestamp,
        /// How.
        end: End,
    },
}

/// What may happen to a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// An addressed device is online.
    Reach,
    /// A device wants to show it.
    Take {
        /// Which, one of the user's.
        device: DeviceId,
        /// What came of its proof of the PIN.
        pin: Pin,
    },
    /// A gateway fetches it for a device.
    Fetch {
        /// The device, one of the user's.
        device: DeviceId,
    },
    /// A device hands in the signature.
    Finish {
        /// Which.
        device: DeviceId,
        /// Verified.
        proof: Proof,
    },
    /// A device hands in a code that is wrong.
    MistakeCode {
        /// Which.
        device: DeviceId,
        /// And was the wrong one too many.
        locks: bool,
    },
    /// The person says no.
    Decline {
        /// On this device.
        device: DeviceId,
        /// And why.
        reason: Decline,
        /// In what words.
        words: String,
    },
    /// A device cannot do it.
    Fail {
        /// Which.
        device: DeviceId,
        /// Why.
        reason: String,
    },
    /// The relying party takes it back.
    Cancel,
    /// The relying party deletes it, whatever became of it.
    Discard,
    /// Time has passed.
    Tick,
}

/// What came of a proof of the PIN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pin {
    /// None was given.
    Absent,
    /// It is right.
    Right,
    /// It is wrong.
    Wrong {
        /// And was the wrong one too many.
        locks: bool,
    },
}

/// What happened. Every event is committed, and owed to its listeners in the same commit.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// It began.
    Started,
    /// An addressed device came online.
    Reached,
    /// Its content was released for a device, the first time or after others.
    Taken,
    /// The PIN was proved once more by a device that has it already.
    PinProved,
    /// A wrong PIN was given.
    PinMistaken,
    /// A wrong code was given.
    CodeMistaken,
    /// Its caller deleted it after it had ended.
    Discarded,
    /// It ended.
    Ended(Outcome),
}

/// What a decision leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The transaction afterwards.
    pub next: Transaction,
    /// What happened; nothing, where the same input came again.
    pub event: Option<Event>,
}

impl Transaction {
    /// A transaction begins. Where no device is online and the terms leave no time to come online,
    /// it has ended when it begins.
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

    /// Decides what `input` does to this transaction at `now`.
    ///
    /// # Errors
    /// Refuses every input that the state does not allow; the transaction is then unchanged.
    pub fn step(self, input: Input, now: Timestamp) -> Result<Step, Refusal> {
        let late = now >= self.deadline();
        let (next, event) = match (&self.state, input) {
            // Networks repeat themselves: the same again is accepted, and changes nothing.
            (State::Ended { end, .. }, input) if input.repeats(end) => return Ok(self.same()),
            (State::Ended { .. }, Input::Tick | Input::Reach) => return Ok(self.same()),

            // What is deleted is deleted once, whatever became of it; what is open ends by that.
            (_, Input::Discard) if self.discarded => return Err(Refusal::Unknown),
            (State::Ended { .. }, Input::Discard) => {
                (Self { discarded: true, ..self }, Event::Discarded)
            }
            (_, Input::Discard) => {
                let end = if late { End::Expired(self.clock()) } else { End::Cancelled };
                Self { discarded: true, ..self }.ended(now, end)
            }

            // Then the ends, and the deadline, which outranks every answer.
            (State::Ended { end, .. }, _) => return Err(Refusal::Ended(end.outcome())),
            (_, Input::Tick) if !late => return Ok(self.same()),
            (_, Input::Tick) => {
                let clock = self.clock();
                self.ended(now, End::Expired(clock))
            }
            _ if late => return Err(Refusal::Late),

            // Then life.
            (_, Input::Cancel) => self.ended(now, End::Cancelled),
            (State::Waiting { reached: false }, Input::Reach) => {
                (Self { state: State::Waiting { reached: true }, ..self }, Event::Reached)
            }
            (_, Input::Reach) => return Ok(self.same()),
            (_, Input::Take { device, pin }) => return self.take(device, pin, now),
            (_, Input::Fetch { device }) => {
                self.may_fetch(device)?;
                (self.released(device, TakeOrigin::Gateway, now)?, Event::Taken)
            }
            (_, Input::Finish { device, proof }) => {
                self.may_finish(device)?;
                if proof.transaction() != self.spec.id.bytes() {
                    return Err(Refusal::BadProof(countersign_proof::BadProof::OtherTransaction));
                }
                self.ended(now, End::Finished { by: device, proof })
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

    fn take(self, device: DeviceId, pin: Pin, now: Timestamp) -> Result<Step, Refusal> {
        self.may_answer(device)?;
        match pin {
            _ if !self.spec.pin_required => {}
            Pin::Absent => return Err(Refusal::PinRequired),
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

    /// The same, released to one more device.
    fn released(
        mut self,
        device: DeviceId,
        origin: TakeOrigin,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if self.takes.len() >= TAKES_MAX {
            return Err(Refusal::ManyTakes);
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

    /// Whether `device`, one of the user's, has anything to say here.
    fn may_answer(&self, device: DeviceId) -> Result<(), Refusal> {
        if !self.spec.recipients.includes(device) {
            return Err(Refusal::Unknown);
        }
        match self.takes.first() {
            Some(first) if self.spec.once && first.device != device => Err(Refusal::OtherDevice),
            _ => Ok(()),
        }
    }

    /// Whether `device` may hand in a signature, all else being right. Asked before a signature is
    /// verified, so that nobody makes the server verify for nothing.
    ///
    /// # Errors
    /// Refuses a device that has not taken it.
    pub fn may_finish(&self, device: DeviceId) -> Result<(), Refusal> {
        self.may_answer(device)?;
        if !self.taken_by(device) {
            return Err(Refusal::NotTaken);
        }
        Ok(())
    }

    /// Whether a gateway may fetch it for `device`, one of the user's: once, before any take.
    /// Through a gateway no PIN can be proved, and no signature is accepted that does not name its
    /// transaction.
    ///
    /// # Errors
    /// Refuses what was taken, what asks for the PIN, and what could not be completed through a
    /// gateway.
    pub fn may_fetch(&self, device: DeviceId) -> Result<(), Refusal> {
        self.may_answer(device)?;
        if !self.takes.is_empty() {
            return Err(Refusal::OtherDevice);
        }
        if self.spec.pin_required {
            return Err(Refusal::PinRequired);
        }
        let can_end = self.spec.formats.all().iter().any(|form| form.names_transaction());
        can_end.then_some(()).ok_or(Refusal::OtherForm)
    }

    /// Whether its content was released for `device`, to the device itself or to a gateway.
    #[must_use]
    pub fn taken_by(&self, device: DeviceId) -> bool {
        self.takes.iter().any(|take| take.device == device)
    }

    /// Whether `device` took it itself, to show it.
    #[must_use]
    pub fn shown_by(&self, device: DeviceId) -> bool {
        let itself = |take: &Take| take.device == device && take.origin == TakeOrigin::Device;
        self.takes.iter().any(itself)
    }

    /// When it expires, if nothing happens; for an ended one, when it ended.
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

    /// The moment after which it cannot be open, whatever happens.
    #[must_use]
    pub fn last_moment(&self) -> Timestamp {
        match self.spec.clocks {
            Clocks::Two { go_online, sign } => self.spec.started_at + go_online + sign,
            Clocks::One(total) => self.spec.started_at + total,
        }
    }

    /// When what it tells last happened.
    #[must_use]
    pub fn moment(&self) -> Timestamp {
        match &self.state {
            State::Ended { at, .. } => *at,
            State::Waiting { .. } | State::Taken { .. } => {
                self.takes.last().map_or(self.spec.started_at, |take| take.at)
            }
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended { end, .. } => Some(end),
            State::Waiting { .. } | State::Taken { .. } => None,
        }
    }

    /// The clock that runs now.
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
    /// Whether this is what led to `end`, said once more.
    fn repeats(&self, end: &End) -> bool {
        match (self, end) {
            (Self::Finish { device, proof }, End::Finished { by, proof: first }) => {
                device == by && proof == first
            }
            (
                Self::Decline { device, reason, words },
                End::Declined { by, reason: first, words: said },
            ) => device == by && reason == first && words == said,
            (Self::Fail { device, reason }, End::Failed { by, reason: first }) => {
                device == by && reason == first
            }
            (Self::Cancel, End::Cancelled) => true,
            _ => false,
        }
    }
}

impl State {
    /// Whether it is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    /// Its name in the ledger, in logs and on the command line.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Taken { .. } => "taken",
            Self::Ended { end, .. } => end.outcome().as_str(),
        }
    }
}
