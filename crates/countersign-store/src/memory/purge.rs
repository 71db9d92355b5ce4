//! Removal: ended transactions, of which the evidence stays, expired activations, and users.

use std::sync::Arc;

use countersign_core::device::DeviceStatus;
use countersign_core::event::RecordedEvent;
use countersign_core::id::{TenantName, UserName};
use countersign_core::port::{Committed, Versioned};
use countersign_core::push::Push;
use countersign_core::spec::TransactionSpec;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Transaction};

use countersign_proof::Proof;

use super::Tables;

impl Tables {
    /// The evidence of a tenant's transactions.
    pub(super) fn evidence_of(
        &self,
        tenant: &TenantName,
    ) -> impl DoubleEndedIterator<Item = &Versioned<Transaction>> {
        self.evidence.iter().filter(move |t| t.value.spec.tenant == *tenant)
    }

    pub(super) fn purge(&mut self, before: Timestamp, limit: u16) -> u16 {
        let ended = |t: &Versioned<Transaction>| match t.value.state {
            State::Ended { at, .. } if at <= before => Some(at),
            _ => None,
        };
        let has_deliveries =
            |t: &Versioned<Transaction>| self.deliveries.owe(&t.value.spec.tenant, t.value.spec.id);
        let may_go = |t: &Versioned<Transaction>| ended(t).filter(|_| !has_deliveries(t));
        let numbered = self.transactions.iter();
        let mut going: Vec<_> = numbered.filter_map(|(at, t)| Some((may_go(t)?, *at))).collect();
        going.sort_unstable();
        going.truncate(limit.into());
        for (_, at) in &going {
            self.remove_transaction(*at);
        }
        going.len() as u16
    }

    /// Removes a transaction with what is queued for it, and keeps the evidence of a finished one.
    pub(super) fn remove_transaction(&mut self, at: u64) {
        if let Some(row) = self.transactions.remove(&at) {
            let (tenant, id) = (row.value.spec.tenant.clone(), row.value.spec.id);
            self.places.remove(&(tenant.clone(), id));
            self.deliveries.purge(&tenant, id);
            self.contacts.retain(|key, _| key.0 != tenant || key.1 != id);
            if let Some(End::Finished { proof, .. }) = row.value.end() {
                self.evidence.push(evidence(&row, proof));
            }
        }
    }

    /// Hides the evidence from the transaction's own caller, if the version is unchanged.
    pub(super) fn discard_evidence(&mut self, spec: &TransactionSpec, expected: u32) -> Committed {
        let is_it = |t: &&mut Versioned<Transaction>| {
            t.value.spec.tenant == spec.tenant && t.value.spec.id == spec.id
        };
        match self.evidence.iter_mut().find(is_it) {
            Some(row) if row.version == expected => {
                row.value.discarded = true;
                row.version += 1;
                Committed::Written
            }
            _ => Committed::Stale,
        }
    }

    pub(super) fn purge_activations(&mut self, before: Timestamp, limit: u16) -> u16 {
        let mut left = limit;
        self.activations.retain(|activation| {
            let goes = left > 0 && activation.value.not_after <= before;
            left -= u16::from(goes);
            !goes
        });
        limit - left
    }

    pub(super) fn purge_events(&mut self, before: Timestamp, limit: u16) -> u16 {
        let mut gone = 0;
        for events in self.events.values_mut() {
            let last = events.last().map_or(0, |last| last.number);
            let old = |event: &&RecordedEvent| event.at <= before && event.number < last;
            let going = events.iter().take(limit.into()).take_while(old).count();
            events.drain(..going);
            gone += going as u16;
        }
        gone
    }

    pub(super) fn delete_user(
        &mut self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
    ) -> Committed {
        let key = (tenant.clone(), user.clone());
        let open =
            |t: &Versioned<Transaction>| t.value.spec.user == *user && t.value.end().is_none();
        if self.of(tenant).any(open)
            || self.users.get(&key).is_none_or(|found| found.version != expected)
        {
            return Committed::Stale;
        }
        for device in self.devices.values_mut() {
            let held = device.value.tenant == *tenant && device.value.user == *user;
            if held && device.value.status != DeviceStatus::Retired {
                device.value.status = DeviceStatus::Retired;
                device.value.push = Push::None;
                device.version += 1;
            }
        }
        self.activations.retain(|a| a.value.tenant != *tenant || a.value.user != *user);
        self.users.remove(&key);
        Committed::Written
    }
}

/// The evidence of a finished transaction. A CMS contains its content; other signatures do not.
fn evidence(row: &Versioned<Transaction>, proof: &Proof) -> Versioned<Transaction> {
    let is_cms = proof.raw().is_none() && proof.signer().is_some();
    let mut content = row.value.spec.content.clone();
    if is_cms {
        content.bytes.clear();
    }
    let spec = TransactionSpec {
        content,
        callback: None,
        notice: None,
        request: None,
        ..(*row.value.spec).clone()
    };
    let value = Transaction { spec: Arc::new(spec), ..row.value.clone() };
    Versioned { value, version: row.version }
}
