//! Listings in pages.

use core::fmt;
use core::str::FromStr;

use super::Versioned;
use crate::device::Device;
use crate::id::{ApiKeyId, DomainName, TenantName, UserName};
use crate::tenant::ApiKey;
use crate::time::Timestamp;

/// The rows of a listing that one call answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Page<C> {
    /// The page begins after this row; `None` for the first page.
    pub after: Option<C>,
    /// The maximum of rows.
    pub limit: u16,
}

impl<C> Page<C> {
    /// The first page, of at most `limit` rows.
    #[must_use]
    pub fn first(limit: u16) -> Self {
        Self { after: None, limit }
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed<T, C> {
    /// The rows, in the order of the listing.
    pub rows: Vec<T>,
    /// The cursor after which the next page begins; `None` if this page is not full, so that it is
    /// the last one.
    pub next: Option<C>,
}

impl<T, C> Listed<T, C> {
    /// A page of at most `limit` rows. `cursor` is the place of a row in the listing.
    #[must_use]
    pub fn new(rows: Vec<T>, limit: u16, cursor: impl FnOnce(&T) -> C) -> Self {
        let is_full = rows.len() >= usize::from(limit);
        let next = rows.last().filter(|_| is_full).map(cursor);
        Self { rows, next }
    }
}

/// The place of a row in a listing of transactions. Only the store that answered it understands
/// it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TransactionCursor {
    /// The number of a transaction.
    Stored(u64),
    /// The number of the evidence of a removed transaction.
    Evidence(u64),
}

impl fmt::Display for TransactionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(number) => write!(f, "{number}"),
            Self::Evidence(number) => write!(f, "e{number}"),
        }
    }
}

impl FromStr for TransactionCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        match text.strip_prefix('e') {
            Some(number) => place(number).map(Self::Evidence),
            None => place(text).map(Self::Stored),
        }
    }
}

/// The error for a text that is no cursor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a cursor: give one that a list has told")]
pub struct BadCursor;

/// The number of a row, which the ledger keeps as a signed one.
fn place(text: &str) -> Result<u64, BadCursor> {
    let number = text.parse().map_err(|_| BadCursor)?;
    if i64::try_from(number).is_ok() { Ok(number) } else { Err(BadCursor) }
}

/// The place of a row in a listing of deliveries. Only the store that answered it understands it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeliveryCursor(pub u64);

impl fmt::Display for DeliveryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for DeliveryCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        place(text).map(Self)
    }
}

/// The place of an API key in a listing. It holds even if the key is deleted meanwhile.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ApiKeyCursor {
    /// The time of the key's creation.
    pub created_at: Timestamp,
    /// The key's id.
    pub id: ApiKeyId,
}

impl ApiKeyCursor {
    /// The place of this key.
    #[must_use]
    pub fn of(key: &ApiKey) -> Self {
        Self { created_at: key.created_at, id: key.id }
    }
}

/// The place of a device in a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceCursor {
    /// The device's user.
    pub user: UserName,
    /// The device's sequence: see [`SerialNumber`](crate::id::SerialNumber).
    pub sequence: u32,
}

impl DeviceCursor {
    /// The place of this device.
    #[must_use]
    pub fn of(device: &Versioned<Device>) -> Self {
        let Device { user, serial_number, .. } = &device.value;
        Self { user: user.clone(), sequence: serial_number.sequence }
    }
}

/// The devices of a listing.
#[derive(Clone, Copy, Debug)]
pub enum DeviceFilter<'a> {
    /// The devices of all users.
    All,
    /// The devices of one user.
    User(&'a UserName),
    /// The devices with an identity that has all of these labels; no device if there is no label.
    Labels(&'a [String]),
}

/// The domains of a listing.
#[derive(Clone, Copy, Debug)]
pub enum DomainFilter<'a> {
    /// The domains of one tenant.
    Tenant(&'a TenantName),
    /// This domain.
    Domain(&'a DomainName),
}

impl<'a> From<Option<&'a UserName>> for DeviceFilter<'a> {
    fn from(user: Option<&'a UserName>) -> Self {
        user.map_or(Self::All, Self::User)
    }
}

/// Reads a listing page by page, to its end. `read` reads one page.
///
/// # Errors
/// Fails if `read` does.
pub async fn all_pages<T, C, E>(
    mut read: impl AsyncFnMut(Page<C>) -> Result<Listed<T, C>, E>,
) -> Result<Vec<T>, E> {
    let mut all = Vec::new();
    let mut page = Page::first(crate::limits::LISTED_MAX);
    loop {
        let Listed { rows, next } = read(page).await?;
        all.extend(rows);
        let Some(after) = next else { return Ok(all) };
        page = Page { after: Some(after), limit: crate::limits::LISTED_MAX };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_parses_the_text_that_it_writes_and_no_other() {
        for cursor in [TransactionCursor::Stored(17), TransactionCursor::Evidence(0)] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert_eq!(DeliveryCursor(9).to_string().parse(), Ok(DeliveryCursor(9)));
        for bad in ["", "e", "-1", "17e", "9223372036854775808"] {
            assert_eq!(bad.parse::<TransactionCursor>(), Err(BadCursor), "{bad}");
        }
    }
}
