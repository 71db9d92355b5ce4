//! Errors of PostgreSQL, with advice for the operator.

use core::error::Error as _;
use core::fmt;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// PostgreSQL's message, with advice if there is any.
pub(crate) fn explained(error: &Error) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        let Some(answer) = error.as_db_error() else {
            f.write_str("the database does not answer: ")?;
            return match error.source() {
                Some(source) => write!(f, "{source}"),
                None => write!(f, "{error}"),
            };
        };
        write!(f, "{}", answer.message())?;
        f.write_str(match *answer.code() {
            SqlState::DISK_FULL => "; free some space on the database's disk; nothing was written",
            SqlState::QUERY_CANCELED => {
                "; the statement took longer than `store.statement_timeout` allows"
            }
            SqlState::READ_ONLY_SQL_TRANSACTION => {
                "; this database is a replica: name the primary in `store.url`"
            }
            SqlState::INSUFFICIENT_PRIVILEGE => {
                "; give the database's user the rights that docs/postgresql.md lists"
            }
            SqlState::TOO_MANY_CONNECTIONS => {
                "; raise `max_connections` of the database, or lower `store.connections_max`"
            }
            _ => "",
        })
    })
}

/// Whether a unit of work may be run again because others ran beside it.
pub(crate) fn is_of_others(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::UNIQUE_VIOLATION,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(code)
    })
}

/// Whether the connection is of no use any more, so that another one is needed.
pub(crate) fn is_of_connection(error: &Error) -> bool {
    error.is_closed()
        || error.code().is_none_or(|code| {
            [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::READ_ONLY_SQL_TRANSACTION,
            ]
            .contains(code)
        })
}
