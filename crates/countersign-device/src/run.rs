//! A device that runs by itself, one transaction after the other: what the command line does.

use core::future::Future;
use core::pin::Pin as Pinned;

use countersign_wire::body::{
    Code, DeclineReason, Ended, Match, Offer, Operation, RefusalBody, State,
};
use countersign_wire::frame::Withdrawn;
use countersign_wire::id::TransactionId;

use crate::device::Device;
use crate::document::BadDocument;
use crate::error::Error;
use crate::listen::Notice;
use crate::pin::Pin;
use crate::shown::RenderedContent;

/// What to say to everything that is shown.
pub enum Answer {
    /// Yes. What needs a match code is left alone: nobody is there to read it.
    Approve,
    /// No.
    Decline,
    /// As the person chooses.
    Ask(Ask),
}

/// Asks the person. The future is dropped once there is nothing to choose any more.
pub type Ask =
    Box<dyn FnMut(&RenderedContent) -> Pinned<Box<dyn Future<Output = Choice> + Send>> + Send>;

/// What the person chose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Choice {
    /// To sign.
    Approve {
        /// The code that the application shows, where one is needed.
        match_code: Option<String>,
    },
    /// Not to sign.
    Decline(DeclineReason),
    /// Neither, now: it stays open until it expires.
    Leave,
}

/// How to run.
pub struct Run {
    /// What to say.
    pub answer: Answer,
    /// The PIN, for what needs it.
    pub pin: Option<Pin>,
    /// After how many transactions that this device ended it is over; without it, never.
    pub count: Option<u64>,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    /// The server knows that the device is there.
    Connected,
    /// The server is not reached; the device tries again by itself.
    Lost {
        /// What happened.
        why: &'a str,
        /// When it tries again.
        again_in: core::time::Duration,
    },
    /// There is something to sign.
    Offered(&'a Offer),
    /// It was taken, and is to be shown to the person.
    Shown(&'a RenderedContent),
    /// It ended elsewhere.
    Withdrawn(Withdrawn),
    /// Nobody chose in time.
    Late(TransactionId),
    /// This device ended it.
    Ended {
        /// The transaction.
        id: TransactionId,
        /// How.
        state: State,
    },
    /// This device could not take or end it.
    Left {
        /// The transaction.
        id: TransactionId,
        /// Why.
        why: &'a Error,
    },
    /// This device leaves it to others: nobody is there to enter the match code.
    Skipped(&'a Offer),
}

/// Runs `device` until it has ended as many transactions as `run` says, and gives their number.
///
/// What was open before it came is taken up first, signatures that were kept before all. A server
/// that restarts is waited for. Giving the future up is safe at any point.
///
/// # Errors
/// What trying again would not mend: [`Error::Closed`], [`Error::Untrusted`], a wrong PIN, a lock,
/// a file that cannot be written.
pub async fn run(
    device: &mut Device,
    run: Run,
    on_event: impl FnMut(Event<'_>),
) -> Result<u64, Error> {
    let Run { answer, pin, count } = run;
    let mut running = Running { device, answer, pin, ended: 0, on_event };
    running.resume().await?;
    while count.is_none_or(|count| running.ended < count) {
        match running.device.next().await? {
            Notice::Connected => {
                (running.on_event)(Event::Connected);
                running.resume().await?;
            }
            Notice::Lost { why, again_in } => {
                (running.on_event)(Event::Lost { why: &why, again_in });
            }
            Notice::Withdrawn(withdrawn) => (running.on_event)(Event::Withdrawn(withdrawn)),
            Notice::Offer(offer) => running.offered(&offer).await?,
        }
    }
    running.device.close().await;
    Ok(running.ended)
}

/// Takes up one offer, which was scanned, and nothing else: `count` is not looked at. Answers how
/// this device ended it; `None` where it did not.
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

/// What became of the person's choosing.
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

    async fn offered(&mut self, offer: &Offer) -> Result<(), Error> {
        (self.on_event)(Event::Offered(offer));
        if offer.matching == Match::Enter && matches!(self.answer, Answer::Approve) {
            (self.on_event)(Event::Skipped(offer));
            return Ok(());
        }
        // What is asked for in a way that this program does not know, it does not show.
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
                // Why is the device's own to know: it tells of the network that the device is in.
                (self.on_event)(Event::Left { id: offer.id, why: &why.into() });
                self.fail(offer.id, BadDocument::REASON).await
            }
            // Saying no needs no PIN.
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

    /// Keeps listening while the person chooses: pings are answered, and a withdrawal is heard.
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
            // A wrong match code is this device's end of it, too.
            Err(Error::Refused { body: RefusalBody { error: Code::WrongMatch, .. }, .. }) => {
                State::Failed
            }
            Err(error) => return self.left(id, error),
        };
        self.ended += 1;
        (self.on_event)(Event::Ended { id, state });
        Ok(())
    }

    /// Goes on with the next one, unless the next one would fare no better.
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

/// Whether the transaction is still open because this device cannot sign as it wants.
fn is_unsigned(error: &Error) -> bool {
    matches!(error, Error::NoIdentity | Error::Sha1 | Error::CannotSign(_))
        || matches!(error.code(), Some(Code::WrongForm | Code::WrongIdentity | Code::BadSignature))
}
