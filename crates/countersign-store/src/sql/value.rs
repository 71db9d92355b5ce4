//! Values of a database: parameters of statements, and columns of rows.

use std::borrow::Cow;

use super::error::{Corrupt, StoreError};

/// A parameter of a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// A column of a row.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Cell {
    #[default]
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// The columns of a row, in the order of the select.
pub(crate) type Cells = Vec<Cell>;

impl Cell {
    /// The column as a parameter.
    pub(crate) fn as_value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }
}

/// What can be a parameter of a statement.
pub(crate) trait AsValue {
    fn as_value(&self) -> Value<'_>;
}

impl<T: AsValue + ?Sized> AsValue for &T {
    fn as_value(&self) -> Value<'_> {
        (**self).as_value()
    }
}

impl<T: AsValue> AsValue for Option<T> {
    fn as_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, T::as_value)
    }
}

/// Integers that every database can store.
macro_rules! integer {
    ($($type:ty),*) => {
        $(impl AsValue for $type {
            fn as_value(&self) -> Value<'_> {
                Value::Integer(i64::from(*self))
            }
        })*
    };
}

integer!(bool, u8, u16, u32, i64);

impl AsValue for str {
    fn as_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl AsValue for String {
    fn as_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl AsValue for Cow<'_, str> {
    fn as_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl AsValue for [u8] {
    fn as_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl AsValue for Vec<u8> {
    fn as_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl<const N: usize> AsValue for [u8; N] {
    fn as_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl AsValue for Cell {
    fn as_value(&self) -> Value<'_> {
        Cell::as_value(self)
    }
}

/// The parameters of a statement, in their order.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::sql::value::AsValue::as_value(&$value)),*][..]
    };
}
pub(crate) use values;

/// A column with a value that does not fit its type.
#[derive(Debug, thiserror::Error)]
#[error("{found}, not {expected}")]
pub(crate) struct BadCell {
    expected: &'static str,
    found: &'static str,
}

impl BadCell {
    /// The error for the only column of a statement.
    pub(crate) fn of_statement(self, statement: &str) -> StoreError {
        let id = statement.split_whitespace().take(8).collect::<Vec<_>>().join(" ");
        Corrupt { table: "of the statement", column: "1", id, why: self.into() }.into()
    }
}

/// What a column can be read as.
pub(crate) trait FromCell: Sized {
    fn from_cell(cell: Cell) -> Result<Self, BadCell>;
}

fn bad(expected: &'static str, cell: &Cell) -> BadCell {
    let found = match cell {
        Cell::Null => "it is NULL",
        Cell::Integer(_) => "it is another number",
        Cell::Text(_) => "it is text",
        Cell::Blob(_) => "it is bytes",
    };
    BadCell { expected, found }
}

impl FromCell for i64 {
    fn from_cell(cell: Cell) -> Result<Self, BadCell> {
        match cell {
            Cell::Integer(number) => Ok(number),
            cell => Err(bad("an integer", &cell)),
        }
    }
}

/// Integers of fewer bits, or without a sign.
macro_rules! smaller {
    ($($type:ty: $name:literal),*) => {
        $(impl FromCell for $type {
            fn from_cell(cell: Cell) -> Result<Self, BadCell> {
                match cell {
                    Cell::Integer(number) => {
                        Self::try_from(number).map_err(|_| bad($name, &Cell::Integer(number)))
                    }
                    cell => Err(bad($name, &cell)),
                }
            }
        })*
    };
}

smaller!(u8: "an integer of 8 bits", u16: "an integer of 16 bits", u32: "an integer of 32 bits");

impl FromCell for bool {
    fn from_cell(cell: Cell) -> Result<Self, BadCell> {
        match cell {
            Cell::Integer(0) => Ok(false),
            Cell::Integer(1) => Ok(true),
            cell => Err(bad("0 or 1", &cell)),
        }
    }
}

impl FromCell for String {
    fn from_cell(cell: Cell) -> Result<Self, BadCell> {
        match cell {
            Cell::Text(text) => Ok(text),
            cell => Err(bad("text", &cell)),
        }
    }
}

impl FromCell for Vec<u8> {
    fn from_cell(cell: Cell) -> Result<Self, BadCell> {
        match cell {
            Cell::Blob(bytes) => Ok(bytes),
            cell => Err(bad("bytes", &cell)),
        }
    }
}

impl<const N: usize> FromCell for [u8; N] {
    fn from_cell(cell: Cell) -> Result<Self, BadCell> {
        match cell {
            Cell::Blob(bytes) => {
                bytes.try_into().map_err(|bytes| bad("bytes of another length", &Cell::Blob(bytes)))
            }
            cell => Err(bad("bytes", &cell)),
        }
    }
}

impl FromCell for Cell {
    fn from_cell(cell: Cell) -> Result<Self, BadCell> {
        Ok(cell)
    }
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: Cell) -> Result<Self, BadCell> {
        match cell {
            Cell::Null => Ok(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}
