//! How many rows a list prints, and where the next ones begin.

use core::fmt::Display;

use clap::Args;
use countersign_core::Fault;
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{Listed, Page};

#[derive(Args, Debug)]
pub(super) struct Count {
    /// The largest number of rows; a note tells if there are more, and how to list them
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All rows
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Count {
    /// Reads that many rows, page by page, beginning after a row. If there are more, writes a note
    /// to standard error, because standard output is the list itself. The note has the cursor of
    /// the last row, as the value of `flag`.
    pub(super) async fn read<T, C: Clone + Display>(
        &self,
        flag: &str,
        after: Option<C>,
        read: impl AsyncFn(Page<C>) -> Result<Listed<T, C>, Fault>,
    ) -> anyhow::Result<Vec<T>> {
        let (rows, next) = self.rows(after, read).await?;
        if let Some(next) = next {
            eprintln!("There are more: {flag} {next} begins after these; --limit N, or --all.");
        }
        Ok(rows)
    }

    /// The rows, and the cursor of the last one if there are more. A page may have fewer rows than
    /// it may hold, because a filter left them out.
    async fn rows<T, C: Clone>(
        &self,
        mut after: Option<C>,
        read: impl AsyncFn(Page<C>) -> Result<Listed<T, C>, Fault>,
    ) -> Result<(Vec<T>, Option<C>), Fault> {
        let limit = if self.all { usize::MAX } else { self.limit as usize };
        let mut rows = Vec::new();
        while rows.len() < limit {
            let missing = limit - rows.len();
            let page = u16::try_from(missing).map_or(LISTED_MAX, |rows| rows.min(LISTED_MAX));
            let listed = read(Page { after, limit: page }).await?;
            rows.extend(listed.rows);
            after = listed.next;
            if after.is_none() {
                return Ok((rows, None));
            }
        }
        // A full page may be the last one, so look for one row more.
        let (last, mut limit) = (after.clone(), 1);
        loop {
            let listed = read(Page { after, limit }).await?;
            if !listed.rows.is_empty() {
                return Ok((rows, last));
            }
            if listed.next.is_none() {
                return Ok((rows, None));
            }
            (after, limit) = (listed.next, LISTED_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of the rows 0, 1, 2, …, of which a filter leaves those that `keeps` accepts.
    fn page(rows: u32, page: Page<u32>, keeps: impl Fn(u32) -> bool) -> Listed<u32, u32> {
        let from = page.after.map_or(0, |after| after + 1);
        let all = (from..rows).take(page.limit.into()).collect();
        let mut listed = Listed::new(all, page.limit, |last| *last);
        listed.rows.retain(|row| keeps(*row));
        listed
    }

    async fn printed(count: Count, rows: u32) -> (usize, Option<u32>) {
        let read = async |asked: Page<u32>| Ok(page(rows, asked, |_| true));
        let (rows, next) = count.rows(None, read).await.unwrap();
        (rows.len(), next)
    }

    #[tokio::test]
    async fn a_list_ends_at_its_limit_or_with_its_last_row_and_tells_which() {
        let limited = |limit| Count { limit, all: false };
        for (limit, rows, expected, next) in [
            (100, 99, 99, None),
            (100, 100, 100, None),
            (100, 101, 100, Some(99)),
            (2_500, 9_000, 2_500, Some(2_499)),
            (9, 0, 0, None),
        ] {
            assert_eq!(printed(limited(limit), rows).await, (expected, next), "{limit} {rows}");
        }
        for rows in [0, 1_000, 2_001] {
            let all = Count { limit: 100, all: true };
            assert_eq!(printed(all, rows).await, (rows as usize, None));
        }
    }

    #[tokio::test]
    async fn a_filtered_list_goes_on_after_the_last_row_that_was_printed() {
        let keeps = |row: u32| row.is_multiple_of(1_500);
        let read = async |asked: Page<u32>| Ok(page(6_000, asked, keeps));
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let count = Count { limit: 3, all: false };
            let (rows, next) = count.rows(after, read).await.unwrap();
            all.push(rows);
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, [vec![0, 1_500, 3_000], vec![4_500]]);
    }
}
