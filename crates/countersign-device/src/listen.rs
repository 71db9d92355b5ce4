//! Receives offers: over an open channel, by polling, or after a wake. All of them give the same
//! [`Notice`]s, and all pause between tries.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use countersign_wire::body::{Offer, RefusalBody, UserDevice};
use countersign_wire::frame::{Message, Reconnect, Request, Withdrawn};
use countersign_wire::id::TransactionId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::channel::{Channel, Lost};
use crate::error::Error;
use crate::http::{Http, WAIT};
use crate::push::Wake;

/// The pause between two polls without news. The server repeats an offer without delay until it is
/// taken, so only the device can pause.
const POLL_PAUSE: Duration = Duration::from_secs(3);

/// The time between two questions of a device that polls for the user's devices.
const DEVICES_PAUSE: Duration = Duration::from_mins(10);

/// The way to receive offers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Listen {
    /// By WebSocket, without delay.
    #[default]
    Channel,
    /// By polling `GET /device/v1/offers`, for networks in which a WebSocket does not work.
    Poll,
}

/// A notice to the device.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The device is connected.
    Connected,
    /// The server cannot be reached; the device retries by itself.
    Lost {
        /// The reason, as text.
        why: String,
        /// The pause before the next try.
        again_in: Duration,
    },
    /// A transaction to take. Given once for each transaction.
    Offer(Offer),
    /// A transaction that is no longer to be shown. Given by a channel only.
    Withdrawn(Withdrawn),
    /// Another device of the user was enrolled. Tell the user, who may not have done it. Given once
    /// for each device, if [`Device::report_devices`](crate::Device::report_devices) asks for it.
    DeviceAdded(UserDevice),
}

/// The device's connection to the server.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    way: Transport,
    channel: Option<Channel>,
    /// Whether the last try reached the server.
    connected: bool,
    /// The time before which the device does not try again.
    not_before: Instant,
    backoff: Backoff,
    /// The time from which a device that polls asks for the user's devices.
    devices_due: Instant,
    /// The open transactions for which a notice was given.
    told: BTreeSet<TransactionId>,
    notices: VecDeque<Result<Notice, Error>>,
}

/// The transport of notices.
#[derive(Debug)]
enum Transport {
    Channel,
    Poll,
    /// Polls once, and then after each wake.
    Woken(mpsc::UnboundedReceiver<Wake>),
}

impl ServerConnection {
    pub(crate) fn new(way: Listen) -> Self {
        Self::by(match way {
            Listen::Channel => Transport::Channel,
            Listen::Poll => Transport::Poll,
        })
    }

    /// A connection that polls once, and then after each wake.
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
            devices_due: Instant::now(),
            told: BTreeSet::new(),
            notices: VecDeque::new(),
        }
    }

    /// The next notice. The call may be cancelled at any point and repeated.
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
                    // After a failure, the device retries without a wake.
                    if self.connected && wakes.recv().await.is_none() {
                        self.given_up(Error::Unexpected("the source of wakes was closed"));
                        continue;
                    }
                    self.poll(http, Duration::ZERO).await;
                }
            }
        }
    }

    /// Sends a request over the channel, if it is open. `None` means that there was no decision;
    /// send the request by HTTP.
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

    /// Queues these offers again, in their order, before all other notices.
    pub(crate) fn put_back(&mut self, offers: Vec<Offer>) {
        for offer in offers.into_iter().rev() {
            self.notices.push_front(Ok(Notice::Offer(offer)));
        }
    }

    /// Closes the channel.
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
                if self.devices_due <= Instant::now() {
                    self.added(http).await;
                }
                let before = self.notices.len();
                self.open_are(offers);
                if self.notices.len() > before {
                    self.not_before = Instant::now();
                }
            }
            Err(error) => self.failed(error),
        }
    }

    /// Asks for the devices that were enrolled after this one. A channel reports them by itself.
    async fn added(&mut self, http: &Http) {
        self.devices_due = Instant::now() + DEVICES_PAUSE;
        // An older server does not serve the list. After any failure, it is asked for again later.
        let Ok(devices) = http.devices().await else { return };
        let own = http.caller.device.device();
        let later = devices.into_iter().skip_while(|device| device.id != own).skip(1);
        self.notices.extend(later.map(Notice::DeviceAdded).map(Ok));
    }

    fn reached(&mut self) {
        if !self.connected {
            self.notices.push_back(Ok(Notice::Connected));
        }
        self.connected = true;
        self.backoff.reset();
    }

    /// Sets the open transactions: exactly these offers.
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
            Message::DeviceAdded(device) => {
                self.notices.push_back(Ok(Notice::DeviceAdded(device)));
            }
            // A newer server may send messages that this program does not know.
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

    /// Reports the reason to the caller. If the caller calls again, the device reconnects, as after
    /// the user opened the application.
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

    /// The new notices: offers by number.
    fn told(line: &mut ServerConnection) -> Vec<u8> {
        let offers = line.notices.drain(..).filter_map(|notice| match notice {
            Ok(Notice::Offer(offer)) => Some(offer.id.0[0]),
            _ => None,
        });
        offers.collect()
    }

    #[test]
    fn an_open_offer_gives_one_notice() {
        let mut line = ServerConnection::new(Listen::Poll);
        line.open_are(vec![offer(1), offer(2)]);
        assert_eq!(told(&mut line), [1, 2]);
        line.open_are(vec![offer(2), offer(3)]);
        line.heard(Message::Offer(offer(2)));
        assert_eq!(told(&mut line), [3]);
        line.heard(Message::Withdrawn(Withdrawn { id: offer(3).id, why: State::Expired }));
        line.put_back(vec![offer(1), offer(2)]);
        assert_eq!(told(&mut line), [1, 2]);
        assert_eq!(line.told.len(), 1, "ended transactions are removed");
    }

    #[test]
    fn the_device_pauses_after_every_loss() {
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
