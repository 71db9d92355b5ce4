//! The work of a node in a fleet: it tells the others what it committed, and learns from them what
//! concerns its devices and callers.
//!
//! Every message may be lost. When messages may have been lost, the node asks the ledger about each
//! caller that waits here and each device that is connected here.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::engine::Engine;
use countersign_core::id::{TenantName, TransactionId};
use countersign_core::port::{Clock, Entropy, Handle, Ledger, Notification};
use countersign_core::refusal::Fault;
use countersign_core::spec::Recipients;
use countersign_store::{Fleet, FleetMessages, FleetNode, MESSAGE_MAX, UserPresence};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::by_user::UserKey;
use super::hint::Hint;
use super::local::LocalNotifier;
use super::outbox::FleetOutbox;
use crate::clock;
use crate::fault_log::log;
use crate::task::Shutdown;

/// The interval between two beats, which renew the lease of a node and show that messages arrive.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Without a beat of its own for this long, a node makes a new connection.
const SILENCE_MAX: Duration = Duration::from_secs(7);
/// The pause before a connection is made again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// The users whose devices are noted at once.
const NOTED_AT_ONCE: usize = 1_000;
/// The hints that are taken at once. About 150 fit into a message.
const HINTS_AT_ONCE: usize = 1_024;
/// The reads that the hints of others cause at once.
const READS_AT_ONCE: usize = 32;

/// Joins the fleet, and works until the node stops.
pub async fn work<S, W>(core: Arc<Engine<S, LocalNotifier, W>>, fleet: Fleet, tasks: Shutdown)
where
    S: Ledger + 'static,
    W: Clock + Entropy + 'static,
{
    let notifier = core.notifier().clone();
    let Some(outbox) = notifier.outbox() else { return };
    let speaker = speak(&core, &notifier, outbox, &fleet, &tasks);
    let listener = listen(&core, &notifier, outbox, &fleet, &tasks);
    tokio::join!(speaker, listener);
}

/// Sends and writes what waits in the outbox.
async fn speak<S, W>(
    core: &Engine<S, LocalNotifier, W>,
    notifier: &LocalNotifier,
    outbox: &FleetOutbox,
    fleet: &Fleet,
    tasks: &Shutdown,
) where
    S: Ledger,
    W: Clock + Entropy,
{
    let (terminated, mut number) = (tasks.terminated(), None);
    while !terminated.is_cancelled() {
        match fleet.join(number).await {
            Ok(node) => {
                if number.is_none() {
                    info!("This node is number {} of the fleet", node.number());
                }
                number = Some(node.number());
                outbox.set_node(node.number());
                // The database may have lost earlier notes.
                for user in notifier.users() {
                    outbox.note_presence(user);
                }
                let ended = send_all(core, notifier, outbox, &node, tasks).await;
                match ended {
                    Ok(()) => return node.leave().await,
                    Err(fault) => {
                        // The last messages may not have arrived.
                        outbox.note_lost();
                        log(&fault);
                    }
                }
            }
            Err(fault) => log(&fault),
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Sends until the node stops, or the connection ends.
async fn send_all<S, W>(
    core: &Engine<S, LocalNotifier, W>,
    notifier: &LocalNotifier,
    outbox: &FleetOutbox,
    node: &FleetNode,
    tasks: &Shutdown,
) -> Result<(), Fault>
where
    S: Ledger,
    W: Clock + Entropy,
{
    let terminated = tasks.terminated();
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let hints = outbox.hints(HINTS_AT_ONCE);
        for message in messages(node.number(), &hints) {
            node.send(&message).await?;
        }
        let users = outbox.users(NOTED_AT_ONCE);
        if !users.is_empty() {
            let now = core.now();
            let at = |user: &UserKey| UserPresence {
                tenant: user.0.clone(),
                user: user.1.clone(),
                devices: notifier.present(user, now),
            };
            node.note(&users.iter().map(at).collect::<Vec<_>>()).await?;
        }
        if !hints.is_empty() || !users.is_empty() {
            continue;
        }
        tokio::select! {
            () = outbox.changed() => {}
            _ = beats.tick() => {
                node.beat().await?;
                node.send(&heading(node.number())).await?;
            }
            () = terminated.cancelled() => return Ok(()),
        }
    }
}

/// The first line of a message: the version of its form, and the node that sends it. Alone it is a
/// beat.
fn heading(node: u32) -> String {
    format!("1\t{node}")
}

/// Hints as messages, each within its limit.
fn messages(node: u32, hints: &[Hint]) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for hint in hints {
        let line = hint.to_string();
        let fits = |message: &String| message.len() + 1 + line.len() <= MESSAGE_MAX;
        match messages.last_mut().filter(|last| fits(last)) {
            Some(last) => {
                last.push('\n');
                last.push_str(&line);
            }
            None => messages.push(format!("{}\n{line}", heading(node))),
        }
    }
    messages
}

/// Receives what the others send.
async fn listen<S, W>(
    core: &Engine<S, LocalNotifier, W>,
    notifier: &LocalNotifier,
    outbox: &FleetOutbox,
    fleet: &Fleet,
    tasks: &Shutdown,
) where
    S: Ledger,
    W: Clock + Entropy,
{
    let (terminated, mut is_first) = (tasks.terminated(), true);
    while !terminated.is_cancelled() {
        match fleet.listen().await {
            Ok(messages) => {
                // Before the first one, nothing was connected here.
                if !std::mem::take(&mut is_first) {
                    warn!("Messages of other nodes may have been lost: asking the ledger");
                    ask_the_ledger(core, notifier).await;
                }
                let received = receive_all(core, notifier, outbox, messages);
                if terminated.run_until_cancelled(received).await.is_none() {
                    return;
                }
            }
            Err(fault) => log(&fault),
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Receives until the connection ends, or nothing is heard any more.
async fn receive_all<S, W>(
    core: &Engine<S, LocalNotifier, W>,
    notifier: &LocalNotifier,
    outbox: &FleetOutbox,
    mut messages: FleetMessages,
) where
    S: Ledger,
    W: Clock + Entropy,
{
    let mut heard = clock::running();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = sleep(SILENCE_MAX.saturating_sub(heard.elapsed())) => None,
        };
        let Some(message) = message else { return };
        let mut lines = message.lines();
        let Some(sender) = lines.next().and_then(|heading| heading.strip_prefix("1\t")) else {
            continue;
        };
        if sender.parse() == Ok(outbox.node()) {
            heard = clock::running();
            continue;
        }
        let hints = lines.filter_map(Hint::parse);
        let each = |hint| async move {
            if let Err(fault) = act(core, notifier, hint).await {
                log(&fault);
            }
        };
        stream::iter(hints).for_each_concurrent(READS_AT_ONCE, each).await;
    }
}

/// Does what another node's hint says, as far as it concerns this node.
async fn act<S, W>(
    core: &Engine<S, LocalNotifier, W>,
    notifier: &LocalNotifier,
    hint: Hint,
) -> Result<(), Fault>
where
    S: Ledger,
    W: Clock + Entropy,
{
    match hint {
        Hint::Offer(user, id) => {
            if notifier.has_user(&user) {
                let found = core.read().transaction(&user.0, &Handle::Id(id)).await?;
                if let Some(found) = found.filter(|found| found.value.end().is_none()) {
                    notifier.notify_here(Notification::Offer(Arc::new(found.value)));
                }
            }
        }
        Hint::Ended(user, id) => {
            if notifier.is_awaited(id) || notifier.has_user(&user) {
                end(core, notifier, &user.0, id).await?;
            }
        }
        Hint::DeviceAdded(user, device) => {
            if notifier.has_user(&user)
                && let Some(found) = core.read().device(&user.0, device).await?
            {
                notifier.notify_here(Notification::DeviceAdded(Arc::new(found.value)));
            }
        }
        Hint::Disconnect((tenant, user), device) => {
            let recipients = device.map_or(Recipients::Any, Recipients::Device);
            notifier.notify_here(Notification::Disconnect { tenant, user, recipients });
        }
        Hint::DisconnectTenant(tenant) => {
            notifier.notify_here(Notification::DisconnectTenant(tenant));
        }
        Hint::AskTheLedger => ask_the_ledger(core, notifier).await,
    }
    Ok(())
}

async fn end<S, W>(
    core: &Engine<S, LocalNotifier, W>,
    notifier: &LocalNotifier,
    tenant: &TenantName,
    id: TransactionId,
) -> Result<(), Fault>
where
    S: Ledger,
    W: Clock + Entropy,
{
    let found = core.read().transaction(tenant, &Handle::Id(id)).await?;
    if let Some(ended) = found.filter(|found| found.value.end().is_some()) {
        core.forget(id);
        notifier.notify_here(Notification::Ended(Arc::new(ended.value)));
    }
    Ok(())
}

/// Looks up each transaction that is awaited here, and the open transactions of each user with a
/// device here.
async fn ask_the_ledger<S, W>(core: &Engine<S, LocalNotifier, W>, notifier: &LocalNotifier)
where
    S: Ledger,
    W: Clock + Entropy,
{
    let each = |(tenant, id)| async move {
        if let Err(fault) = end(core, notifier, &tenant, id).await {
            log(&fault);
        }
    };
    stream::iter(notifier.awaited()).for_each_concurrent(READS_AT_ONCE, each).await;
    let each = |user: UserKey| async move {
        match core.read().open(&user.0, &user.1).await {
            Ok(open) => {
                for found in open {
                    notifier.notify_here(Notification::Offer(Arc::new(found.value)));
                }
            }
            Err(fault) => log(&fault),
        }
    };
    stream::iter(notifier.users()).for_each_concurrent(READS_AT_ONCE, each).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hold_all_hints_and_stay_within_the_limit() {
        let user = |at: u32| ("acme".parse().unwrap(), format!("user-{at}").parse().unwrap());
        let hint = |at: u32| Hint::Ended(user(at), TransactionId(u128::MAX - u128::from(at)));
        let hints: Vec<_> = (0..500).map(hint).collect();
        let messages = messages(7, &hints);
        assert!(messages.iter().all(|message| message.len() <= MESSAGE_MAX));
        assert!(messages.len() < 6, "{}", messages.len());
        let lines = messages.iter().flat_map(|message| {
            let mut lines = message.lines();
            assert_eq!(lines.next(), Some("1\t7"));
            lines.map(Hint::parse)
        });
        assert_eq!(lines.map(Option::unwrap).collect::<Vec<_>>(), hints);
    }
}
