//! Tests that need the inside of the store: query plans.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_core::time::Timestamp;
use tempfile::TempDir;

use super::connection::in_postgres;
use super::{Postgres, PostgresLocation, joined, unit};
use crate::sql::hot_queries::{HotQuery, hot_queries};

async fn store() -> (TempDir, Postgres) {
    let directory = tempfile::tempdir().unwrap();
    let location = PostgresLocation {
        url: countersign_postgres::shared().url(),
        password_file: None,
        ca_file: None,
        client_certificate: None,
        schema: format!("plans_{}", countersign_postgres::new_schema()),
        connections_max: 4,
        statement_timeout: Duration::from_secs(10),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = Timestamp(now.try_into().unwrap());
    let key = directory.path().join("master.key");
    let store = Postgres::open(&location, &key, true, now).await.unwrap();
    (directory, store)
}

/// So many rows that no plan reads a whole table if an index has what it needs. One row of a
/// hundred is an open transaction, or a dead letter.
const FILL: &str = "
    INSERT INTO users (tenant, name, version, id, serial_base, devices_made, activations_made,
                       wrong_pins, wrong_codes, pin_locks_in_a_row, code_locks_in_a_row, lock,
                       created_at)
    SELECT 'acme', 'user-' || n, 1, sha256(n::text::bytea), n, 1, 1, 0, 0, 0, 0, 'open', 0
      FROM generate_series(1, 20000) AS n;
    INSERT INTO devices (tenant, id, version, user_name, serial_base, sequence, status, auth_key,
                         payload_key, code_key, enrolled_at, about, identities)
    SELECT 'acme', n, 1, 'user-' || n, n, 1, 'active', '', '', '', 0, '', ''
      FROM generate_series(1, 20000) AS n;
    INSERT INTO identities (tenant, id, device, valid_until)
    SELECT 'acme', md5(n::text), n, n FROM generate_series(1, 20000) AS n;
    INSERT INTO identity_labels (tenant, label, user_name, sequence, identity, device)
    SELECT 'acme', 'label-' || n % 100, 'user-' || n, 1, md5(n::text), n
      FROM generate_series(1, 20000) AS n;
    INSERT INTO activations (tenant, id, version, user_name, code, not_after, maker, secret, chosen,
                             labels, state)
    SELECT 'acme', sha256(n::text::bytea), 1, 'user-' || n, '', n, 'server', 1, 0, '[]', 'open'
      FROM generate_series(1, 20000) AS n;
    INSERT INTO transactions (tenant, id, version, state, reached, due_at, takes, ended_at, dialect,
                              client, user_name, request_key, reference, started_at, body,
                              stored_bytes, content)
    SELECT 'acme', sha256(n::text::bytea), 1, 'waiting', 0, CASE WHEN n % 100 = 0 THEN n END, '[]',
           CASE WHEN n % 100 <> 0 THEN n END, 'kobil', 'client-' || n % 10, 'user-' || n % 2000, n,
           'reference-' || n, n, '{}', 100, ''
      FROM generate_series(1, 20000) AS n;
    INSERT INTO evidence (tenant, id, version, takes, ended_at, ended_by, proof_content,
                          proof_signer, evidence, dialect, client, user_name, request_key, reference,
                          started_at, body)
    SELECT 'acme', sha256((-n)::text::bytea), 1, '[]', n, 1, '', '', '', 'kobil',
           'client-' || n % 10, 'user-' || n % 2000, -n, 'reference-' || -n, n, '{}'
      FROM generate_series(1, 20000) AS n;
    INSERT INTO stored (tenant, client, transactions, bytes)
    SELECT 'tenant-' || n / 10, 'client-' || n % 10, 1, 100 FROM generate_series(1, 20000) AS n;
    INSERT INTO deliveries (tenant, id, transaction_id, kind, attempts, host, endpoint, queued_at,
                            due_at)
    SELECT 'acme', sha256(n::text::bytea), sha256((n - 19000)::text::bytea), 'callback', 0,
           'host-' || n % 500, n % 500, n, CASE WHEN n % 100 <> 0 THEN n END
      FROM generate_series(1, 20000) AS n;
    INSERT INTO events (tenant, number, at, kind, actor, subject)
    SELECT 'acme', n, n, 'transaction.started', 'client:bank', 'transaction:1'
      FROM generate_series(1, 20000) AS n;
    ANALYZE;
";

#[tokio::test]
async fn hot_queries_use_their_index_and_sort_nothing() {
    let (_directory, store) = store().await;
    let lent = store.0.pool.lend().await.unwrap();
    let sql = lent.client();
    sql.batch_execute(FILL).await.unwrap();
    // As a prepared statement that has been used often.
    sql.batch_execute("SET plan_cache_mode = force_generic_plan").await.unwrap();
    let mut wrong = Vec::new();
    let joined = [
        (joined::USER_WITH_DEVICES.clone(), "users_pkey"),
        (joined::USER_WITH_DEVICES.clone(), "devices_listed"),
        (joined::STEP.clone(), "devices_pkey"),
        (joined::STEP.clone(), "users_pkey"),
        (joined::STEP.clone(), "transactions_pkey"),
        (unit::CALL_OFF.to_owned(), "deliveries_of_transaction"),
    ];
    let shared =
        hot_queries().into_iter().map(|HotQuery { statement, postgres, .. }| (statement, postgres));
    for (statement, index) in shared.chain(joined) {
        let statement = in_postgres(&statement);
        sql.batch_execute(&format!("PREPARE hot AS {statement}")).await.unwrap();
        let count = "SELECT cardinality(parameter_types) FROM pg_prepared_statements
            WHERE name = 'hot'";
        let count: i32 = sql.query_one(count, &[]).await.unwrap().get(0);
        let given = vec!["NULL"; usize::try_from(count).unwrap()].join(", ");
        let given = if given.is_empty() { given } else { format!("({given})") };
        let explained = sql.simple_query(&format!("EXPLAIN EXECUTE hot{given}")).await.unwrap();
        let mut plan = String::new();
        for line in explained {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = line {
                plan += row.get(0).unwrap();
                plan += "\n";
            }
        }
        sql.batch_execute("DEALLOCATE hot").await.unwrap();
        let uses = plan.contains(&format!(" using {index} on "))
            || plan.contains(&format!(" Index Scan on {index} "));
        if !uses || plan.contains("Seq Scan") || plan.contains("Sort") {
            wrong.push(format!("{index}: {statement}\n{plan}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
