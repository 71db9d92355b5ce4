//! The tables that a ledger has in every database, with the order in which their rows are moved and
//! compared.
//!
//! Both databases have an index in that order, so no table is sorted. Text and bytes have the same
//! order in both: that of their bytes.

use super::value::Cells;

/// A table of the ledger.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// All its columns.
    columns: &'static [&'static str],
    /// The columns that order its rows, of which there are no two equal ones.
    key: &'static [&'static str],
}

/// All tables, each after those to which its rows refer.
pub(crate) const TABLES: [Table; 19] = [
    Table {
        name: "tenants",
        columns: &[
            "name",
            "state",
            "authority_certificate",
            "roots",
            "token_public_key",
            "token_key_before",
            "token_key_before_not_after",
            "users_made",
            "users",
            "devices",
            "created_at",
        ],
        key: &["name"],
    },
    Table { name: "tenant_domains", columns: &["domain", "tenant"], key: &["domain"] },
    Table {
        name: "clients",
        columns: &[
            "tenant",
            "id",
            "version",
            "name",
            "roles",
            "state",
            "secret_number",
            "secret_digest",
            "secret_not_after",
            "secret_before_digest",
            "secret_before_not_after",
            "password_number",
            "account",
            "account_hash",
            "scopes",
            "created_at",
        ],
        key: &["tenant", "id"],
    },
    Table {
        name: "signing_keys",
        columns: &["tenant", "role", "stored"],
        key: &["tenant", "role"],
    },
    Table {
        name: "callback_keys",
        columns: &["tenant", "client", "newest", "before"],
        key: &["tenant", "client"],
    },
    Table {
        name: "api_keys",
        columns: &["seq", "id", "tenant", "kind", "digest", "state", "not_after", "created_at"],
        key: &["id"],
    },
    Table {
        name: "users",
        columns: &[
            "tenant",
            "name",
            "version",
            "id",
            "serial_base",
            "devices_made",
            "activations_made",
            "wrong_pins",
            "wrong_codes",
            "pin_locks_in_a_row",
            "code_locks_in_a_row",
            "lock",
            "locked_until",
            "profile",
            "created_at",
        ],
        key: &["tenant", "name"],
    },
    Table {
        name: "devices",
        columns: &[
            "seq",
            "tenant",
            "id",
            "version",
            "user_name",
            "serial_base",
            "sequence",
            "status",
            "auth_key",
            "payload_key",
            "code_key",
            "pin_digest",
            "pin_version",
            "push_provider",
            "push_address",
            "push_mark",
            "push_at",
            "push_retired",
            "enrolled_at",
            "about",
            "identities",
        ],
        key: &["tenant", "id"],
    },
    Table {
        name: "identities",
        columns: &["tenant", "id", "device", "valid_until"],
        key: &["tenant", "id"],
    },
    Table {
        name: "identity_labels",
        columns: &["tenant", "label", "user_name", "sequence", "identity", "device"],
        key: &["tenant", "label", "user_name", "sequence", "identity"],
    },
    Table {
        name: "identity_keys",
        columns: &["tenant", "key_digest", "identity", "certificate_serial"],
        key: &["tenant", "key_digest"],
    },
    Table {
        name: "activations",
        columns: &[
            "seq",
            "tenant",
            "id",
            "version",
            "user_name",
            "code",
            "not_after",
            "maker",
            "secret",
            "chosen",
            "labels",
            "state",
            "request",
            "answer",
        ],
        key: &["tenant", "id"],
    },
    Table {
        name: "transactions",
        columns: &[
            "seq",
            "tenant",
            "id",
            "version",
            "state",
            "reached",
            "due_at",
            "takes",
            "ended_at",
            "ended_by",
            "end_reason",
            "proof_content",
            "proof_signer",
            "evidence",
            "raw",
            "discarded",
            "dialect",
            "client",
            "user_name",
            "request_key",
            "reference",
            "device",
            "started_at",
            "body",
            "stored_bytes",
            "content",
        ],
        key: &["tenant", "seq"],
    },
    Table {
        name: "stored",
        columns: &["tenant", "client", "transactions", "bytes"],
        key: &["tenant", "client"],
    },
    Table {
        name: "evidence",
        columns: &[
            "seq",
            "tenant",
            "id",
            "version",
            "takes",
            "ended_at",
            "ended_by",
            "proof_content",
            "proof_signer",
            "evidence",
            "dialect",
            "client",
            "user_name",
            "request_key",
            "reference",
            "device",
            "started_at",
            "body",
            "raw",
            "discarded",
            "content",
        ],
        key: &["tenant", "seq"],
    },
    Table { name: "used_signatures", columns: &["tenant", "mark"], key: &["tenant", "mark"] },
    Table {
        name: "deliveries",
        columns: &[
            "seq",
            "tenant",
            "id",
            "transaction_id",
            "kind",
            "device",
            "host",
            "endpoint",
            "queued_at",
            "attempts",
            "lease",
            "due_at",
            "outcome",
        ],
        key: &["tenant", "id"],
    },
    Table {
        name: "contacts",
        columns: &[
            "tenant",
            "transaction_id",
            "device",
            "push",
            "push_at",
            "push_outcome",
            "reached_at",
        ],
        key: &["tenant", "transaction_id", "device"],
    },
    Table {
        name: "events",
        columns: &["tenant", "number", "at", "kind", "actor", "subject", "details"],
        key: &["tenant", "number"],
    },
];

impl Table {
    /// The columns, as statements list them.
    pub(crate) fn columns(&self) -> String {
        self.columns.join(", ")
    }

    /// The name of a column, by its position in a row.
    pub(crate) fn column(&self, at: usize) -> &'static str {
        self.columns.get(at).copied().unwrap_or("?")
    }

    /// Whether its rows are numbered by the database.
    pub(crate) fn is_numbered(&self) -> bool {
        self.columns[0] == "seq"
    }

    /// All rows, in order.
    pub(crate) fn select(&self) -> String {
        let Self { name, .. } = self;
        format!("SELECT {} FROM {name} ORDER BY {}", self.columns(), self.key.join(", "))
    }

    /// The rows after a key, in order. The parameters are the columns of the key.
    pub(crate) fn select_after(&self) -> String {
        let Self { name, key, .. } = self;
        let places: Vec<_> = (1..=key.len()).map(|at| format!("?{at}")).collect();
        let (columns, key, places) = (self.columns(), key.join(", "), places.join(", "));
        format!("SELECT {columns} FROM {name} WHERE ({key}) > ({places}) ORDER BY {key}")
    }

    /// The key of a row.
    pub(crate) fn key_of(&self, row: &Cells) -> Cells {
        let at = |name: &&str| self.columns.iter().position(|column| column == name);
        let position = |name| at(name).expect("the columns of a key are columns");
        self.key.iter().map(|name| row[position(name)].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The tables that only PostgreSQL has. What they contain is derived, or is not kept.
    const OF_POSTGRES: [&str; 6] =
        ["event_numbers", "nodes", "presence", "ledger", "leases", "registry_turn"];

    /// The columns of each table of a schema.
    fn tables(schema: &str) -> BTreeMap<&str, Vec<&str>> {
        let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut table = None;
        for line in schema.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
                table = rest.split_whitespace().next();
                tables.insert(table.unwrap(), Vec::new());
            } else if line.starts_with(')') {
                table = None;
            } else if let Some(table) = table
                && line.starts_with("    ")
                && first.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && !first.is_empty()
            {
                tables.get_mut(table).unwrap().push(first);
            }
        }
        tables
    }

    /// A forgotten table or column would not arrive, and would not be missed.
    #[test]
    fn every_table_and_column_of_both_schemas_is_moved() {
        let known: BTreeMap<_, _> =
            TABLES.iter().map(|table| (table.name, table.columns.to_vec())).collect();
        assert_eq!(tables(include_str!("../../migrations/sqlite/0001_ledger.sql")), known);
        let mut postgres = tables(include_str!("../../migrations/postgres/0001_ledger.sql"));
        for table in OF_POSTGRES {
            assert!(postgres.remove(table).is_some(), "{table} is not in the schema any more");
        }
        assert_eq!(postgres, known);
    }
}
