//! Notifications that follow from events, whichever process committed them.
//!
//! A process notifies the devices and callers that are connected to it: of its own commits at once,
//! and of those of other processes, such as an operator's command, after it has read their events.

use std::sync::Arc;

use super::Engine;
use crate::event::{EventKind, NewEvent, RecordedEvent, Subject};
use crate::id::{TenantName, TransactionId};
use crate::port::{Clock, Entropy, Handle, Ledger, Notification, Notifier};
use crate::refusal::Fault;
use crate::spec::Recipients;

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Sends the notification that an `event` of another process requires, if it requires one.
    /// `tenant` is the event's.
    ///
    /// A start requires none here: an operator starts no transaction.
    ///
    /// # Errors
    /// Fails if the ledger does. Devices and callers then find out later, from the ledger.
    pub async fn notify_of(
        &self,
        tenant: Option<&TenantName>,
        event: &RecordedEvent,
    ) -> Result<(), Fault> {
        let RecordedEvent { kind, subject, .. } = event;
        if let (EventKind::TransactionEnded, Subject::Transaction(id), Some(tenant)) =
            (*kind, subject, tenant)
        {
            return self.notify_of_end(tenant, *id).await;
        }
        let detail = |wanted: &str| {
            let found = event.details.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        if let Some(notification) = disconnection(tenant, *kind, subject, detail) {
            self.notifier.notify(notification);
        }
        Ok(())
    }

    /// Forgets what is cached of a transaction that another node has ended.
    pub fn forget(&self, id: TransactionId) {
        self.context_cache.remove(id);
    }

    async fn notify_of_end(&self, tenant: &TenantName, id: TransactionId) -> Result<(), Fault> {
        let found = self.store.read().transaction(tenant, &Handle::Id(id)).await?;
        if let Some(ended) = found.filter(|found| found.value.state.is_ended()) {
            self.context_cache.remove(id);
            self.notifier.notify(Notification::Ended(Arc::new(ended.value)));
        }
        Ok(())
    }

    /// Closes the channels that an event of an own commit requires to be closed.
    pub(super) fn disconnect_by(&self, event: &NewEvent) {
        let detail = |wanted: &str| {
            let found = event.details.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let NewEvent { tenant, kind, subject, .. } = event;
        if let Some(notification) = disconnection(tenant.as_ref(), *kind, subject, detail) {
            self.notifier.notify(notification);
        }
    }
}

/// The notification that closes the channels of devices that an event locked, logged out or
/// deleted. `detail` finds a detail of the event.
fn disconnection<'a>(
    tenant: Option<&TenantName>,
    kind: EventKind,
    subject: &Subject,
    detail: impl Fn(&str) -> Option<&'a str>,
) -> Option<Notification> {
    let tenant = tenant.cloned();
    Some(match (kind, subject) {
        (
            EventKind::UserLocked | EventKind::UserLoggedOut | EventKind::UserDeleted,
            Subject::User(user),
        ) => Notification::Disconnect {
            tenant: tenant?,
            user: user.clone(),
            recipients: Recipients::Any,
        },
        (EventKind::DeviceLocked | EventKind::DeviceRetired, Subject::Device(device)) => {
            let user = detail("user")?.parse().ok()?;
            let recipients = Recipients::Device(*device);
            Notification::Disconnect { tenant: tenant?, user, recipients }
        }
        (EventKind::TenantLocked, _) => Notification::DisconnectTenant(tenant?),
        // An event of the whole server, because the tenant's own events may be gone.
        (EventKind::TenantDeleted, _) => {
            Notification::DisconnectTenant(detail("name")?.parse().ok()?)
        }
        _ => return None,
    })
}
