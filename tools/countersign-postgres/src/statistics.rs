//! What a server did, by its own statistics.

use std::ops::Sub;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use crate::Server;

/// The time after which PostgreSQL's processes have published their statistics: an idle one does so
/// after ten seconds.
const PUBLISHED_AFTER: Duration = Duration::from_secs(11);

/// What a server did until now, or in a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// The number of times that it waited for the disk with its log.
    pub wal_syncs: i64,
    /// The writes of its log.
    pub wal_writes: i64,
    /// The records in its log.
    pub wal_records: i64,
    /// The pages that its log has whole, after a checkpoint.
    pub wal_full_pages: i64,
    /// The bytes of its log.
    pub wal_bytes: i64,
    /// The SQL transactions.
    pub commits: i64,
    /// Rows of the schema that were inserted.
    pub rows_inserted: i64,
    /// Rows of the schema that were updated.
    pub rows_updated: i64,
    /// Those updated rows for which no index was changed.
    pub rows_updated_hot: i64,
    /// Rows of the schema that were deleted.
    pub rows_deleted: i64,
    /// The size of all tables with their indexes.
    pub bytes: i64,
}

impl Server {
    /// The version of PostgreSQL.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn version(&self) -> anyhow::Result<String> {
        self.sql("SHOW server_version")
    }

    /// The connections of its clients, without the one that counts them.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn connections(&self) -> anyhow::Result<i64> {
        let count =
            "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'";
        Ok(self.sql(count)?.parse()?)
    }

    /// Waits until the statistics are published, and reads what the server did until now, with the
    /// rows and the size of a schema.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn statistics(&self, schema: &str) -> anyhow::Result<Statistics> {
        sleep(PUBLISHED_AFTER);
        let row = self.sql(&format!(
            "SELECT wal_sync, wal_write, wal_records, wal_fpi, wal_bytes::bigint,
                    (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
                    t.inserted, t.updated, t.hot, t.deleted, t.bytes
               FROM pg_stat_wal,
                    (SELECT sum(n_tup_ins)::bigint AS inserted, sum(n_tup_upd)::bigint AS updated,
                            sum(n_tup_hot_upd)::bigint AS hot, sum(n_tup_del)::bigint AS deleted,
                            sum(pg_total_relation_size(relid))::bigint AS bytes
                       FROM pg_stat_user_tables WHERE schemaname = '{schema}') AS t"
        ))?;
        Statistics::parse(&row)
    }
}

impl Statistics {
    fn parse(row: &str) -> anyhow::Result<Self> {
        let numbers: Result<Vec<i64>, _> = row.split('|').map(str::parse).collect();
        let numbers = numbers.with_context(|| format!("statistics are not numbers: {row}"))?;
        let numbers: [i64; 11] =
            numbers.try_into().ok().with_context(|| format!("too few statistics: {row}"))?;
        let [wal_syncs, wal_writes, wal_records, wal_full_pages, wal_bytes, commits, ..] = numbers;
        let [.., rows_inserted, rows_updated, rows_updated_hot, rows_deleted, bytes] = numbers;
        Ok(Self {
            wal_syncs,
            wal_writes,
            wal_records,
            wal_full_pages,
            wal_bytes,
            commits,
            rows_inserted,
            rows_updated,
            rows_updated_hot,
            rows_deleted,
            bytes,
        })
    }
}

impl Sub for Statistics {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            wal_syncs: self.wal_syncs - before.wal_syncs,
            wal_writes: self.wal_writes - before.wal_writes,
            wal_records: self.wal_records - before.wal_records,
            wal_full_pages: self.wal_full_pages - before.wal_full_pages,
            wal_bytes: self.wal_bytes - before.wal_bytes,
            commits: self.commits - before.commits,
            rows_inserted: self.rows_inserted - before.rows_inserted,
            rows_updated: self.rows_updated - before.rows_updated,
            rows_updated_hot: self.rows_updated_hot - before.rows_updated_hot,
            rows_deleted: self.rows_deleted - before.rows_deleted,
            bytes: self.bytes - before.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_in_their_order() {
        let found = Statistics::parse("1|2|3|4|5|6|7|8|9|10|11").unwrap();
        assert_eq!((found.wal_syncs, found.wal_bytes, found.commits), (1, 5, 6));
        assert_eq!((found.rows_inserted, found.rows_updated_hot, found.bytes), (7, 9, 11));
        assert!(Statistics::parse("1|2").is_err());
        assert_eq!((found - Statistics::parse("1|1|1|1|1|1|1|1|1|1|1").unwrap()).bytes, 10);
    }
}
