//! A connection to PostgreSQL, as the SQL of the ledger uses it.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use futures_util::future::{MaybeDone, maybe_done};
use parking_lot::Mutex;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Client, Statement};

use crate::sql::Sql;
use crate::sql::error::StoreError;
use crate::sql::value::{Cell, Cells, Value};

/// A connection, with the statements that were prepared on it.
pub(super) struct Connection {
    client: Client,
    prepared: Mutex<HashMap<String, Statement>>,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, prepared: Mutex::default() }
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The client, for what is not a statement of the ledger.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a command without waiting for its answer. The commands of a connection are executed in
    /// the order in which they are sent.
    pub(super) fn send(&self, command: &str) {
        let sent = pin!(self.client.batch_execute(command));
        let _ = sent.poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Sends a request whose statement is prepared, and answers a future of its answer.
    pub(super) fn sent<F: Future>(request: F) -> Pin<Box<MaybeDone<F>>> {
        let mut request = Box::pin(maybe_done(request));
        // A request is sent when it is polled for the first time.
        let _ = request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        request
    }

    /// The prepared form of a statement.
    pub(super) async fn prepare(
        &self,
        statement: &str,
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(prepared) = self.prepared.lock().get(statement) {
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(&in_postgres(statement)).await?;
        self.prepared.lock().insert(statement.to_owned(), prepared.clone());
        Ok(prepared)
    }
}

impl Sql for Connection {
    async fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let statement = self.prepare(statement).await?;
        Ok(self.client.execute(&statement, &parameters(values)).await?)
    }

    async fn query(&self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Cells>, StoreError> {
        let statement = self.prepare(statement).await?;
        let rows = self.client.query(&statement, &parameters(values)).await?;
        let cells = |row: &tokio_postgres::Row| (0..row.len()).map(|at| row.try_get(at)).collect();
        Ok(rows.iter().map(cells).collect::<Result<_, _>>()?)
    }
}

fn parameters<'v>(values: &'v [Value<'_>]) -> Vec<&'v (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// A statement in the words of PostgreSQL: `$1` for `?1`, row locks instead of their comments, and
/// no hints for SQLite.
pub(super) fn in_postgres(statement: &str) -> String {
    const HINT: &str = "INDEXED BY ";
    let mut text = statement.replace('?', "$").replace("/* FOR ", "FOR ").replace(" */", "");
    while let Some(start) = text.find(HINT) {
        let name = start + HINT.len();
        let end = text[name..].find(char::is_whitespace).map_or(text.len(), |length| name + length);
        text.replace_range(start..end, "");
    }
    text
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn core::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Blob(bytes) => bytes.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Cell {
    fn from_sql(
        ty: &Type,
        raw: &'r [u8],
    ) -> Result<Self, Box<dyn core::error::Error + Sync + Send>> {
        match *ty {
            Type::INT8 => i64::from_sql(ty, raw).map(Self::Integer),
            Type::INT4 => i32::from_sql(ty, raw).map(i64::from).map(Self::Integer),
            Type::BOOL => bool::from_sql(ty, raw).map(i64::from).map(Self::Integer),
            Type::BYTEA => Ok(Self::Blob(raw.into())),
            _ => String::from_sql(ty, raw).map(Self::Text),
        }
    }

    fn from_sql_null(_ty: &Type) -> Result<Self, Box<dyn core::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::INT8 | Type::INT4 | Type::BOOL | Type::BYTEA | Type::TEXT | Type::UNKNOWN
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_written_in_the_words_of_postgresql() {
        let shared = "SELECT a FROM t INDEXED BY t_by_a WHERE a = ?1 AND b = ?12 /* FOR SHARE */";
        assert_eq!(in_postgres(shared), "SELECT a FROM t  WHERE a = $1 AND b = $12 FOR SHARE");
    }
}
