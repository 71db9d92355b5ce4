//! A connection of SQLite, as the SQL of the ledger uses it. It never waits: each future is ready
//! when it is first polled, so that [`answered`](crate::answered::answered) has its answer.

use std::ops::ControlFlow;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};

use crate::sql::Sql;
use crate::sql::error::StoreError;
use crate::sql::value::{Cell, Cells, Value};

impl Sql for Connection {
    async fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        Ok(self.prepare_cached(statement)?.execute(params_from_iter(values))? as u64)
    }

    async fn query(&self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Cells>, StoreError> {
        let mut found = Vec::new();
        for_each_row(self, statement, values, |row| {
            found.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

/// Gives the rows of a statement one by one to `act`, until that breaks off.
pub(super) fn for_each_row(
    sql: &Connection,
    statement: &str,
    values: &[Value<'_>],
    mut act: impl FnMut(Cells) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut statement = sql.prepare_cached(statement)?;
    let count = statement.column_count();
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let cells = (0..count).map(|at| cell(row.get_ref(at)?));
        if act(cells.collect::<Result<_, _>>()?).is_break() {
            break;
        }
    }
    Ok(())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn cell(value: ValueRef<'_>) -> Result<Cell, StoreError> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Text(_) => Cell::Text(value.as_str().map_err(rusqlite::Error::from)?.into()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.into()),
        ValueRef::Real(_) => return Err(StoreError::Misused("no column has fractions")),
    })
}
