//! Fairness of deliveries: whatever pattern of failures others have, an endpoint that answers 2xx
//! is served within two seconds and its own queue. The two seconds of a delivery begin when it is
//! the first of its endpoint's deliveries that wait.
//!
//! Time is virtual. A pattern is drawn from a seed, and a failing seed is named in the panic. The
//! long form is `COUNTERSIGN_TEST_PATTERNS=1000000 cargo test --release -p countersign-core --test
//! it fairness`; `COUNTERSIGN_TEST_FIRST_PATTERN` continues from a seed.

use core::convert::Infallible;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use countersign_core::delivery::calls::{CallNumber, Calls};
use countersign_core::delivery::capacity::{Capacity, Health};
use countersign_core::delivery::selection::{self, DueDeliveries};
use countersign_core::delivery::{
    Attempt, Destination, EndpointId, Receiver, RetryPolicy, Verdict,
};
use countersign_core::limits::{DELIVERY_BACKOFF_MAX, SLOW_CALL};
use countersign_core::time::Timestamp;

const RETRY: RetryPolicy = RetryPolicy {
    first: Duration::from_secs(2),
    longest: DELIVERY_BACKOFF_MAX,
    give_up_after: Duration::from_hours(24),
};
/// How often a node looks for due deliveries and for calls that have become slow.
const TICK: u64 = 100;
/// The longest time of an attempt.
const TIMEOUT: u64 = 10_000;
/// The time that a well endpoint takes for an answer.
const ANSWER: u64 = 20;
/// The time in which an endpoint that answers 2xx is served, besides its own queue.
const SERVED_WITHIN: u64 = 2_000;
/// The time of a pattern.
const END: u64 = 9_000;

/// Pseudorandom numbers from a seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn in_range(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }
}

/// The behaviour of an endpoint when it is called.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Answers 2xx at once.
    Accept,
    /// Answers 2xx after this many milliseconds.
    AcceptAfter(u64),
    /// Answers with a server error after this many milliseconds, and asks for a wait of so many
    /// seconds.
    Fail(u64, u64),
    /// Never answers.
    Hang,
}

/// An endpoint, and what it does from which time on.
#[derive(Debug)]
struct Endpoint {
    destination: Destination,
    acts: Vec<(u64, Act)>,
}

impl Endpoint {
    fn act(&self, now: u64) -> Act {
        let now = self.acts.iter().rev().find(|(from, _)| *from <= now);
        now.expect("the first act begins at 0").1
    }

    fn is_well(&self) -> bool {
        self.acts.iter().all(|(_, act)| matches!(act, Act::Accept))
    }
}

#[derive(Debug)]
struct Row {
    endpoint: usize,
    queued_at: u64,
    due_at: u64,
    attempts: u16,
    /// When it became the first of its endpoint's deliveries that wait; known once it is called.
    first_at: Option<u64>,
    /// The deliveries of the same endpoint that were open when it was queued.
    ahead: u64,
}

/// The outbox, the receivers, and a node that makes the calls.
struct World {
    random: Random,
    endpoints: Vec<Endpoint>,
    now: u64,
    /// Open deliveries, in the order in which they were queued.
    rows: BTreeMap<u64, Row>,
    /// The same for each endpoint, by the time at which they are due.
    queues: Vec<BTreeSet<(u64, u64)>>,
    queued: u64,
    calls: Calls,
    /// When each endpoint was called last.
    called: Vec<u64>,
    /// Calls in progress, by the time of their end.
    ends: BTreeMap<(u64, u64), (CallNumber, u64, Health)>,
    after: Option<Destination>,
    served: u64,
}

struct Due<'a>(&'a World);

impl DueDeliveries for Due<'_> {
    type Found = u64;
    type Error = Infallible;

    async fn all(&mut self, limit: u16) -> Result<Option<Vec<(Destination, u64)>>, Infallible> {
        let Self(world) = self;
        let due = |endpoint| world.due(endpoint).map(move |(at, number)| (at, number, endpoint));
        let mut due: Vec<_> =
            (0..world.queues.len()).flat_map(due).take(usize::from(limit) + 1).collect();
        due.sort_unstable();
        let found = |(_, number, endpoint): (_, _, usize)| {
            (world.endpoints[endpoint].destination.clone(), number)
        };
        Ok((due.len() <= limit.into()).then(|| due.into_iter().map(found).collect()))
    }

    async fn next(
        &mut self,
        after: Option<&Destination>,
        skips_receiver: bool,
    ) -> Result<Option<Destination>, Infallible> {
        let Self(world) = self;
        let waiting = world.endpoints.iter().zip(&world.queues);
        let waiting = waiting.filter(|(_, queue)| !queue.is_empty());
        let is_next = |one: &&Destination| {
            after.is_none_or(|after| {
                *one > after && !(skips_receiver && one.receiver == after.receiver)
            })
        };
        Ok(waiting.map(|(endpoint, _)| &endpoint.destination).filter(is_next).min().cloned())
    }

    async fn of(&mut self, destination: &Destination, limit: u16) -> Result<Vec<u64>, Infallible> {
        let Self(world) = self;
        let endpoint = world.endpoints.iter().position(|one| one.destination == *destination);
        let due = world.due(endpoint.expect("only known destinations are asked for"));
        Ok(due.map(|(_, number)| number).take(limit.into()).collect())
    }
}

/// A pattern: the receivers, what they do, and the deliveries with the times at which they are
/// queued.
fn pattern(random: &mut Random) -> (Capacity, Vec<Endpoint>, Vec<(u64, usize)>) {
    let permits = random.in_range(8, 65);
    let receiver_max = random.in_range(4, 33.min(permits));
    let hosts = random.in_range(1, 4);
    // Hanging calls use the permits of quick ones for a second. So no more endpoints may begin to
    // hang together than a tenant has permits.
    let endpoints_max = (permits / 2).min(10);
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for number in 0..random.in_range(2, endpoints_max + 1) {
        let host = random.in_range(0, hosts);
        let tenant = if host.is_multiple_of(2) { "acme" } else { "beta" };
        let host = format!("host-{host}.example").parse().unwrap();
        let receiver = Receiver { tenant: tenant.parse().unwrap(), host };
        let destination = Destination { receiver, endpoint: EndpointId::from_number(number) };
        let is_well = number == 0 || random.next().is_multiple_of(6);
        let acts = if is_well { vec![(0, Act::Accept)] } else { acts(random) };
        endpoints.push(Endpoint { destination, acts });
    }
    let mut queue = Vec::new();
    for (number, endpoint) in endpoints.iter().enumerate() {
        for _ in 0..random.in_range(1, 3) {
            let at = random.in_range(0, END - 3_000);
            let burst = match random.in_range(0, 8) {
                _ if endpoint.is_well() => 3,
                0 => 150,
                1..=2 => 48,
                _ => 12,
            };
            let count = random.in_range(1, burst);
            queue.extend((0..count).map(|_| (at, number)));
        }
    }
    queue.sort_unstable();
    let (permits, receiver_max) = (permits as u16, receiver_max as u16);
    (Capacity::new(permits, receiver_max), endpoints, queue)
}

/// The behaviour of an endpoint that is not always well.
fn acts(random: &mut Random) -> Vec<(u64, Act)> {
    let mut from = 0;
    let mut acts = Vec::new();
    for _ in 0..random.in_range(1, 4) {
        let act = match random.in_range(0, 10) {
            0 => Act::Accept,
            1 => Act::AcceptAfter(random.in_range(50, 9_000)),
            8..=9 => Act::AcceptAfter(random.in_range(500, 1_000)),
            2..=4 => Act::Fail(random.in_range(1, 900), 0),
            5 => Act::Fail(ANSWER, random.in_range(0, 120)),
            _ => Act::Hang,
        };
        acts.push((from, act));
        from += random.in_range(1, END / 2);
    }
    acts
}

impl World {
    fn new(random: Random, capacity: Capacity, endpoints: Vec<Endpoint>) -> Self {
        Self {
            random,
            queues: endpoints.iter().map(|_| BTreeSet::new()).collect(),
            called: endpoints.iter().map(|_| 0).collect(),
            endpoints,
            now: 0,
            rows: BTreeMap::new(),
            queued: 0,
            calls: Calls::new(capacity),
            ends: BTreeMap::new(),
            after: None,
            served: 0,
        }
    }

    fn queue(&mut self, endpoint: usize) {
        let ahead = self.queues[endpoint].len() as u64;
        let (queued_at, due_at) = (self.now, self.now);
        self.queued += 1;
        self.rows.insert(
            self.queued,
            Row { endpoint, queued_at, due_at, attempts: 0, first_at: None, ahead },
        );
        self.queues[endpoint].insert((due_at, self.queued));
    }

    /// The due deliveries of an endpoint: when they became due, and their numbers.
    fn due(&self, endpoint: usize) -> impl Iterator<Item = (u64, u64)> {
        self.queues[endpoint].range(..=(self.now, u64::MAX)).copied()
    }

    fn set_due(&mut self, number: u64, due_at: u64) {
        let row = self.rows.get_mut(&number).expect("the delivery is open");
        let queue = &mut self.queues[row.endpoint];
        queue.remove(&(row.due_at, number));
        queue.insert((due_at, number));
        row.due_at = due_at;
    }

    /// Leases what may be called, and begins the calls.
    fn claim(&mut self) {
        let (capacity, now) = (self.calls.capacity().clone(), Timestamp(self.now));
        let after = self.after.take();
        let selected = {
            let mut due = Due(self);
            let selected = pin!(selection::select(&mut due, capacity, after, now));
            selected.poll(&mut Context::from_waker(Waker::noop()))
        };
        let Poll::Ready(Ok(selected)) = selected else { unreachable!("nothing waits") };
        self.after = selected.resume;
        let of = |number: &u64| &self.endpoints[self.rows[number].endpoint].destination;
        let destinations = selected.found.iter().map(of);
        let begun = self.calls.begin(destinations, selected.is_partial, now);
        for (number, call) in selected.found.into_iter().zip(begun) {
            let row = self.rows.get_mut(&number).unwrap();
            row.attempts += 1;
            let endpoint = row.endpoint;
            row.first_at = Some(row.queued_at.max(self.called[endpoint]));
            self.called[endpoint] = self.now;
            self.set_due(number, self.now + TIMEOUT + 30_000);
            let (takes, health) = match self.endpoints[endpoint].act(self.now) {
                Act::Accept => (ANSWER, Health::Well),
                Act::AcceptAfter(takes) => (takes, Health::Well),
                Act::Fail(takes, 0) => (takes, Health::Outage(None)),
                Act::Fail(takes, asked) => {
                    (takes, Health::Outage(Some(Duration::from_secs(asked))))
                }
                Act::Hang => (TIMEOUT, Health::Outage(None)),
            };
            self.ends.insert((self.now + takes, number), (call, number, health));
        }
    }

    /// Ends the calls whose time has come. Answers whether there were any.
    fn end(&mut self) -> bool {
        let mut any = false;
        while let Some(first) = self.ends.first_entry()
            && first.key().0 <= self.now
        {
            let (call, number, health) = first.remove();
            let now = Timestamp(self.now);
            self.calls.end(call, health, now, &RETRY);
            any = true;
            let attempt = match health {
                Health::Outage(asked) => Attempt::Deferred(asked),
                Health::Well | Health::Unknown => Attempt::Accepted,
            };
            let row = &self.rows[&number];
            let (queued_at, jitter) = (Timestamp(row.queued_at), self.random.next() as u8);
            match RETRY.after(attempt, row.attempts, queued_at, now, jitter) {
                Verdict::Retry(at) => self.set_due(number, at.0),
                _ => self.accepted(number),
            }
        }
        any
    }

    fn accepted(&mut self, number: u64) {
        let row = self.rows.remove(&number).unwrap();
        self.queues[row.endpoint].remove(&(row.due_at, number));
        let endpoint = &self.endpoints[row.endpoint];
        if endpoint.is_well() {
            let waited = self.now - self.first_at(&row);
            let allowed = SERVED_WITHIN + (row.ahead + 1) * ANSWER;
            assert!(waited <= allowed, "{row:?} waited {waited} ms, at {}", self.now);
            self.served += 1;
        }
    }

    /// The time at which a delivery became the first of its endpoint's deliveries that wait.
    fn first_at(&self, row: &Row) -> u64 {
        row.first_at.unwrap_or_else(|| row.queued_at.max(self.called[row.endpoint]))
    }

    /// Checks the deliveries that are still open.
    fn check_open(&self) {
        for row in self.rows.values().filter(|row| self.endpoints[row.endpoint].is_well()) {
            let waited = self.now - self.first_at(row);
            assert!(waited <= SERVED_WITHIN, "{row:?} waits since {waited} ms, at {}", self.now);
        }
    }
}

/// Plays the pattern of a seed. Answers how many deliveries of well endpoints were served.
fn play(seed: u64) -> u64 {
    let mut random = Random(seed);
    let (capacity, endpoints, queue) = pattern(&mut random);
    let mut world = World::new(random, capacity, endpoints);
    let (mut queue, mut tick) = (queue.into_iter().peekable(), 0);
    loop {
        let next = [
            Some(tick),
            queue.peek().map(|(at, _)| *at),
            world.ends.first_key_value().map(|((at, _), _)| *at),
        ];
        world.now = next.into_iter().flatten().min().expect("there is always a tick");
        if world.now >= END {
            break;
        }
        let mut look = world.end();
        while let Some((_, endpoint)) = queue.next_if(|(at, _)| *at <= world.now) {
            world.queue(endpoint);
            look = true;
        }
        if world.now == tick {
            tick += TICK;
            world.calls.watch(Timestamp(world.now));
            look = true;
        }
        if look {
            world.claim();
        }
    }
    world.check_open();
    world.served
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

#[test]
fn an_endpoint_that_answers_2xx_is_served_whatever_the_others_do() {
    let first = setting("COUNTERSIGN_TEST_FIRST_PATTERN").unwrap_or(0);
    let count = setting("COUNTERSIGN_TEST_PATTERNS").unwrap_or(300);
    let mut served = 0;
    for seed in first..first + count {
        let played = std::panic::catch_unwind(|| play(seed));
        served += played.unwrap_or_else(|_| panic!("the pattern of seed {seed} is unfair"));
        if seed % 50_000 == 49_999 {
            println!("{} patterns were fair", seed + 1 - first);
        }
    }
    assert!(served >= 2 * count, "{served} deliveries say something");
}

/// One endpoint fails at once whenever it is called, and its deliveries are always the longest
/// overdue; the other one, of another client on the same host, is well again.
#[test]
fn a_probe_is_not_always_the_same_delivery() {
    let receiver =
        Receiver { tenant: "acme".parse().unwrap(), host: "host.example".parse().unwrap() };
    let endpoints = (0..4).map(|number| Endpoint {
        destination: Destination {
            receiver: receiver.clone(),
            endpoint: EndpointId::from_number(number),
        },
        acts: match number {
            3 => vec![(0, Act::Fail(ANSWER, 0)), (8_000, Act::Accept)],
            _ => vec![(0, Act::Fail(ANSWER, 0))],
        },
    });
    let mut world = World::new(Random(1), Capacity::new(128, 32), endpoints.collect());
    for endpoint in 0..3 {
        (0..40).for_each(|_| world.queue(endpoint));
    }
    world.queue(3);
    while world.rows.values().any(|row| row.endpoint == 3) {
        world.now += TICK;
        assert!(world.now < 30_000, "the endpoint that is well again is served");
        world.end();
        world.calls.watch(Timestamp(world.now));
        world.claim();
    }
    assert!(Duration::from_millis(TICK) < SLOW_CALL);
}
