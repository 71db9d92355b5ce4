//! Runs a device by itself, one transaction after the other, for the command line.

use core::future::Future;
use core::pin::Pin as Pinned;
use core::time::Duration;

use countersign_wire::body::{
    Code, DeclineReason, Ended, Match, Offer, Operation, RefusalBody, State, UserDevice,
};
use countersign_wire::frame::Withdrawn;
use countersign_wire::id::TransactionId;

use crate::device::{Device, Renewed};
use crate::document::BadDocument;
use crate::error::Error;
use crate::listen::Notice;
use crate::pin::Pin;
use crate::shown::RenderedContent;

/// The time without a notice after which the device looks for certificates that are due.
const RENEWAL_LOOK: Duration = Duration::from_hours(1);

/// The reaction to every shown transaction.
pub enum Answer {
    /// Approve. A transaction that needs a match code is skipped, because there is no user to read
    /// the code.
    Approve,
    /// Decline.
    Decline,
    /// Ask the user.
    Ask(Ask),
}

/// Asks the user. The future is dropped when the transaction ends or expires.
pub type Ask =
    Box<dyn FnMut(&RenderedContent) -> Pinned<Box<dyn Future<Output = Choice> + Send>> + Send>;

/// The choice of the user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Choice {
    /// Sign.
    Approve {
        /// The code that the application shows, if one is needed.
        match_code: Option<String>,
    },
    /// Decline.
    Decline(DeclineReason),
    /// Leave the transaction open until it expires.
    Leave,
}

/// The parameters of a run.
pub struct Run {
    /// The reaction to every shown transaction.
    pub answer: Answer,
    /// The PIN, for transactions that need it.
    pub pin: Option<Pin>,
    /// The number of transactions after which the run ends; without it, the run does not end.
    pub count: Option<u64>,
}

/// An event during a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The device is connected.
    Connected,
    /// The server cannot be reached; the device retries by itself.
    Lost {
        /// The reason, as text.
        why: &'a str,
        /// The pause before the next try.
        again_in: Duration,
    },
    /// The certificate of an identity was due, and was renewed or not.
    Renewed(&'a Renewed),
    /// Another device of the user was enrolled; tell the user.
    DeviceAdded(&'a UserDevice),
    /// A transaction was offered.
    Offered(&'a Offer),
    /// The transaction was taken; show it to the user.
    Shown(&'a RenderedContent),
    /// The transaction ended elsewhere.
    Withdrawn(Withdrawn),
    /// The user did not choose before the deadline.
    Late(TransactionId),
    /// This device ended the transaction.
    Ended {
        /// The transaction.
        id: TransactionId,
        /// The final state.
        state: State,
    },
    /// This device could not take or end the transaction.
    Left {
        /// The transaction.
        id: TransactionId,
        /// The error.
        why: &'a Error,
    },
    /// The transaction is left to other devices, because there is no user to enter the match code.
    Skipped(&'a Offer),
}

/// Runs `device` until it has ended `run.count` transactions. Returns their number.
///
/// Stored signatures are sent first, then the transactions that are open already are handled. The
/// run waits for a server that restarts. It may be cancelled at any point.
///
/// # Errors
/// Errors that a retry would not solve: [`Error::Closed`], [`Error::Untrusted`], a wrong PIN, a
/// lock, a file that cannot be written.
pub async fn run(
    device: &mut Device,
    run: Run,
    on_event: impl FnMut(Event<'_>),
) -> Result<u64, Error> {
    let Run { answer, pin, count } = run;
    let mut running = Running { device, answer, pin, ended: 0, on_event };
    running.resume().await?;
    while count.is_none_or(|count| running.ended < count) {
        let Ok(notice) = tokio::time::timeout(RENEWAL_LOOK, running.device.next()).await else {
            running.renew().await;
            continue;
        };
        match notice? {
            Notice::Connected => {
                (running.on_event)(Event::Connected);
                running.resume().await?;
                running.renew().await;
            }
            Notice::Lost { why, again_in } => {
                (running.on_event)(Event::Lost { why: &why, again_in });
            }
            Notice::Withdrawn(withdrawn) => (running.on_event)(Event::Withdrawn(withdrawn)),
            Notice::DeviceAdded(device) => (running.on_event)(Event::DeviceAdded(&device)),
            Notice::Offer(offer) => running.offered(&offer).await?,
        }
    }
    running.device.close().await;
    Ok(running.ended)
}

/// Handles one scanned offer and no other; ignores `count`. Returns how this device ended it, or
/// `None` if it did not.
///
/// # Errors
/// As [`run`].
pub async fn run_one(
    device: &mut Device,
    run: Run,
    offer: &Offer,
    mut on_event: impl FnMut(Event<'_>),
) -> Result<Option<State>, Error> {
    let Run { answer, pin, .. } = run;
    let mut end = None;
    let on_event = |event: Event<'_>| {
        if let Event::Ended { id, state } = &event
            && *id == offer.id
        {
            end = Some(*state);
        }
        on_event(event);
    };
    let mut running = Running { device, answer, pin, ended: 0, on_event };
    running.resume().await?;
    running.renew().await;
    running.offered(offer).await?;
    running.device.close().await;
    Ok(end)
}

struct Running<'a, F> {
    device: &'a mut Device,
    answer: Answer,
    pin: Option<Pin>,
    ended: u64,
    on_event: F,
}

/// The outcome of asking the user.
enum Chosen {
    Choice(Choice),
    Withdrawn(Withdrawn),
    Late,
}

impl<F: FnMut(Event<'_>)> Running<'_, F> {
    async fn resume(&mut self) -> Result<(), Error> {
        for resumed in self.device.resume().await? {
            self.told(resumed.id, resumed.outcome)?;
        }
        Ok(())
    }

    /// Renews the certificates that are due.
    async fn renew(&mut self) {
        for renewed in self.device.renew_due().await {
            (self.on_event)(Event::Renewed(&renewed));
        }
    }

    async fn offered(&mut self, offer: &Offer) -> Result<(), Error> {
        (self.on_event)(Event::Offered(offer));
        if offer.matching == Match::Enter && matches!(self.answer, Answer::Approve) {
            (self.on_event)(Event::Skipped(offer));
            return Ok(());
        }
        // An operation or match of an unknown kind is not shown.
        if offer.operation == Operation::Unknown || offer.matching == Match::Unknown {
            return self.fail(offer.id, "operation").await;
        }
        match self.device.take(offer, self.pin.as_ref()).await {
            Ok(shown) => self.shown(&shown).await,
            Err(error @ (Error::BadContent | Error::CannotShow(_))) => {
                (self.on_event)(Event::Left { id: offer.id, why: &error });
                self.fail(offer.id, "media_type").await
            }
            Err(Error::BadDocument(why)) => {
                // The application does not get the reason, because it reveals the device's network.
                (self.on_event)(Event::Left { id: offer.id, why: &why.into() });
                self.fail(offer.id, BadDocument::REASON).await
            }
            // Declining needs no PIN.
            Err(Error::PinNeeded | Error::NoPin) if matches!(self.answer, Answer::Decline) => {
                let outcome = self.device.decline(offer.id, DeclineReason::User).await;
                self.told(offer.id, outcome)
            }
            Err(error) => self.left(offer.id, error),
        }
    }

    async fn shown(&mut self, shown: &RenderedContent) -> Result<(), Error> {
        (self.on_event)(Event::Shown(shown));
        let id = shown.id();
        let choice = match self.choose(shown).await? {
            Chosen::Choice(choice) => choice,
            Chosen::Withdrawn(withdrawn) => {
                (self.on_event)(Event::Withdrawn(withdrawn));
                return Ok(());
            }
            Chosen::Late => {
                (self.on_event)(Event::Late(id));
                return Ok(());
            }
        };
        let outcome = match choice {
            Choice::Leave => return Ok(()),
            Choice::Decline(reason) => self.device.decline(id, reason).await,
            Choice::Approve { match_code } => {
                self.device.approve(shown, match_code.as_deref()).await
            }
        };
        match outcome {
            Err(error) if is_unsigned(&error) => {
                (self.on_event)(Event::Left { id, why: &error });
                self.fail(id, "form").await
            }
            outcome => self.told(id, outcome),
        }
    }

    /// Keeps receiving notices while the user chooses, so that pings are answered and a withdrawal
    /// is noticed.
    async fn choose(&mut self, shown: &RenderedContent) -> Result<Chosen, Error> {
        let mut choosing = match &mut self.answer {
            Answer::Approve => {
                return Ok(Chosen::Choice(Choice::Approve { match_code: None }));
            }
            Answer::Decline => return Ok(Chosen::Choice(Choice::Decline(DeclineReason::User))),
            Answer::Ask(ask) => ask(shown),
        };
        let late = tokio::time::sleep(self.device.until(shown.deadline()));
        tokio::pin!(late);
        let mut offers = Vec::new();
        let chosen = loop {
            tokio::select! {
                choice = &mut choosing => break Chosen::Choice(choice),
                () = &mut late => break Chosen::Late,
                notice = self.device.next() => match notice? {
                    Notice::Withdrawn(withdrawn) if withdrawn.id == shown.id() => {
                        break Chosen::Withdrawn(withdrawn);
                    }
                    Notice::Withdrawn(withdrawn) => {
                        offers.retain(|offer: &Offer| offer.id != withdrawn.id);
                        (self.on_event)(Event::Withdrawn(withdrawn));
                    }
                    Notice::Offer(offer) => offers.push(offer),
                    Notice::Connected => (self.on_event)(Event::Connected),
                    Notice::DeviceAdded(device) => (self.on_event)(Event::DeviceAdded(&device)),
                    Notice::Lost { why, again_in } => {
                        (self.on_event)(Event::Lost { why: &why, again_in });
                    }
                },
            }
        };
        self.device.put_back(offers);
        Ok(chosen)
    }

    async fn fail(&mut self, id: TransactionId, reason: &str) -> Result<(), Error> {
        let outcome = self.device.fail(id, reason).await;
        self.told(id, outcome)
    }

    fn told(&mut self, id: TransactionId, outcome: Result<Ended, Error>) -> Result<(), Error> {
        let state = match outcome {
            Ok(ended) => ended.state,
            // After a wrong match code, this device ended the transaction as well.
            Err(Error::Refused { body: RefusalBody { error: Code::WrongMatch, .. }, .. }) => {
                State::Failed
            }
            Err(error) => return self.left(id, error),
        };
        self.ended += 1;
        (self.on_event)(Event::Ended { id, state });
        Ok(())
    }

    /// Reports an error of one transaction. Returns it if every further transaction would fail too.
    fn left(&mut self, id: TransactionId, error: Error) -> Result<(), Error> {
        let for_good = match &error {
            Error::Refused { body, .. } => {
                matches!(body.error, Code::WrongPin | Code::Locked | Code::Unauthorised)
            }
            Error::File { .. } | Error::Untrusted(_) | Error::Closed(_) => true,
            _ => false,
        };
        if for_good {
            return Err(error);
        }
        (self.on_event)(Event::Left { id, why: &error });
        Ok(())
    }
}

/// Returns whether the transaction is still open because this device cannot sign as required.
fn is_unsigned(error: &Error) -> bool {
    matches!(error, Error::NoIdentity | Error::Sha1 | Error::CannotSign(_))
        || matches!(error.code(), Some(Code::WrongForm | Code::WrongIdentity | Code::BadSignature))
}
