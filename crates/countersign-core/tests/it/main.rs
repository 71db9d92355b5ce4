//! The state machine's table, and sequences of its steps.

#![allow(clippy::unwrap_used, reason = "tests")]

mod backoff;
mod fairness;
mod stories;
mod table;

use core::time::Duration;

use countersign_core::id::{DeviceId, RequestKey, TransactionId};
use countersign_core::spec::{
    AcceptedFormats, Clocks, Content, Dialect, MediaType, Notify, Operation, Recipients,
    TransactionSpec,
};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{State, Transaction};
use countersign_proof::Proof;

const ID: TransactionId = TransactionId(5);

fn ann() -> DeviceId {
    DeviceId::try_from(1).unwrap()
}

fn bob() -> DeviceId {
    DeviceId::try_from(2).unwrap()
}

/// A proof as a ledger returns it. The crate `proof` tests what `verify` requires.
fn proof(of: TransactionId, evidence: u8) -> Proof {
    Proof::recorded(of.bytes(), [7; 32], Some([8; 32]), vec![evidence])
}

/// A transaction that started at 0, with ten seconds to come online and twenty to sign.
fn spec() -> TransactionSpec {
    TransactionSpec {
        id: ID,
        tenant: "acme".parse().unwrap(),
        dialect: Dialect::Kobil,
        client: "shop".parse().unwrap(),
        client_name: "Shop".into(),
        user: "jane".parse().unwrap(),
        request_key: RequestKey::drawn(42),
        reference: None,
        recipients: Recipients::Any,
        selectors: Vec::new(),
        content: Content { media_type: MediaType::Text, bytes: b"pay 5".to_vec() },
        document: None,
        operation: Operation::Sign,
        formats: AcceptedFormats::Cms,
        pin_required: false,
        once: false,
        started_at: Timestamp(0),
        announced: Notify::Everybody,
        sealed_for: None,
        online: true,
        present: Vec::new(),
        clocks: Clocks::Two { go_online: Duration::from_secs(10), sign: Duration::from_secs(20) },
        callback: None,
        notice: None,
        request: None,
    }
}

fn transaction(spec: TransactionSpec, state: State) -> Transaction {
    Transaction { spec: spec.into(), takes: Vec::new(), state, discarded: false }
}
