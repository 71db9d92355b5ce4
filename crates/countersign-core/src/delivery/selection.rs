//! The order in which deliveries are claimed: one selection for every store.
//!
//! The guarantee: whatever is scarce, be it a permit of a receiver, of a tenant or of all, the
//! destination that was served least recently gets it, and no destination gets a second permit
//! before each other one had a first. So a long queue delays only its own destination.

use std::collections::BTreeMap;

use super::Destination;
use super::capacity::Capacity;
use crate::limits::{DESTINATIONS_PER_CLAIM_MAX, DUE_PER_CLAIM_MAX};
use crate::time::Timestamp;

/// The deliveries that a walk over destinations collects before they are shared out.
const COLLECTED_MAX: usize = 8 * DUE_PER_CLAIM_MAX as usize;

/// Due deliveries, and where they go.
pub type Found<T> = Vec<(Destination, T)>;

/// The due deliveries of an outbox.
pub trait DueDeliveries {
    /// How the outbox finds a delivery again.
    type Found;
    /// A failure of the outbox.
    type Error;

    /// All due deliveries, the earliest first; `None` if there are more than `limit`.
    ///
    /// # Errors
    /// If the outbox fails.
    fn all(
        &mut self,
        limit: u16,
    ) -> impl Future<Output = Result<Option<Found<Self::Found>>, Self::Error>>;

    /// The first destination of waiting deliveries after this one, or the first of all. If
    /// `skips_receiver`, the first one of another receiver.
    ///
    /// # Errors
    /// If the outbox fails.
    fn next(
        &mut self,
        after: Option<&Destination>,
        skips_receiver: bool,
    ) -> impl Future<Output = Result<Option<Destination>, Self::Error>>;

    /// At most `limit` due deliveries of a destination, the earliest first.
    ///
    /// # Errors
    /// If the outbox fails.
    fn of(
        &mut self,
        destination: &Destination,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Self::Found>, Self::Error>>;
}

/// The deliveries to be leased.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selection<T> {
    /// The deliveries.
    pub found: Vec<T>,
    /// The destination after which the next selection of a long outbox begins.
    pub resume: Option<Destination>,
    /// Whether due deliveries were left for lack of a permit.
    pub is_partial: bool,
}

/// Selects due deliveries, within the capacity.
///
/// # Errors
/// If the outbox fails.
pub async fn select<O: DueDeliveries>(
    outbox: &mut O,
    mut capacity: Capacity,
    after: Option<Destination>,
    now: Timestamp,
) -> Result<Selection<O::Found>, O::Error> {
    let all = outbox.all(DUE_PER_CLAIM_MAX).await?;
    let is_whole = all.is_some();
    let Walk { queues, resume } = match all {
        Some(all) => Walk { queues: grouped(all), resume: after },
        None => walked(outbox, &capacity, after.as_ref(), now).await?,
    };
    let (found, left) = shared_out(queues, &mut capacity, now);
    Ok(Selection { found, resume, is_partial: !is_whole || left })
}

/// The due deliveries of one destination, the last one first.
struct Queue<T> {
    destination: Destination,
    due: Vec<T>,
}

/// The queues that were found, and where to continue.
struct Walk<T> {
    queues: Vec<Queue<T>>,
    resume: Option<Destination>,
}

/// Queues in the order of their earliest deliveries.
fn grouped<T>(all: Found<T>) -> Vec<Queue<T>> {
    let mut places = BTreeMap::new();
    let mut queues: Vec<Queue<T>> = Vec::new();
    for (destination, found) in all {
        let place = *places.entry(destination).or_insert_with_key(|destination| {
            queues.push(Queue { destination: destination.clone(), due: Vec::new() });
            queues.len() - 1
        });
        queues[place].due.push(found);
    }
    for queue in &mut queues {
        queue.due.reverse();
    }
    queues
}

/// The queues of some destinations, of which the first comes after `after`, and where to continue.
/// Receivers that can get no permit are skipped.
async fn walked<O: DueDeliveries>(
    outbox: &mut O,
    capacity: &Capacity,
    after: Option<&Destination>,
    now: Timestamp,
) -> Result<Walk<O::Found>, O::Error> {
    let (mut queues, mut collected) = (Vec::new(), 0);
    let (mut last, mut skips) = (after.cloned(), false);
    let mut is_around = after.is_none();
    for _ in 0..DESTINATIONS_PER_CLAIM_MAX {
        let mut destination = outbox.next(last.as_ref(), skips).await?;
        if destination.is_none() && !is_around {
            is_around = true;
            destination = outbox.next(None, false).await?;
        }
        let Some(destination) = destination else { break };
        if is_around && after.is_some_and(|after| destination > *after) {
            break; // It was visited before the walk wrapped around.
        }
        skips = capacity.is_full(&destination.receiver);
        let permits = capacity.available(&destination, now);
        if permits > 0 {
            let mut due = outbox.of(&destination, permits).await?;
            due.reverse();
            collected += due.len();
            if !due.is_empty() {
                queues.push(Queue { destination: destination.clone(), due });
            }
        }
        last = Some(destination);
        if collected >= COLLECTED_MAX {
            break;
        }
    }
    Ok(Walk { queues, resume: last })
}

/// Gives each queue a permit, and then a further one, as long as there are any: the least recently
/// served first. Answers also whether deliveries were left.
fn shared_out<T>(
    mut queues: Vec<Queue<T>>,
    capacity: &mut Capacity,
    now: Timestamp,
) -> (Vec<T>, bool) {
    queues.sort_by_key(|queue| capacity.served(&queue.destination));
    let (mut found, mut left) = (Vec::new(), false);
    while !queues.is_empty() {
        queues.retain_mut(|queue| {
            if capacity.available(&queue.destination, now) == 0 {
                left = true;
                return false;
            }
            capacity.acquire(&queue.destination);
            found.extend(queue.due.pop());
            !queue.due.is_empty()
        });
    }
    (found, left)
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};

    use super::*;
    use crate::delivery::{EndpointId, Receiver};

    const NOW: Timestamp = Timestamp(1_000);

    /// Due deliveries that are few enough to be read at once.
    struct Few(Found<&'static str>);

    impl DueDeliveries for Few {
        type Found = &'static str;
        type Error = Infallible;

        async fn all(&mut self, _limit: u16) -> Result<Option<Found<Self::Found>>, Infallible> {
            Ok(Some(self.0.clone()))
        }

        async fn next(
            &mut self,
            _after: Option<&Destination>,
            _skips_receiver: bool,
        ) -> Result<Option<Destination>, Infallible> {
            Ok(None)
        }

        async fn of(
            &mut self,
            _destination: &Destination,
            _limit: u16,
        ) -> Result<Vec<Self::Found>, Infallible> {
            Ok(Vec::new())
        }
    }

    fn selected(permits: u16, served: &[u64]) -> (Vec<&'static str>, bool) {
        let destination = |number| {
            let (tenant, host) = ("acme".parse().expect("a name"), "a".parse().expect("a host"));
            let receiver = Receiver { tenant, host };
            Destination { receiver, endpoint: EndpointId::from_number(number) }
        };
        let due = [(1, "1a"), (1, "1b"), (1, "1c"), (2, "2a"), (3, "3a"), (3, "3b")];
        let due = due.map(|(number, name)| (destination(number), name));
        let mut capacity = Capacity::new(4 * permits, permits);
        for number in served {
            capacity.note_served(&destination(*number));
        }
        let mut few = Few(due.to_vec());
        let selection = pin!(select(&mut few, capacity, None, NOW));
        let Poll::Ready(selection) = selection.poll(&mut Context::from_waker(Waker::noop())) else {
            unreachable!("nothing waits");
        };
        let selection = selection.expect("infallible");
        (selection.found, selection.is_partial)
    }

    #[test]
    fn no_destination_gets_a_second_permit_before_each_other_one_had_a_first() {
        assert_eq!(selected(3, &[]), (vec!["1a", "2a", "3a"], true));
        assert_eq!(selected(5, &[]), (vec!["1a", "2a", "3a", "1b", "3b"], true));
        assert_eq!(selected(9, &[]), (vec!["1a", "2a", "3a", "1b", "3b", "1c"], false));
    }

    #[test]
    fn the_destination_that_was_served_least_recently_is_first() {
        assert_eq!(selected(1, &[1, 2]).0, ["3a"]);
        assert_eq!(selected(2, &[3, 1, 2]).0, ["3a", "1a"]);
    }
}
