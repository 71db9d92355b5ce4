//! Columns of a row, read in the order of the select. Each is parsed once, and an error names its
//! column.

use core::error::Error;
use core::mem;
use core::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use countersign_core::id::TenantName;
use countersign_core::secret::Key32;
use countersign_core::time::Timestamp;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::error::{Corrupt, StoreError};
use super::value::{Cell, Cells, FromCell};
use crate::master_key::MasterKeys;
use crate::seal::{Owner, SealContext};

/// The columns of one row. The first ones are its key, which identifies the row if a column is
/// corrupt.
pub(crate) struct Columns {
    table: &'static str,
    row: Cells,
    key_length: usize,
    at: usize,
}

impl Columns {
    pub(crate) fn of(table: &'static str, key_length: usize, row: Cells) -> Self {
        Self { table, row, key_length, at: 0 }
    }

    /// The same row, beginning at a later column.
    pub(crate) fn after(self, count: usize) -> Self {
        Self { at: self.at + count, ..self }
    }

    /// The next column, without parsing. Columns of the key stay in the row, for errors.
    pub(crate) fn next<T: FromCell>(&mut self, column: &'static str) -> Result<T, StoreError> {
        let is_key = self.at < self.key_length;
        let cell = self.row.get_mut(self.at);
        self.at += 1;
        let cell = match cell {
            None => Cell::Null,
            Some(cell) if is_key => cell.clone(),
            Some(cell) => mem::take(cell),
        };
        T::from_cell(cell).map_err(|error| self.corrupt(column, error))
    }

    /// The next column: a number that is not negative.
    pub(crate) fn number(&mut self, column: &'static str) -> Result<u64, StoreError> {
        let number: i64 = self.next(column)?;
        u64::try_from(number).map_err(|error| self.corrupt(column, error))
    }

    /// The next column: a timestamp.
    pub(crate) fn moment(&mut self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.number(column).map(Timestamp)
    }

    /// The next column: a timestamp, or NULL.
    pub(crate) fn moment_or_none(
        &mut self,
        column: &'static str,
    ) -> Result<Option<Timestamp>, StoreError> {
        match self.next::<Option<i64>>(column)? {
            None => Ok(None),
            Some(number) => match u64::try_from(number) {
                Ok(number) => Ok(Some(Timestamp(number))),
                Err(error) => Err(self.corrupt(column, error)),
            },
        }
    }

    /// The next column: text with its own parser.
    pub(crate) fn text<T>(&mut self, column: &'static str) -> Result<T, StoreError>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        let text: String = self.next(column)?;
        text.parse().map_err(|error| self.corrupt(column, error))
    }

    /// The next column: text that is the name of one of `all`.
    pub(crate) fn one_of<T: Copy, const N: usize>(
        &mut self,
        column: &'static str,
        all: [T; N],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T, StoreError> {
        self.one_of_many(column, &all, name)
    }

    /// The next column: text that is the name of one of `all`, a list of any length.
    pub(crate) fn one_of_many<T: Copy>(
        &mut self,
        column: &'static str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T, StoreError> {
        let text: String = self.next(column)?;
        let found = all.iter().copied().find(|one| name(*one) == text);
        found.ok_or_else(|| self.corrupt(column, format!("no such thing as {text:?}")))
    }

    /// The next column: a BLOB of that length.
    pub(crate) fn bytes<const N: usize>(
        &mut self,
        column: &'static str,
    ) -> Result<[u8; N], StoreError> {
        let bytes: Vec<u8> = self.next(column)?;
        let length = bytes.len();
        let wrong = |_| self.corrupt(column, format!("{length} bytes, not {N}"));
        bytes.try_into().map_err(wrong)
    }

    /// The next column: a BLOB of that length, or NULL.
    pub(crate) fn bytes_or_none<const N: usize>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<[u8; N]>, StoreError> {
        let Some(bytes) = self.next::<Option<Vec<u8>>>(column)? else { return Ok(None) };
        let length = bytes.len();
        let wrong = |_| self.corrupt(column, format!("{length} bytes, not {N}"));
        bytes.try_into().map(Some).map_err(wrong)
    }

    /// The next column: an id, a BLOB of 16 bytes.
    pub(crate) fn id(&mut self, column: &'static str) -> Result<u128, StoreError> {
        self.bytes(column).map(u128::from_be_bytes)
    }

    /// The next column: JSON.
    pub(crate) fn json<T: DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<T, StoreError> {
        let text: String = self.next(column)?;
        serde_json::from_str(&text).map_err(|error| self.corrupt(column, error))
    }

    /// The next column: JSON, or NULL.
    pub(crate) fn json_or_none<T: DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let Some(text) = self.next::<Option<String>>(column)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| self.corrupt(column, error))
    }

    /// The next column: a secret, opened.
    pub(crate) fn secret(
        &mut self,
        column: &'static str,
        keys: &MasterKeys,
        tenant: &TenantName,
        owner: Owner<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let sealed: Vec<u8> = self.next(column)?;
        self.opened(column, &sealed, keys, SealContext { tenant, owner })
    }

    /// The next column: a secret, opened, or NULL.
    pub(crate) fn secret_or_none(
        &mut self,
        column: &'static str,
        keys: &MasterKeys,
        tenant: &TenantName,
        owner: Owner<'_>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some(sealed) = self.next::<Option<Vec<u8>>>(column)? else { return Ok(None) };
        self.opened(column, &sealed, keys, SealContext { tenant, owner }).map(Some)
    }

    /// The next column: a key of 32 bytes, opened.
    pub(crate) fn secret32(
        &mut self,
        column: &'static str,
        keys: &MasterKeys,
        tenant: &TenantName,
        owner: Owner<'_>,
    ) -> Result<Key32, StoreError> {
        let opened = self.secret32_or_none(column, keys, tenant, owner)?;
        opened.ok_or_else(|| self.corrupt(column, "it is NULL"))
    }

    /// The next column: a key of 32 bytes, opened, or NULL.
    pub(crate) fn secret32_or_none(
        &mut self,
        column: &'static str,
        keys: &MasterKeys,
        tenant: &TenantName,
        owner: Owner<'_>,
    ) -> Result<Option<Key32>, StoreError> {
        let Some(opened) = self.secret_or_none(column, keys, tenant, owner)? else {
            return Ok(None);
        };
        let key = <&[u8; 32]>::try_from(opened.as_slice());
        let key = key.map_err(|_| self.corrupt(column, "the secret has not 32 bytes"))?;
        Ok(Some(Key32::copied(key)))
    }

    fn opened(
        &self,
        column: &'static str,
        sealed: &[u8],
        keys: &MasterKeys,
        place: SealContext<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        keys.open(place, sealed).map_err(|error| self.corrupt(column, error))
    }

    /// The error for a corrupt column of this row.
    pub(crate) fn corrupt(
        &self,
        column: &'static str,
        why: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> StoreError {
        let part = |at| match self.row.get(at) {
            Some(Cell::Text(text)) => text.clone(),
            Some(Cell::Integer(number)) => number.to_string(),
            Some(Cell::Blob(bytes)) => hex::encode(bytes),
            None | Some(Cell::Null) => String::from("?"),
        };
        let id = (0..self.key_length).map(part).collect::<Vec<_>>().join("/");
        Corrupt { table: self.table, column, id, why: why.into() }.into()
    }
}

/// A timestamp in SQL. Times above the largest integer become the largest integer.
pub(crate) fn moment(at: Timestamp) -> i64 {
    number(at.0)
}

/// A number in SQL.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// JSON of a stored type.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("stored types have text keys and serialise without errors")
}

/// Bytes as base64 in JSON.
#[derive(Debug)]
pub(crate) struct Base64(pub(crate) Vec<u8>);

impl serde::Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> serde::Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_ref()).map(Self).map_err(serde::de::Error::custom)
    }
}
