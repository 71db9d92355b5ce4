//! Snapshots: a query's subject and its parts, read at one moment.

use countersign_core::Fault;
use countersign_core::id::TenantName;
use countersign_core::port::{Part, Query, QuerySubject, Snapshot};
use rusqlite::Connection;

use super::error::StoreError;
use super::{
    Parts, activation, contact, device, end_snapshot, identity, tenant, transaction, user,
};
use crate::master_key::MasterKeys;

impl Parts {
    /// Reads a snapshot. What one statement can read, or one with others while it is active, needs
    /// no SQL transaction.
    pub(super) fn snapshot(
        &self,
        tenant: &TenantName,
        query: Query<'_>,
    ) -> Result<Snapshot, Fault> {
        let (readers, keys) = (&self.readers, &self.keys);
        match (query.subject, query.parts) {
            (subject, []) => {
                readers.read(doing(subject), |sql| load_subject(sql, tenant, subject, keys))
            }
            (QuerySubject::User(name), [Part::Devices]) => {
                readers.read("reading a user and their devices", |sql| {
                    let devices = || device::list_of_user(sql, tenant, name, keys);
                    let Some((user, devices)) = user::load_and(sql, tenant, name, devices)? else {
                        return Ok(Snapshot::default());
                    };
                    Ok(Snapshot { user: Some(user), devices, ..Snapshot::default() })
                })
            }
            (QuerySubject::Identity(id), [Part::User]) => {
                readers.read("finding who holds an identity", |sql| {
                    let user = |held_by: &_| user::load(sql, tenant, held_by);
                    let Some((device, user)) = identity::load_and(sql, tenant, id, keys, user)?
                    else {
                        return Ok(Snapshot::default());
                    };
                    Ok(Snapshot { device: Some(device), user, ..Snapshot::default() })
                })
            }
            (subject, parts) => readers.read_at_once(doing(subject), |sql| {
                let mut found = load_subject(sql, tenant, subject, keys)?;
                for part in parts {
                    load_part(sql, tenant, subject, *part, &mut found, keys)?;
                }
                Ok(found)
            }),
        }
    }
}

fn doing(subject: QuerySubject<'_>) -> &'static str {
    match subject {
        QuerySubject::Tenant => "reading a tenant",
        QuerySubject::User(_) => "reading a user",
        QuerySubject::Device(_) => "reading a device",
        QuerySubject::Serial(_) => "finding a device",
        QuerySubject::Identity(_) => "finding an identity",
        QuerySubject::Transaction(_) => "loading a transaction",
        QuerySubject::End(_) => "reading what came of a transaction",
    }
}

/// Reads the subject, with one statement or with others while the first one is active.
fn load_subject(
    sql: &Connection,
    tenant: &TenantName,
    subject: QuerySubject<'_>,
    keys: &MasterKeys,
) -> Result<Snapshot, StoreError> {
    let mut found = Snapshot::default();
    match subject {
        QuerySubject::Tenant => found.tenant = tenant::load(sql, tenant)?,
        QuerySubject::User(name) => found.user = user::load(sql, tenant, name)?,
        QuerySubject::Device(id) => found.device = device::load(sql, tenant, id, keys)?,
        QuerySubject::Serial(serial) => {
            found.device = device::load_by_serial(sql, tenant, serial, keys)?;
        }
        QuerySubject::Identity(id) => {
            let device = identity::load_and(sql, tenant, id, keys, |_| Ok(()))?;
            found.device = device.map(|(device, ())| device);
        }
        QuerySubject::Transaction(handle) => {
            found.transaction = transaction::load(sql, tenant, handle)?;
        }
        QuerySubject::End(id) => found.end = end_snapshot::load(sql, tenant, id, keys)?,
    }
    Ok(found)
}

/// Reads one part.
fn load_part(
    sql: &Connection,
    tenant: &TenantName,
    subject: QuerySubject<'_>,
    part: Part<'_>,
    found: &mut Snapshot,
    keys: &MasterKeys,
) -> Result<(), StoreError> {
    let user = found.user_name(subject);
    match (part, user) {
        (Part::Tenant, _) => found.tenant = tenant::load(sql, tenant)?,
        (Part::Transaction(handle), _) => {
            found.transaction = transaction::load(sql, tenant, handle)?;
        }
        (Part::Contacts, _) => {
            if let Some(id) = found.transaction_id(subject) {
                found.contacts = contact::list(sql, tenant, id)?;
            }
        }
        (Part::User, Some(name)) => found.user = user::load(sql, tenant, name)?,
        (Part::Devices, Some(name)) => {
            found.devices = device::list_of_user(sql, tenant, name, keys)?;
        }
        (Part::OpenOfClient(client), _) => {
            found.open = transaction::open_of_client(sql, tenant, client)?;
        }
        (Part::Open, Some(name)) => found.open = transaction::open(sql, tenant, name)?,
        (Part::Activations(now), Some(name)) => {
            found.activations = activation::list(sql, tenant, name, now, keys)?;
        }
        (Part::User | Part::Devices | Part::Open | Part::Activations(_), None) => {}
    }
    Ok(())
}
