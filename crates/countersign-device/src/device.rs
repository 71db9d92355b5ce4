//! A running device: it receives offers, takes, shows and ends them.
//!
//! Two guarantees: it signs exactly the bytes that it showed, and it stores a signature until the
//! server has answered it. A repeated call sends the same bytes, never a second signature.

mod answer;
mod content;
mod identities;
mod notices;
mod pin;
mod sign;

use core::time::Duration;
use std::collections::BTreeSet;

use countersign_wire::body::{
    Code, Decline, DeclineReason, Ended, Fail, Finish, Offer, Push, PushAnswer, PushBody, Take,
    Taken,
};
use countersign_wire::frame::{Message, Request};
use countersign_wire::id::TransactionId;
use countersign_wire::limits::REASON_BYTES_MAX;
use countersign_wire::phone::Phone;
use tokio::sync::mpsc;

use self::answer::FromAnswer;
pub use self::identities::Renewed;
use self::notices::AddedDevices;
use crate::backoff::Backoff;
use crate::document::{FetchPolicy, Limits};
use crate::error::Error;
use crate::file::PhoneFile;
use crate::http::Http;
use crate::listen::{Listen, ServerConnection};
use crate::pin::Pin;
use crate::push::Wake;
use crate::shown::RenderedContent;
use crate::trustedx::Link;

/// The time after a deadline during which the device still asks for the final state.
const AFTER_DEADLINE: Duration = Duration::from_secs(15);
/// The number of digits of a request key.
const REQUEST_KEY_DIGITS: usize = 10;
/// The tries of a call without a deadline.
const TRIES: u32 = 3;
/// The tries of a take with a PIN. A wrong PIN counts every time that it arrives.
const PIN_TRIES: u32 = 2;

/// An enrolled device with its connection to the server.
#[derive(Debug)]
pub struct Device {
    file: PhoneFile,
    phone: Phone,
    http: Http,
    line: ServerConnection,
    prefers_codes: bool,
    prefers_links: bool,
    allows_sha1: bool,
    added_devices: AddedDevices,
    /// The transactions that were read by TrustedX's links, or are to be ended by them.
    by_link: BTreeSet<TransactionId>,
    limits: Limits,
    fetch_policy: FetchPolicy,
}

/// A stored finish, and the server's answer to it.
#[derive(Debug)]
pub struct Resumed {
    /// The transaction.
    pub id: TransactionId,
    /// The outcome. After a transient error the finish stays stored.
    pub outcome: Result<Ended, Error>,
}

/// The limit for repeating a call after transient errors.
enum ReconnectPolicy {
    Tries(u32),
    /// A time since the Unix epoch.
    Until(Duration),
}

impl Device {
    /// Opens the device of `file` without connecting.
    ///
    /// # Errors
    /// Refuses a file that is not a `phone.json`, and an unusable address or CA in it.
    pub fn open(file: &PhoneFile) -> Result<Self, Error> {
        let phone = file.read()?;
        let http = Http::new(&phone)?;
        let (file, line) = (file.clone(), ServerConnection::new(Listen::default()));
        Ok(Self {
            file,
            phone,
            http,
            line,
            prefers_codes: false,
            prefers_links: false,
            allows_sha1: false,
            added_devices: AddedDevices::Ignored,
            by_link: BTreeSet::new(),
            limits: Limits::default(),
            fetch_policy: FetchPolicy::default(),
        })
    }

    /// Chooses how to receive offers. An open channel is closed.
    pub fn listen(&mut self, way: Listen) {
        self.line = ServerConnection::new(way);
    }

    /// The stored data of the device.
    #[must_use]
    pub fn phone(&self) -> &Phone {
        &self.phone
    }

    /// The stored data of the device, which is closed.
    #[must_use]
    pub fn into_phone(self) -> Phone {
        self.phone
    }

    /// The offer of a scanned code, whose text is a request key of ten digits.
    ///
    /// # Errors
    /// [`Error::NotAKey`] for another text, [`Error::NothingThere`] if no transaction with that key
    /// is open for this device; otherwise the server's refusal, or no answer.
    pub async fn scan(&mut self, text: &str) -> Result<Offer, Error> {
        let key = text.trim();
        if key.len() != REQUEST_KEY_DIGITS || !key.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Error::NotAKey);
        }
        self.http.offer_of(key).await?.ok_or(Error::NothingThere)
    }

    /// Takes an offer. Checks that its content is for this transaction and can be shown.
    ///
    /// # Errors
    /// [`Error::PinNeeded`] and [`Error::NoPin`] before anything is sent; [`Error::NoPin`] also if
    /// the server has no PIN any more. After
    /// [`Error::BadContent`], [`Error::CannotShow`] and [`Error::BadDocument`] the transaction is
    /// taken; [`Self::fail`] ends it.
    pub async fn take(
        &mut self,
        offer: &Offer,
        pin: Option<&Pin>,
    ) -> Result<RenderedContent, Error> {
        if self.prefers_links
            && !offer.pin_required
            && let Ok(content) = self.look(offer).await
        {
            self.by_link.insert(offer.id);
            return self.shown(offer, content, offer.expires_at).await;
        }
        let pin_proof = match (offer.pin_required, pin) {
            (false, _) => None,
            (true, _) if self.phone.pin.is_none() => return Err(Error::NoPin),
            (true, _) if self.phone.pin_next.is_some() => return Err(Error::PinChanging),
            (true, None) => return Err(Error::PinNeeded),
            (true, Some(pin)) => {
                let made = self.phone.pin.expect("its presence was checked above");
                Some(pin.prove(made, &self.phone.code_key, offer.id))
            }
        };
        let reconnect = match pin_proof {
            Some(_) => ReconnectPolicy::Tries(PIN_TRIES),
            None => ReconnectPolicy::Until(offer.expires_at),
        };
        let take = Request::Take(Take { id: offer.id, pin_proof });
        let taken = self.ask(&take, &reconnect).await;
        let taken: Taken = self.check_pin(taken)?;
        let content = content::open(&self.phone, offer, &taken)?;
        self.shown(offer, content, taken.deadline).await
    }

    /// Signs the shown content, and sends the signature until it is answered or the deadline has
    /// passed.
    ///
    /// If the server refuses the signature, the certificate is renewed, and the content is signed
    /// once more.
    ///
    /// # Errors
    /// After a transient error the signature stays stored, and [`Self::resume`] sends it again.
    /// After a refusal it is removed.
    pub async fn approve(
        &mut self,
        shown: &RenderedContent,
        match_code: Option<&str>,
    ) -> Result<Ended, Error> {
        let finish = if let Some(kept) = self.file.kept(shown.id())? {
            kept
        } else {
            let signature = self.sign(shown)?;
            let match_code = match_code.map(str::to_owned);
            let finish = Finish { id: shown.id(), signature, match_code };
            self.file.keep(&finish)?;
            finish
        };
        let reconnect = ReconnectPolicy::Until(shown.deadline() + AFTER_DEADLINE);
        let signature = finish.signature.clone();
        match self.finish(finish, &reconnect).await {
            Err(error) if error.code() == Some(Code::BadSignature) => {
                Box::pin(self.approve_renewed(shown, match_code, &signature, error)).await
            }
            outcome => outcome,
        }
    }

    /// Sends every stored finish that has no answer yet.
    ///
    /// # Errors
    /// [`Error::File`] if the directory cannot be read. The outcome of each finish is in the
    /// result.
    pub async fn resume(&mut self) -> Result<Vec<Resumed>, Error> {
        let mut resumed = Vec::new();
        for id in self.file.all_kept()? {
            let outcome = match self.file.kept(id) {
                Ok(Some(finish)) => self.finish(finish, &ReconnectPolicy::Tries(TRIES)).await,
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            resumed.push(Resumed { id, outcome });
        }
        Ok(resumed)
    }

    /// Declines a transaction for the user.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn decline(
        &mut self,
        id: TransactionId,
        reason: DeclineReason,
    ) -> Result<Ended, Error> {
        self.ask(&Request::Decline(Decline { id, reason }), &ReconnectPolicy::Tries(TRIES)).await
    }

    /// Reports that the device cannot sign. `reason` is a word such as `media_type`, or a sentence
    /// for the application. It is cut after 1024 bytes.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn fail(&mut self, id: TransactionId, reason: &str) -> Result<Ended, Error> {
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
        let fail = Fail { id, reason };
        self.ask(&Request::Fail(fail), &ReconnectPolicy::Tries(TRIES)).await
    }

    /// Registers the push address that wakes the device when it is not connected. `None` removes
    /// it.
    ///
    /// # Errors
    /// The server's refusal of an invalid address, or no answer.
    pub async fn set_push(&self, push: Option<Push>) -> Result<PushAnswer, Error> {
        self.http.put_push(&PushBody { push }).await
    }

    /// Whether the device can be woken, and by which services; for Web Push, with the key that a
    /// browser needs to subscribe.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn push(&self) -> Result<PushAnswer, Error> {
        self.http.push().await
    }

    /// Polls once, and then after each wake. Keeps no connection.
    pub fn listen_for_wakes(&mut self, wakes: mpsc::UnboundedReceiver<Wake>) {
        self.line = ServerConnection::woken(wakes);
    }

    /// Whether to sign with a code if the transaction accepts one. By default the device does so
    /// only if nothing else is accepted, because a CMS also convinces third parties.
    pub fn prefer_codes(&mut self, prefers: bool) {
        self.prefers_codes = prefers;
    }

    /// Whether to read TrustedX's processes at their resources and end them by their links, instead
    /// of taking them. By default not.
    pub fn prefer_links(&mut self, prefers: bool) {
        self.prefers_links = prefers;
    }

    /// Whether to sign with SHA-1 if the transaction accepts nothing better. By default not,
    /// whatever the server accepts: an author of two texts can give both the same SHA-1.
    pub fn allow_sha1(&mut self, allows: bool) {
        self.allows_sha1 = allows;
    }

    /// Limits the size of a fetched document and the time of a fetch.
    pub fn limit_documents(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Chooses the hosts from which documents may be fetched. By default only those on the public
    /// internet.
    pub fn restrict_fetches(&mut self, policy: FetchPolicy) {
        self.fetch_policy = policy;
    }

    /// Closes the channel, if one is open.
    pub async fn close(&mut self) {
        self.line.close().await;
    }

    /// Queues these offers again, before all other notices.
    pub(crate) fn put_back(&mut self, offers: Vec<Offer>) {
        self.line.put_back(offers);
    }

    /// The duration until `then`, by the server's clock.
    pub(crate) fn until(&self, then: Duration) -> Duration {
        self.http.caller.clock.until(then)
    }

    /// Sends a stored finish, and removes it after the answer.
    async fn finish(
        &mut self,
        finish: Finish,
        reconnect: &ReconnectPolicy,
    ) -> Result<Ended, Error> {
        let id = finish.id;
        let request = Request::Finish(finish);
        let mut outcome = self.ask(&request, reconnect).await;
        // The content may have been read by a link before this device was restarted.
        if matches!(&outcome, Err(error) if error.code() == Some(Code::NotTaken)) {
            self.by_link.insert(id);
            outcome = self.ask(&request, reconnect).await;
        }
        let answered = match &outcome {
            Ok(_) => true,
            // The authentication failed, so the server did not check the signature.
            Err(error) => {
                error.code().is_some_and(|code| code != Code::Unauthorised) && !error.is_transient()
            }
        };
        if answered {
            self.file.let_go(id)?;
        }
        outcome
    }

    /// Calls by the link, if the transaction has one; else over the channel, if it is open; else by
    /// HTTP. Repeats the call after transient errors.
    async fn ask<T: FromAnswer>(
        &mut self,
        request: &Request,
        reconnect: &ReconnectPolicy,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::default();
        let mut tries = 0;
        loop {
            let read = |message| {
                T::of(message).ok_or(Error::Unexpected("the answer is to something else"))
            };
            let outcome = match self.link(request) {
                Some((id, link)) => {
                    let ended = self.http.end_by_link(id, link).await;
                    ended.and_then(|ended| read(Message::Finished(ended)))
                }
                None => match self.line.request(request).await {
                    Some(Ok(message)) => read(message),
                    Some(Err(body)) => Err(Error::refused(body)),
                    None => self.http.request(request).await,
                },
            };
            tries += 1;
            let retry_after = match &outcome {
                Err(Error::Refused { retry_after, .. }) => retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let wait = backoff.next().max(retry_after);
            let on = match reconnect {
                ReconnectPolicy::Tries(most) => tries < *most,
                ReconnectPolicy::Until(then) => wait < self.until(*then),
            };
            match outcome {
                Err(error) if error.is_transient() && on => tokio::time::sleep(wait).await,
                outcome => return outcome,
            }
        }
    }

    /// The link for a request, if the transaction was read by its link.
    fn link<'r>(&self, request: &'r Request) -> Option<(TransactionId, Link<'r>)> {
        let (id, link) = match request {
            Request::Finish(finish) => (finish.id, Link::Finish(&finish.signature)),
            Request::Fail(fail) => (fail.id, Link::Fail(&fail.reason)),
            // The link has no member for another reason, so the channel sends it.
            Request::Decline(decline) if decline.reason == DeclineReason::User => {
                (decline.id, Link::Cancel)
            }
            _ => return None,
        };
        self.by_link.contains(&id).then_some((id, link))
    }
}
