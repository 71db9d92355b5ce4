//! `countersign transaction …`.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use countersign_core::id::{ClientId, DeviceId, TenantName, UserName};
use countersign_core::port::{Handle, Part, Query, QuerySubject, Snapshot, TransactionCursor};
use countersign_core::push_policy::Contact;
use countersign_core::spec::Recipients;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, State, TakeOrigin, Timeout, Transaction};
use countersign_core::user::Factor;
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::count::Count;
use super::evidence::RawEvidence;
use super::qr::qr;
use super::table::{self, Table};
use countersign_http::qr;
use countersign_http::time_format;

/// The names of all states.
const STATES: [&str; 8] =
    ["waiting", "taken", "finished", "declined", "failed", "expired", "cancelled", "locked"];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List a tenant's transactions, the newest first.
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        count: Count,
        /// Begin after the last row of an earlier list, whose note told this cursor
        #[arg(long)]
        cursor: Option<TransactionCursor>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Show one transaction, by its id, its request key, or its client's reference.
    ///
    /// The JSON contains the signature of a finished transaction, as base64 of a PKCS#7 in DER.
    #[command(
        after_help = "Examples:\n  countersign transaction show 0047110815 --tenant acme\n  \
                            countersign transaction show --client acme-shop-90c5e04f11 --reference \
                            order-7 --tenant acme"
    )]
    Show(Show),
    /// Cancel an open transaction, for the application that started it.
    ///
    /// The application gets its answer or callback as if it had cancelled it itself. Within two
    /// seconds a running server answers the call that it holds, and has devices withdraw the
    /// transaction. Nothing happens if it is cancelled already.
    #[command(after_help = "Example:\n  countersign transaction cancel 0047110815 --tenant acme")]
    Cancel(Show),
    /// Print an open transaction as a QR code, for a device to scan.
    ///
    /// The code contains only the request key, in every dialect. With --json it is a PNG, in
    /// base64.
    #[command(after_help = "Example:\n  countersign transaction qr 0047110815 --tenant acme")]
    Qr(Show),
}

/// The transactions that a list shows.
#[derive(Args, Debug)]
pub(super) struct Filter {
    /// Only those of one user
    #[arg(long)]
    user: Option<UserName>,
    /// Only those that one client started
    #[arg(long, value_name = "ID")]
    client: Option<ClientId>,
    /// Only those in this state
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// Only those that started at this time or later, such as 2026-11-28T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// Its id (32 hex digits) or its request key (ten digits)
    #[arg(required_unless_present = "reference", conflicts_with_all = ["client", "reference"])]
    handle: Option<String>,
    /// The id of the client that started it
    #[arg(long, requires = "reference")]
    client: Option<ClientId>,
    /// That client's reference, such as KOBIL's transactionId
    #[arg(long, requires = "client")]
    reference: Option<String>,
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Serialize)]
struct TransactionView {
    id: String,
    request_key: String,
    dialect: &'static str,
    user: String,
    state: &'static str,
    client: String,
    client_name: String,
    reference: Option<String>,
    /// The only device that may sign; null for all of the user's devices.
    device_id: Option<String>,
    media_type: &'static str,
    pin_required: bool,
    started_at: String,
    /// While it is open: its present deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    takes: Vec<Take>,
    /// How each device was notified, with the results. In a list, only the data within the
    /// transaction itself.
    devices: Vec<ContactView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<EndView>,
}

/// How a device was notified of a transaction.
#[derive(Default, Serialize)]
struct ContactView {
    device_id: String,
    /// When it was offered to the connected device, at its start or when the device connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    offered_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<Push>,
    /// When the device connected, by itself or after a push.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached_at: Option<String>,
    /// When a gateway fetched it for this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched_at: Option<String>,
    /// When the device took it to show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_at: Option<String>,
}

#[derive(Serialize)]
struct Push {
    /// `sent`, `skipped`, `waiting`, `failed` or `gone`.
    state: &'static str,
    at: String,
    outcome: String,
}

#[derive(Serialize)]
struct QrView {
    id: String,
    request_key: String,
    /// Base64 of a PNG.
    png: String,
}

#[derive(Serialize)]
struct Take {
    device_id: String,
    at: String,
    /// The receiver of the content: `device`, which shows it, or `gateway`, which may not show it.
    origin: &'static str,
}

#[derive(Serialize)]
struct EndView {
    outcome: &'static str,
    /// The device that ended it.
    by: Option<String>,
    reason: Option<String>,
    /// Base64 of the PKCS#7, DER; of a raw signature's bytes; of a code's digits.
    signature: Option<String>,
    /// The other data for the verification of a raw signature.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    raw: Option<RawEvidence>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { tenant, filter, count, cursor, place } => {
                let admin = Admin::at(&place).await?;
                match &filter.user {
                    Some(user) => drop(admin.user(&tenant, user).await?),
                    None => admin.check_tenant_or_evidence(&tenant).await?,
                }
                let (read, user) = (admin.core.read(), filter.user.as_ref());
                let found = count.read("--cursor", cursor, async |page| {
                    let mut listed = read.transactions(&tenant, user, page).await?;
                    listed.rows.retain(|found| filter.covers(&found.value));
                    Ok(listed)
                });
                let found = found.await?;
                let shown: Vec<TransactionView> =
                    found.iter().map(|found| shown(&found.value, &[])).collect();
                answer::print(admin.json, &shown, || table(&shown))?;
                admin.close().await
            }
            Self::Show(show) => {
                let (admin, found, contacts) = show.found().await?;
                let shown = shown(&found, &contacts);
                answer::print(admin.json, &shown, || entries(&shown))?;
                admin.close().await
            }
            Self::Cancel(show) => {
                let (admin, found, contacts) = show.found().await?;
                let handle = Handle::Id(found.spec.id);
                let tenant = &found.spec.tenant;
                let cancelled = admin.core.cancel(&admin.actor, tenant, &handle, |_| true).await?;
                let shown = shown(&cancelled, &contacts);
                answer::print(admin.json, &shown, || {
                    format!("Transaction {} is cancelled.", shown.id)
                })?;
                admin.close().await
            }
            Self::Qr(show) => {
                let (admin, found, _) = show.found().await?;
                if let Some(end) = found.end() {
                    bail!("there is nothing to scan any more: {}", end.outcome());
                }
                let (id, request_key) = (found.spec.id.to_string(), found.spec.request_key);
                let request_key = request_key.to_string();
                let png = BASE64.encode(qr::qr(&request_key).context("too long for a QR")?);
                let text = format!("{}\n{request_key}", qr(&request_key)?);
                answer::print(admin.json, &QrView { id, request_key, png }, || text)?;
                admin.close().await
            }
        }
    }
}

impl Filter {
    fn covers(&self, found: &Transaction) -> bool {
        let Self { user, client, state, since } = self;
        user.as_ref().is_none_or(|user| found.spec.user == *user)
            && client.as_ref().is_none_or(|client| found.spec.client == *client)
            && state.as_ref().is_none_or(|state| found.state.as_str() == state)
            && since.is_none_or(|since| found.spec.started_at >= since)
    }
}

/// A time as an argument.
fn moment(text: &str) -> Result<Timestamp, String> {
    let at = time_format::parse(text);
    at.ok_or_else(|| "it is not a time such as 2026-11-28T10:00:00Z (RFC 3339)".to_owned())
}

impl Show {
    async fn found(&self) -> anyhow::Result<(Admin, Transaction, Vec<Contact>)> {
        let admin = Admin::at(&self.place).await?;
        admin.check_tenant_or_evidence(&self.tenant).await?;
        let handle = self.handle()?;
        let query = Query { subject: QuerySubject::Transaction(&handle), parts: &[Part::Contacts] };
        let Snapshot { transaction, contacts, .. } =
            admin.core.read().snapshot(&self.tenant, query).await?;
        let found = transaction
            .with_context(|| format!("tenant {} has no such transaction", self.tenant))?;
        Ok((admin, found.value, contacts))
    }

    fn handle(&self) -> anyhow::Result<Handle> {
        if let (Some(client), Some(reference)) = (&self.client, &self.reference) {
            return Ok(Handle::Reference(client.clone(), reference.clone()));
        }
        let text = self.handle.as_deref().unwrap_or_default();
        match (text.parse(), text.parse()) {
            (Ok(id), _) => Ok(Handle::Id(id)),
            (_, Ok(key)) => Ok(Handle::Key(key)),
            _ => {
                bail!("\"{text}\" is neither an id (32 hex digits) nor a request key (ten digits)")
            }
        }
    }
}

fn shown(transaction: &Transaction, contacts: &[Contact]) -> TransactionView {
    let spec = &transaction.spec;
    let (ended_at, end) = match &transaction.state {
        State::Ended { at, end } => {
            (Some(time_format::exact(*at)), Some(ended(end, &spec.content.bytes)))
        }
        State::Waiting { .. } | State::Taken { .. } => (None, None),
    };
    let deadline = end.is_none().then(|| time_format::exact(transaction.deadline()));
    let takes = transaction.takes.iter();
    let takes = takes.map(|take| Take {
        device_id: take.device.to_string(),
        at: time_format::exact(take.at),
        origin: match take.origin {
            TakeOrigin::Device => "device",
            TakeOrigin::Gateway => "gateway",
        },
    });
    TransactionView {
        id: spec.id.to_string(),
        request_key: spec.request_key.to_string(),
        dialect: spec.dialect.as_str(),
        user: spec.user.to_string(),
        state: transaction.state.as_str(),
        client: spec.client.to_string(),
        client_name: spec.client_name.clone(),
        reference: spec.reference.as_ref().map(|reference| reference.name.clone()),
        device_id: match spec.recipients {
            Recipients::Any | Recipients::Devices(_) => None,
            Recipients::Device(device) => Some(device.to_string()),
        },
        media_type: spec.content.media_type.as_str(),
        pin_required: spec.pin_required,
        started_at: time_format::exact(spec.started_at),
        deadline,
        ended_at,
        takes: takes.collect(),
        devices: told(transaction, contacts),
        end,
    }
}

/// By device: those that were online at the start, those that were pushed or connected later, and
/// those that took it.
fn told(transaction: &Transaction, contacts: &[Contact]) -> Vec<ContactView> {
    let mut told: BTreeMap<DeviceId, ContactView> = BTreeMap::new();
    for device in &transaction.spec.present {
        let offered_at = Some(time_format::exact(transaction.spec.started_at));
        told.insert(*device, ContactView { offered_at, ..ContactView::default() });
    }
    for contact in contacts {
        let entry = told.entry(contact.device).or_default();
        entry.push = contact.push.as_ref().map(|push| Push {
            state: push.state.as_str(),
            at: time_format::exact(push.at),
            outcome: push.outcome.clone(),
        });
        entry.reached_at = contact.reached_at.map(time_format::exact);
    }
    for take in &transaction.takes {
        let (entry, at) = (told.entry(take.device).or_default(), time_format::exact(take.at));
        match take.origin {
            TakeOrigin::Device => entry.taken_at = Some(at),
            TakeOrigin::Gateway => entry.fetched_at = Some(at),
        }
    }
    let named = |(device, told)| ContactView { device_id: DeviceId::to_string(&device), ..told };
    told.into_iter().map(named).collect()
}

fn ended(end: &End, content: &[u8]) -> EndView {
    let reason = match end {
        End::Declined { reason: Decline::User, .. } => Some("user".to_owned()),
        End::Declined { reason: Decline::NotMe, .. } => Some("not-me".to_owned()),
        End::Failed { reason, .. } => Some(reason.clone()),
        End::Expired(Timeout::GoOnline) => Some("go-online".to_owned()),
        End::Expired(Timeout::Sign) => Some("sign".to_owned()),
        End::Locked { factor: Factor::Pin, .. } => Some("wrong-pins".to_owned()),
        End::Locked { factor: Factor::Code, .. } => Some("wrong-codes".to_owned()),
        End::Finished { .. } | End::Cancelled => None,
    };
    let signature = match end {
        End::Finished { proof, .. } => Some(BASE64.encode(proof.evidence())),
        _ => None,
    };
    let raw = match end {
        End::Finished { proof, .. } => proof.raw().map(|raw| RawEvidence::of(raw, content)),
        _ => None,
    };
    let by = end.by().map(|device| device.to_string());
    EndView { outcome: end.outcome().as_str(), by, reason, signature, raw }
}

fn table(transactions: &[TransactionView]) -> String {
    let mut table = Table::new(&["REQUEST KEY", "USER", "STATE", "CLIENT", "REFERENCE", "STARTED"]);
    for shown in transactions {
        table.row(&[
            &shown.request_key,
            &shown.user,
            shown.state,
            &shown.client_name,
            shown.reference.as_deref().unwrap_or_default(),
            &shown.started_at,
        ]);
    }
    table.text("There are no transactions.")
}

fn entries(shown: &TransactionView) -> String {
    let mut entries = vec![
        ("id", shown.id.clone()),
        ("request key", shown.request_key.clone()),
        ("dialect", shown.dialect.to_owned()),
        ("user", shown.user.clone()),
        ("client", format!("{} ({})", shown.client_name, shown.client)),
        ("reference", shown.reference.clone().unwrap_or_else(|| "-".to_owned())),
        ("device", shown.device_id.clone().unwrap_or_else(|| "any of the user's".to_owned())),
        ("content", shown.media_type.to_owned()),
        ("PIN", if shown.pin_required { "required" } else { "not required" }.to_owned()),
        ("started", shown.started_at.clone()),
    ];
    for told in &shown.devices {
        let device = &told.device_id;
        entries
            .extend(told.offered_at.as_ref().map(|at| ("offered", format!("{at}, to {device}"))));
        entries.extend(told.push.as_ref().map(|push| {
            let Push { state, at, outcome } = push;
            ("pushed", format!("{at}, to {device}: {state} ({outcome})"))
        }));
        entries.extend(told.reached_at.as_ref().map(|at| ("reached", format!("{at}, {device}"))));
        let fetched = told.fetched_at.as_ref();
        entries.extend(
            fetched.map(|at| ("fetched", format!("{at}, by a gateway for device {device}"))),
        );
        entries.extend(
            told.taken_at.as_ref().map(|at| ("shown", format!("{at}, on device {device}"))),
        );
    }
    entries.push(("state", shown.state.to_owned()));
    entries.extend(shown.deadline.clone().map(|deadline| ("deadline", deadline)));
    entries.extend(shown.ended_at.clone().map(|at| ("ended", at)));
    if let Some(end) = &shown.end {
        entries.extend(end.by.clone().map(|device| ("by device", device)));
        entries.extend(end.reason.clone().map(|reason| ("reason", reason)));
        let letters = end.signature.as_ref().map(String::len);
        entries.extend(letters.map(|letters| {
            ("signature", format!("PKCS#7, {letters} letters of base64: see --json"))
        }));
    }
    table::list(&entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(handle: &str) -> anyhow::Result<Handle> {
        let place = LedgerArgs { data: None, config: None, json: false };
        let tenant = "acme".parse().unwrap();
        Show { handle: Some(handle.to_owned()), client: None, reference: None, tenant, place }
            .handle()
    }

    #[test]
    fn a_transaction_is_found_by_its_id_or_its_key_and_by_nothing_between() {
        assert!(matches!(show(&"0".repeat(32)), Ok(Handle::Id(_))));
        assert!(matches!(show("0000000042"), Ok(Handle::Key(_))));
        for bad in ["", "42", "00000000042", &"g".repeat(32)] {
            assert!(show(bad).is_err(), "{bad}");
        }
    }
}
