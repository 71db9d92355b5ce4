//! A running device: it hears of offers, takes, shows, and ends them.
//!
//! Two promises: it signs exactly the bytes that it showed, and a signature that it made is kept
//! until the server has answered it. The same bytes are then sent again, never a second signature.

mod answer;
mod content;
mod sign;

use core::time::Duration;
use std::collections::BTreeSet;

use countersign_wire::body::{
    Code, Decline, DeclineReason, Ended, Fail, Finish, Offer, PIN_PROOF_ID, PinBody, PinChange,
    Push, PushAnswer, PushBody, Take, Taken, Use,
};
use countersign_wire::frame::{Message, Request};
use countersign_wire::id::TransactionId;
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::limits::REASON_BYTES_MAX;
use countersign_wire::phone::{Phone, PhonePin};
use tokio::sync::mpsc;

use self::answer::FromAnswer;
use crate::backoff::Backoff;
use crate::document::{FetchPolicy, Limits};
use crate::error::Error;
use crate::file::PhoneFile;
use crate::http::Http;
use crate::identity::{IdentityChoice, Source};
use crate::listen::{Listen, Notice, ServerConnection};
use crate::pin::Pin;
use crate::push::Wake;
use crate::shown::RenderedContent;
use crate::trustedx::Link;

/// After a deadline the server is asked for so much longer how it ended.
const AFTER_DEADLINE: Duration = Duration::from_secs(15);
/// Digits of a request key.
const REQUEST_KEY_DIGITS: usize = 10;
/// Tries of a call that has no deadline.
const TRIES: u32 = 3;
/// Tries of a take with a PIN: a wrong one counts each time that it arrives.
const PIN_TRIES: u32 = 2;

/// A device that was enrolled, with its line to the server.
#[derive(Debug)]
pub struct Device {
    file: PhoneFile,
    phone: Phone,
    http: Http,
    line: ServerConnection,
    prefers_codes: bool,
    prefers_links: bool,
    allows_sha1: bool,
    /// What was looked at, or is to be ended, by TrustedX's links.
    by_link: BTreeSet<TransactionId>,
    limits: Limits,
    fetch_policy: FetchPolicy,
}

/// A finish that was kept, and what the server now said to it.
#[derive(Debug)]
pub struct Resumed {
    /// The transaction.
    pub id: TransactionId,
    /// How it ended. After a transient error it is still kept.
    pub outcome: Result<Ended, Error>,
}

/// How long a call is repeated while nothing is decided.
enum ReconnectPolicy {
    Tries(u32),
    /// Since the Unix epoch.
    Until(Duration),
}

impl Device {
    /// Takes up the device of `file`; connects to nothing yet.
    ///
    /// # Errors
    /// Refuses a file that is none, and an address or CA in it that cannot be used.
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
            by_link: BTreeSet::new(),
            limits: Limits::default(),
            fetch_policy: FetchPolicy::default(),
        })
    }

    /// Chooses how to hear of offers; a channel that is open is let go.
    pub fn listen(&mut self, way: Listen) {
        self.line = ServerConnection::new(way);
    }

    /// What the device keeps.
    #[must_use]
    pub fn phone(&self) -> &Phone {
        &self.phone
    }

    /// What the device keeps, without the device.
    #[must_use]
    pub fn into_phone(self) -> Phone {
        self.phone
    }

    /// The next thing to know of. It connects where there is no connection, waiting between tries,
    /// and may be given up at any point and called again. Pings are answered while it waits, so it
    /// should wait while the person reads.
    ///
    /// # Errors
    /// What trying again would not mend: [`Error::Closed`], [`Error::Untrusted`], a refusal.
    pub async fn next(&mut self) -> Result<Notice, Error> {
        self.line.next(&self.http).await
    }

    /// The next offer, passing over everything else.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_offer(&mut self) -> Result<Offer, Error> {
        loop {
            if let Notice::Offer(offer) = self.next().await? {
                return Ok(offer);
            }
        }
    }

    /// What a scanned picture is of: its text is a request key, ten digits.
    ///
    /// # Errors
    /// [`Error::NotAKey`] for another text, [`Error::NothingThere`] where nothing of that key is
    /// open for this device; else the server's refusal, or no answer.
    pub async fn scan(&mut self, text: &str) -> Result<Offer, Error> {
        let key = text.trim();
        if key.len() != REQUEST_KEY_DIGITS || !key.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Error::NotAKey);
        }
        self.http.offer_of(key).await?.ok_or(Error::NothingThere)
    }

    /// Opens an offer: its content comes, is checked to be for this transaction, and can be shown.
    ///
    /// # Errors
    /// [`Error::PinNeeded`] and [`Error::NoPin`] before anything is sent. After
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
                let made = self.phone.pin.expect("it was looked for");
                Some(pin.prove(made, &self.phone.code_key, offer.id))
            }
        };
        let reconnect = match pin_proof {
            Some(_) => ReconnectPolicy::Tries(PIN_TRIES),
            None => ReconnectPolicy::Until(offer.expires_at),
        };
        let take = Request::Take(Take { id: offer.id, pin_proof });
        let taken: Taken = self.ask(&take, &reconnect).await?;
        let content = content::open(&self.phone, offer, &taken)?;
        self.shown(offer, content, taken.deadline).await
    }

    /// Signs what was shown, and sends it until it is answered or its time is over.
    ///
    /// # Errors
    /// After a transient error the signature is kept, and [`Self::resume`] sends it again; after a
    /// refusal it is not.
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
        self.finish(finish, &reconnect).await
    }

    /// Sends every finish that was kept and not answered.
    ///
    /// # Errors
    /// [`Error::File`] where they cannot be looked for. Each one's outcome stands in its place.
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

    /// The person said no.
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

    /// The device cannot; `reason` is a word, such as `media_type`, or a sentence for the
    /// application. More than 1024 bytes are not sent.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn fail(&mut self, id: TransactionId, reason: &str) -> Result<Ended, Error> {
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
        let fail = Fail { id, reason };
        self.ask(&Request::Fail(fail), &ReconnectPolicy::Tries(TRIES)).await
    }

    /// Gives this device one more identity, and keeps it; answers its id.
    ///
    /// # Errors
    /// Refuses what cannot be used before anything is sent; then the server's refusal, or no
    /// answer.
    pub async fn add_identity(
        &mut self,
        usage: Use,
        proposed_labels: &[String],
        source: &Source,
    ) -> Result<String, Error> {
        let wanted = IdentityChoice::new(&self.phone, usage, proposed_labels, source)?;
        let mut backoff = Backoff::default();
        let mut tries = 0;
        let issued = loop {
            tries += 1;
            match self.http.add_identity(&wanted.body).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tokio::time::sleep(backoff.next()).await;
                }
                outcome => break outcome?,
            }
        };
        let added = wanted.accept(issued)?;
        let id = added.id.clone();
        self.phone.identities.retain(|identity| identity.id != id);
        self.phone.identities.push(added);
        self.file.replace(&self.phone)?;
        Ok(id)
    }

    /// Sets the first PIN. It may be repeated.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn set_pin(&mut self, pin: &Pin) -> Result<(), Error> {
        let made = self.phone.pin.unwrap_or_else(PhonePin::first);
        if self.phone.pin.is_none() {
            // Kept before the server hears of it: without the salt the PIN would be lost.
            self.phone.pin = Some(made);
            self.file.replace(&self.phone)?;
        }
        let change = PinChange { version: made.version, digest: pin.digest(made), proof: None };
        self.put_pin(&change).await
    }

    /// Changes the PIN. After a transient error it has to be repeated, with the same new PIN: only
    /// the server knows which one holds.
    ///
    /// # Errors
    /// The server's refusal, which leaves the old PIN, or no answer.
    pub async fn change_pin(&mut self, old: &Pin, new: &Pin) -> Result<(), Error> {
        let before = self.phone.pin.ok_or(Error::NoPin)?;
        let next = self.phone.pin_next.unwrap_or_else(|| before.next());
        self.phone.pin_next = Some(next);
        self.file.replace(&self.phone)?;
        let change = PinChange {
            version: next.version,
            digest: new.digest(next),
            proof: Some(old.prove(before, &self.phone.code_key, PIN_PROOF_ID)),
        };
        let outcome = self.put_pin(&change).await;
        match &outcome {
            Ok(()) => self.phone.pin = Some(next),
            Err(error) if error.code().is_some() && !error.is_transient() => {}
            Err(_) => return outcome,
        }
        self.phone.pin_next = None;
        self.file.replace(&self.phone)?;
        outcome
    }

    /// Registers where the device is woken when it is not on the line, from now on; `None`:
    /// nowhere.
    ///
    /// # Errors
    /// The server's refusal of an address that is none, or no answer.
    pub async fn set_push(&self, push: Option<Push>) -> Result<PushAnswer, Error> {
        self.http.put_push(&PushBody { push }).await
    }

    /// Whether the device can be woken, and how it could be: with Web Push, what a browser must
    /// know to subscribe.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn push(&self) -> Result<PushAnswer, Error> {
        self.http.push().await
    }

    /// From now on looks at what there is once, and then each time that it is woken, and keeps no
    /// line.
    pub fn listen_for_wakes(&mut self, wakes: mpsc::UnboundedReceiver<Wake>) {
        self.line = ServerConnection::woken(wakes);
    }

    /// Whether it signs with a code wherever one is accepted. By default it does where nothing else
    /// is: a CMS convinces others than the server too.
    pub fn prefer_codes(&mut self, prefers: bool) {
        self.prefers_codes = prefers;
    }

    /// Whether it looks at TrustedX's processes where they are, and ends them by their links,
    /// instead of taking them. By default it does not.
    pub fn prefer_links(&mut self, prefers: bool) {
        self.prefers_links = prefers;
    }

    /// Whether it signs with SHA-1 where nothing better is accepted. By default it does not,
    /// whatever the server asks for: whoever chooses what is digested can find another text with
    /// the same SHA-1.
    pub fn allow_sha1(&mut self, allows: bool) {
        self.allows_sha1 = allows;
    }

    /// How large a document may be that is fetched to be digested, and how long that may take.
    pub fn limit_documents(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Which hosts documents may be fetched from. By default only those on the public internet.
    pub fn restrict_fetches(&mut self, policy: FetchPolicy) {
        self.fetch_policy = policy;
    }

    /// Says goodbye to the server, if a channel is open.
    pub async fn close(&mut self) {
        self.line.close().await;
    }

    /// Has these offers told again, before anything else.
    pub(crate) fn put_back(&mut self, offers: Vec<Offer>) {
        self.line.put_back(offers);
    }

    /// How long it is, by the server's clock, until `then`.
    pub(crate) fn until(&self, then: Duration) -> Duration {
        self.http.caller.clock.until(then)
    }

    async fn put_pin(&self, change: &PinChange) -> Result<(), Error> {
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(change).expect("plain JSON"));
        let name = &self.http.caller.device;
        let pin = jwe::seal(&self.phone.payload_key, name, Purpose::Pin, &plain);
        let body = PinBody { pin };
        // A wrong proof counts each time that it arrives; without one the call may be repeated.
        let tries = if change.proof.is_some() { 1 } else { TRIES };
        let mut backoff = Backoff::default();
        for last in (0..tries).map(|at| at + 1 == tries) {
            match self.http.put_pin(&body).await {
                Err(error) if error.is_transient() && !last => {
                    tokio::time::sleep(backoff.next()).await;
                }
                Ok(answer) if answer.version != change.version => {
                    return Err(Error::Unexpected("another version of the PIN holds"));
                }
                outcome => return outcome.map(|_| ()),
            }
        }
        unreachable!("the last try returns")
    }

    /// Sends a kept finish, and lets go of it once it is answered.
    async fn finish(
        &mut self,
        finish: Finish,
        reconnect: &ReconnectPolicy,
    ) -> Result<Ended, Error> {
        let id = finish.id;
        let request = Request::Finish(finish);
        let mut outcome = self.ask(&request, reconnect).await;
        // It may have been looked at by its link, before this device was started.
        if matches!(&outcome, Err(error) if error.code() == Some(Code::NotTaken)) {
            self.by_link.insert(id);
            outcome = self.ask(&request, reconnect).await;
        }
        let answered = match &outcome {
            Ok(_) => true,
            // The proof of who is calling failed, so nobody looked at the signature.
            Err(error) => {
                error.code().is_some_and(|code| code != Code::Unauthorised) && !error.is_transient()
            }
        };
        if answered {
            self.file.let_go(id)?;
        }
        outcome
    }

    /// Asks by the link, over the channel where there is one, else by HTTP; again, while nothing is
    /// decided.
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

    /// The link that does what is asked, for what was looked at by one.
    fn link<'r>(&self, request: &'r Request) -> Option<(TransactionId, Link<'r>)> {
        let (id, link) = match request {
            Request::Finish(finish) => (finish.id, Link::Finish(&finish.signature)),
            Request::Fail(fail) => (fail.id, Link::Fail(&fail.reason)),
            // That it was somebody else is said on the channel only.
            Request::Decline(decline) if decline.reason == DeclineReason::User => {
                (decline.id, Link::Cancel)
            }
            _ => return None,
        };
        self.by_link.contains(&id).then_some((id, link))
    }
}
