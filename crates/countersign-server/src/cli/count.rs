//! How many rows a list prints.

use clap::Args;
use countersign_core::Fault;
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{Listed, Page};

#[derive(Args, Debug)]
pub(super) struct Count {
    /// The largest number of rows; a note tells if there are more
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All rows
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Count {
    /// Reads that many rows, page by page, beginning after a row. If there are more, writes a note
    /// to standard error, because standard output is the list itself.
    pub(super) async fn read<T, C>(
        &self,
        mut after: Option<C>,
        read: impl AsyncFn(Page<C>) -> Result<Listed<T, C>, Fault>,
    ) -> anyhow::Result<Vec<T>> {
        let limit = if self.all { usize::MAX } else { self.limit as usize };
        let mut rows = Vec::new();
        loop {
            // One row more than are printed shows whether there are more.
            let missing = limit.saturating_sub(rows.len()).saturating_add(1);
            let page = u16::try_from(missing).map_or(LISTED_MAX, |rows| rows.min(LISTED_MAX));
            let listed = read(Page { after, limit: page }).await?;
            rows.extend(listed.rows);
            after = listed.next;
            if rows.len() > limit {
                rows.truncate(limit);
                eprintln!("There are more: --limit N, or --all.");
                return Ok(rows);
            }
            if after.is_none() {
                return Ok(rows);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn printed(count: Count, rows: u32) -> usize {
        let page = async |page: Page<u32>| {
            let from = page.after.map_or(0, |after| after + 1);
            let rows = (from..rows).take(page.limit.into()).collect();
            Ok(Listed::new(rows, page.limit, |last| *last))
        };
        count.read(None, page).await.unwrap().len()
    }

    #[tokio::test]
    async fn a_list_ends_at_its_limit_or_with_its_last_row() {
        let limited = |limit| Count { limit, all: false };
        for (limit, rows, expected) in
            [(100, 99, 99), (100, 100, 100), (100, 101, 100), (2_500, 9_000, 2_500), (9, 0, 0)]
        {
            assert_eq!(printed(limited(limit), rows).await, expected);
        }
        for rows in [0, 1_000, 2_001] {
            assert_eq!(printed(Count { limit: 100, all: true }, rows).await, rows as usize);
        }
    }
}
