//! The queue of one connection: the events that it has not read yet.
//!
//! Almost all connections are idle, so an empty queue holds no memory beyond itself. An event that
//! is already queued is not queued again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use countersign_core::limits::CHANNEL_FRAMES_MAX;
use parking_lot::Mutex;

use super::local::ConnectionEvent;

/// The end of a queue into which the notifier writes. Dropping it closes the queue; events that are
/// queued are still read.
#[derive(Debug)]
pub(super) struct QueueSender(Arc<Mutex<Queue>>);

/// The end of a queue from which one connection reads.
#[derive(Debug)]
pub(super) struct QueueReceiver(Arc<Mutex<Queue>>);

/// The queue cannot take another event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<ConnectionEvent>,
    /// Woken by the next event, and when the queue is closed.
    reader: Option<Waker>,
    is_closed: bool,
}

/// A new queue.
pub(super) fn queue() -> (QueueSender, QueueReceiver) {
    let queue = Arc::<Mutex<Queue>>::default();
    (QueueSender(Arc::clone(&queue)), QueueReceiver(queue))
}

impl QueueSender {
    /// Queues an event, unless it is already queued. Does not wait.
    ///
    /// # Errors
    /// [`Full`] if [`CHANNEL_FRAMES_MAX`] events are queued.
    pub(super) fn send(&self, event: ConnectionEvent) -> Result<(), Full> {
        let mut queue = self.0.lock();
        if queue.events.iter().any(|queued| queued.is_same(&event)) {
            return Ok(());
        }
        if queue.events.len() >= CHANNEL_FRAMES_MAX {
            return Err(Full);
        }
        queue.events.push_back(event);
        let reader = queue.reader.take();
        drop(queue);
        wake(reader);
        Ok(())
    }
}

impl Drop for QueueSender {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.is_closed = true;
        let reader = queue.reader.take();
        drop(queue);
        wake(reader);
    }
}

impl QueueReceiver {
    /// The next event; `None` if the queue is closed and empty. No event is lost if this is dropped
    /// before it is ready.
    pub(super) async fn next(&mut self) -> Option<ConnectionEvent> {
        poll_fn(|context| {
            let mut queue = self.0.lock();
            if let Some(event) = queue.events.pop_front() {
                if queue.events.is_empty() {
                    queue.events = VecDeque::new();
                }
                return Poll::Ready(Some(event));
            }
            if queue.is_closed {
                return Poll::Ready(None);
            }
            match &mut queue.reader {
                Some(reader) => reader.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }
}

fn wake(reader: Option<Waker>) {
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::device::{About, Device, DeviceStatus};
    use countersign_core::id::{SerialBase, SerialNumber};
    use countersign_core::push::Push;
    use countersign_core::secret::Secret;
    use countersign_core::time::Timestamp;
    use futures_util::FutureExt as _;
    use futures_util::task::noop_waker;

    use super::*;

    /// The memory of an idle connection's queue, which each connected device has.
    const QUEUE_BYTES_MAX: usize = 72;

    fn added(number: u64) -> ConnectionEvent {
        let device = Device {
            tenant: "acme".parse().unwrap(),
            id: number.try_into().unwrap(),
            user: "jane".parse().unwrap(),
            serial_number: SerialNumber { base: SerialBase(0), sequence: 1 },
            status: DeviceStatus::Active,
            tenant_locked: false,
            auth_key: [0; 65],
            payload_key: Secret::copied(&[0; 32]),
            code_key: Secret::copied(&[0; 32]),
            pin: None,
            identities: Vec::new(),
            about: About::default(),
            push: Push::None,
            enrolled_at: Timestamp(0),
        };
        ConnectionEvent::DeviceAdded(Arc::new(device))
    }

    #[test]
    fn an_idle_queue_is_small_and_one_that_was_read_is_as_small_again() {
        assert!(size_of::<Mutex<Queue>>() <= QUEUE_BYTES_MAX, "{}", size_of::<Mutex<Queue>>());
        let (sender, mut receiver) = queue();
        assert_eq!(sender.0.lock().events.capacity(), 0);
        for number in 1..=100 {
            sender.send(added(number)).unwrap();
        }
        for _ in 1..=100 {
            assert!(matches!(receiver.next().now_or_never(), Some(Some(_))));
        }
        assert_eq!(sender.0.lock().events.capacity(), 0);
    }

    #[test]
    fn an_event_that_comes_twice_before_it_is_read_is_read_once() {
        let (sender, mut receiver) = queue();
        for event in [added(1), added(2), added(1), ConnectionEvent::Locked] {
            sender.send(event).unwrap();
        }
        sender.send(ConnectionEvent::Locked).unwrap();
        for expected in [added(1), added(2), ConnectionEvent::Locked] {
            let read = receiver.next().now_or_never().flatten();
            assert!(read.is_some_and(|read| read.is_same(&expected)), "{expected:?}");
        }
        assert!(receiver.next().now_or_never().is_none(), "nothing else is queued");
        // Once read, the same event counts as a new one.
        sender.send(added(1)).unwrap();
        assert!(matches!(receiver.next().now_or_never(), Some(Some(_))));
    }

    #[test]
    fn a_full_queue_takes_no_more_and_what_it_holds_is_read_before_the_end() {
        let (sender, mut receiver) = queue();
        for number in 1..=CHANNEL_FRAMES_MAX as u64 {
            assert_eq!(sender.send(added(number)), Ok(()));
        }
        assert_eq!(sender.send(added(7)), Ok(()), "it is already queued");
        assert_eq!(sender.send(ConnectionEvent::Locked), Err(Full));
        drop(sender);
        for _ in 0..CHANNEL_FRAMES_MAX {
            assert!(matches!(receiver.next().now_or_never(), Some(Some(_))));
        }
        assert!(matches!(receiver.next().now_or_never(), Some(None)));
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_an_event_and_by_the_end() {
        let (sender, mut receiver) = queue();
        // Another task asked before, and asks no more.
        let waker = noop_waker();
        let mut before = Box::pin(receiver.next());
        assert!(before.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        drop(before);
        let (event, ()) = tokio::join!(receiver.next(), async { sender.send(added(1)).unwrap() });
        assert!(event.is_some());
        let (end, ()) = tokio::join!(receiver.next(), async move { drop(sender) });
        assert!(end.is_none());
    }
}
