//! The queries that must stay fast on large ledgers, and the index that each must use. Both
//! databases' tests explain them.

use super::delivery::select;
use super::{
    activation, delivery, device, end_snapshot, event, evidence, identity, stored, transaction,
};

/// A query, and the index that it must use in each database.
pub(crate) struct HotQuery {
    pub(crate) statement: String,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

pub(crate) fn hot_queries() -> Vec<HotQuery> {
    let of_transactions = |which: &str| format!("SELECT * FROM transactions WHERE {which}");
    vec![
        query(
            of_transactions(transaction::list::BY_ID),
            "sqlite_autoindex_transactions_1",
            "transactions_pkey",
        ),
        same(of_transactions(transaction::list::LAST_BY_KEY), "transactions_by_key"),
        same(of_transactions(transaction::list::BY_REFERENCE), "transactions_by_reference"),
        same(of_transactions(transaction::list::OPEN_BY_USER), "transactions_open_by_user"),
        same(of_transactions(transaction::list::LIST_BY_USER), "transactions_by_user"),
        same(of_transactions(transaction::list::LIST), "transactions_by_tenant"),
        query(end_snapshot::STANDS, "sqlite_autoindex_transactions_1", "transactions_pkey"),
        query(transaction::list::SEQ, "sqlite_autoindex_transactions_1", "transactions_pkey"),
        query(transaction::list::EVIDENCE_SEQ, "sqlite_autoindex_evidence_1", "evidence_pkey"),
        same(transaction::OBSTACLES, "transactions_open_by_key"),
        same(transaction::OBSTACLES, "transactions_by_reference"),
        same(transaction::OBSTACLES, "evidence_by_reference"),
        same(transaction::OBSTACLES, "transactions_open_by_user"),
        same(transaction::COUNT_OPEN, "transactions_open_by_user"),
        same(transaction::list::DUE_NOW, "transactions_due"),
        same(transaction::list::DUE_NEXT, "transactions_due"),
        query(transaction::VERSIONS, "sqlite_autoindex_transactions_1", "transactions_pkey"),
        query(transaction::VERSIONS, "sqlite_autoindex_devices_1", "devices_pkey"),
        query(transaction::VERSIONS, "PRIMARY KEY", "users_pkey"),
        query(stored::ADD, "PRIMARY KEY", "stored_pkey"),
        query(stored::SUM, "PRIMARY KEY", "stored_pkey"),
        query(stored::REMOVE, "PRIMARY KEY", "stored_pkey"),
        same(select::COUNT_DUE, "deliveries_due"),
        same(select::DUE, "deliveries_due"),
        same(select::NEXT_ENDPOINT, "deliveries_by_destination"),
        same(select::NEXT_HOST, "deliveries_by_destination"),
        same(select::NEXT_TENANT, "deliveries_by_destination"),
        same(select::DUE_AT_DESTINATION, "deliveries_by_destination"),
        same(delivery::GIVE_UP_EXPIRED, "deliveries_by_destination"),
        same(delivery::LIST_DEAD_LETTERS, "deliveries_dead_letters"),
        same(delivery::REPLAY_ALL, "deliveries_dead_letters"),
        same(evidence::forgettable_statement(), "transactions_ended"),
        same(activation::EXPIRED, "activations_expired"),
        same(device::list_statement(true), "devices_listed"),
        same(device::by_serial_statement(), "devices_by_serial"),
        same(device::list_statement(false), "devices_listed"),
        query(device::by_identity_statement(), "PRIMARY KEY", "identities_pkey"),
        query(identity::COUNT, "PRIMARY KEY", "identity_labels_pkey"),
        query(identity::devices_with_statement(2), "PRIMARY KEY", "identity_labels_pkey"),
        same(identity::ENDS, "identities_by_end"),
        same(event::BY_OPERATORS, "events_by_operators"),
        same("DELETE FROM identities WHERE tenant = ?1 AND device = ?2", "identities_by_device"),
        same(
            "DELETE FROM identity_labels WHERE tenant = ?1 AND device = ?2",
            "identity_labels_by_device",
        ),
    ]
}

/// A query for which both databases name the index alike.
fn same(statement: impl Into<String>, index: &'static str) -> HotQuery {
    query(statement, index, index)
}

fn query(statement: impl Into<String>, sqlite: &'static str, postgres: &'static str) -> HotQuery {
    HotQuery { statement: statement.into(), sqlite, postgres }
}
