//! How a device hears of what there is to sign: by a channel that stays open, or by asking again
//! and again. Both tell the same [`Notice`]s, and neither ever spins.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use countersign_wire::body::{Offer, RefusalBody};
use countersign_wire::frame::{Message, Reconnect, Request, Withdrawn};
use countersign_wire::id::TransactionId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::channel::{Channel, Lost};
use crate::error::Error;
use crate::http::{Http, WAIT};
use crate::push::Wake;

/// Pause between two polls, where the server had only what it had said before: it does not hold
/// that back, since for the server an offer stays open until it is taken.
const POLL_PAUSE: Duration = Duration::from_secs(3);

/// How to hear of offers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Listen {
    /// By WebSocket: at once.
    #[default]
    Channel,
    /// By `GET /device/v1/offers`, over and over: for where no WebSocket gets through.
    Poll,
}

/// What a device hears.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The server knows that the device is there.
    Connected,
    /// The server is not reached; the device tries again by itself.
    Lost {
        /// What happened.
        why: String,
        /// When it tries again.
        again_in: Duration,
    },
    /// There is something to take. Told once for each transaction.
    Offer(Offer),
    /// It is no longer to be shown. Told by a channel only.
    Withdrawn(Withdrawn),
}

/// The device's end of the line.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    way: Transport,
    channel: Option<Channel>,
    /// Whether the server was reached the last time.
    connected: bool,
    /// Nothing is tried before.
    not_before: Instant,
    backoff: Backoff,
    /// What was told, of what is open.
    told: BTreeSet<TransactionId>,
    notices: VecDeque<Result<Notice, Error>>,
}

/// How the line hears.
#[derive(Debug)]
enum Transport {
    Channel,
    Poll,
    /// Once, and then each time that somebody knocks.
    Woken(mpsc::UnboundedReceiver<Wake>),
}

impl ServerConnection {
    pub(crate) fn new(way: Listen) -> Self {
        Self::by(match way {
            Listen::Channel => Transport::Channel,
            Listen::Poll => Transport::Poll,
        })
    }

    /// One that looks once, and then each time that it is woken.
    pub(crate) fn woken(wakes: mpsc::UnboundedReceiver<Wake>) -> Self {
        Self::by(Transport::Woken(wakes))
    }

    fn by(way: Transport) -> Self {
        Self {
            way,
            channel: None,
            connected: false,
            not_before: Instant::now(),
            backoff: Backoff::default(),
            told: BTreeSet::new(),
            notices: VecDeque::new(),
        }
    }

    /// The next thing that there is to know. It may be given up at any point and asked again.
    pub(crate) async fn next(&mut self, http: &Http) -> Result<Notice, Error> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return notice;
            }
            if let Some(channel) = &mut self.channel {
                match channel.next().await {
                    Ok(message) => self.heard(message),
                    Err(lost) => self.lost(lost),
                }
                continue;
            }
            sleep_until(self.not_before).await;
            match &mut self.way {
                Transport::Channel => self.open(http).await,
                Transport::Poll => self.poll(http, WAIT).await,
                Transport::Woken(wakes) => {
                    // Whoever was not reached is tried again by itself.
                    if self.connected && wakes.recv().await.is_none() {
                        self.given_up(Error::Unexpected("nobody wakes it any more"));
                        continue;
                    }
                    self.poll(http, Duration::ZERO).await;
                }
            }
        }
    }

    /// Asks over the channel, if there is one. `None`: nothing was decided, ask by HTTP.
    pub(crate) async fn request(
        &mut self,
        request: &Request,
    ) -> Option<Result<Message, RefusalBody>> {
        let channel = self.channel.as_mut()?;
        match channel.request(request.clone()).await {
            Ok(answer) => Some(answer),
            Err(lost) => {
                self.lost(lost);
                None
            }
        }
    }

    /// Tells these offers again, in their order, before anything else.
    pub(crate) fn put_back(&mut self, offers: Vec<Offer>) {
        for offer in offers.into_iter().rev() {
            self.notices.push_front(Ok(Notice::Offer(offer)));
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.close().await;
        }
        self.connected = false;
    }

    async fn open(&mut self, http: &Http) {
        match Channel::open(&http.caller).await {
            Ok((channel, welcome)) => {
                self.channel = Some(channel);
                self.reached();
                self.open_are(welcome.open);
            }
            Err(Error::Closed(close)) => self.lost(Lost::Closed(close)),
            Err(error) => self.failed(error),
        }
    }

    async fn poll(&mut self, http: &Http, wait: Duration) {
        let is_woken = matches!(self.way, Transport::Woken(_));
        self.not_before = Instant::now() + if is_woken { Duration::ZERO } else { POLL_PAUSE };
        match http.offers_within(wait).await {
            Ok(offers) => {
                self.reached();
                let before = self.notices.len();
                self.open_are(offers);
                if self.notices.len() > before {
                    self.not_before = Instant::now();
                }
            }
            Err(error) => self.failed(error),
        }
    }

    fn reached(&mut self) {
        if !self.connected {
            self.notices.push_back(Ok(Notice::Connected));
        }
        self.connected = true;
        self.backoff.reset();
    }

    /// All that is open, and nothing else is.
    fn open_are(&mut self, offers: Vec<Offer>) {
        let open: BTreeSet<_> = offers.iter().map(|offer| offer.id).collect();
        self.told.retain(|id| open.contains(id));
        for offer in offers {
            self.offered(offer);
        }
    }

    fn offered(&mut self, offer: Offer) {
        if self.told.insert(offer.id) {
            self.notices.push_back(Ok(Notice::Offer(offer)));
        }
    }

    fn heard(&mut self, message: Message) {
        match message {
            Message::Offer(offer) => self.offered(offer),
            Message::Withdrawn(withdrawn) => {
                self.told.remove(&withdrawn.id);
                self.notices.push_back(Ok(Notice::Withdrawn(withdrawn)));
            }
            // A newer server may say more than this program knows.
            _ => {}
        }
    }

    fn lost(&mut self, lost: Lost) {
        self.channel = None;
        match lost {
            Lost::Closed(close) if close.reconnect() != Reconnect::Yes => {
                self.given_up(Error::Closed(close));
            }
            Lost::Closed(close) => self.again(format!("closed: {}", close.reason()), None),
            Lost::Broken(why) => self.again(why, None),
        }
    }

    fn failed(&mut self, error: Error) {
        match error {
            Error::Refused { retry_after, .. } if error.is_transient() => {
                self.again(error.to_string(), retry_after);
            }
            error if error.is_transient() => self.again(error.to_string(), None),
            error => self.given_up(error),
        }
    }

    fn again(&mut self, why: String, at_least: Option<Duration>) {
        let again_in = self.backoff.next().max(at_least.unwrap_or_default());
        self.not_before = Instant::now() + again_in;
        self.connected = false;
        self.notices.push_back(Ok(Notice::Lost { why, again_in }));
    }

    /// The caller hears why. Should it ask again, that is as if the person opened the application.
    fn given_up(&mut self, error: Error) {
        self.not_before = Instant::now() + self.backoff.next();
        self.connected = false;
        self.notices.push_back(Err(error));
    }
}

#[cfg(test)]
mod tests {
    use countersign_wire::body::{Code, Match, Operation, State};
    use countersign_wire::frame::Close;

    use super::*;

    fn offer(id: u8) -> Offer {
        Offer {
            id: TransactionId([id; 16]),
            operation: Operation::Sign,
            client: "Example Bank".to_owned(),
            expires_at: Duration::ZERO,
            pin_required: false,
            matching: Match::None,
        }
    }

    /// What was told since the last time: offers by number.
    fn told(line: &mut ServerConnection) -> Vec<u8> {
        let offers = line.notices.drain(..).filter_map(|notice| match notice {
            Ok(Notice::Offer(offer)) => Some(offer.id.0[0]),
            _ => None,
        });
        offers.collect()
    }

    #[test]
    fn an_offer_is_told_once_for_as_long_as_it_is_open() {
        let mut line = ServerConnection::new(Listen::Poll);
        line.open_are(vec![offer(1), offer(2)]);
        assert_eq!(told(&mut line), [1, 2]);
        line.open_are(vec![offer(2), offer(3)]);
        line.heard(Message::Offer(offer(2)));
        assert_eq!(told(&mut line), [3]);
        line.heard(Message::Withdrawn(Withdrawn { id: offer(3).id, why: State::Expired }));
        line.put_back(vec![offer(1), offer(2)]);
        assert_eq!(told(&mut line), [1, 2]);
        assert_eq!(line.told.len(), 1, "what is no longer open is forgotten");
    }

    #[test]
    fn after_every_loss_nothing_is_tried_before_its_time() {
        let again = Error::Refused {
            body: RefusalBody::new(Code::TooMany),
            retry_after: Some(Duration::from_secs(40)),
        };
        let mut line = ServerConnection::new(Listen::Channel);
        line.lost(Lost::Closed(Close::Restart));
        assert!(line.not_before > Instant::now());
        line.lost(Lost::Closed(Close::Replaced));
        assert!(line.not_before > Instant::now());
        line.failed(again);
        assert!(line.not_before > Instant::now() + Duration::from_secs(30));
        let kinds: Vec<_> = line.notices.iter().map(Result::is_ok).collect();
        assert_eq!(kinds, [true, false, true], "only a replaced device gives up");
    }
}
