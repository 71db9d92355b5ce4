//! All sealed columns of the ledger: which master keys their values name, and re-sealing them under
//! the newest key.
//!
//! Each value names its key in its bytes 2 to 9. Indexes find the keys and the values of a key, so
//! that opening a ledger reads a few rows only, and re-sealing needs no memory of where it was.

use countersign_core::id::{ClientId, DeviceId, TenantName};

use super::Sql;
use super::column::Columns;
use super::error::{Corrupt, StoreError};
use super::value::{Cell, Cells, values};
use crate::master_key::MasterKeys;
use crate::seal::{KEY_ID_BYTES, KeyRing, MasterKeyId, Owner, SealContext, Unopened};

/// A column with sealed values. A row of its table is found by its tenant and a second column.
pub(crate) struct SealedColumn {
    pub(crate) table: &'static str,
    id: &'static str,
    column: &'static str,
    owner: OwnerKind,
}

/// How the owner of a value is read from the row's second column.
#[derive(Clone, Copy)]
pub(crate) enum OwnerKind {
    SigningRole,
    Client,
    Device(fn(DeviceId) -> Owner<'static>),
    Activation,
}

const fn sealed(
    table: &'static str,
    id: &'static str,
    column: &'static str,
    owner: OwnerKind,
) -> SealedColumn {
    SealedColumn { table, id, column, owner }
}

/// Every column whose values are sealed. `docs/ledger.md` lists them too.
pub(crate) const COLUMNS: [SealedColumn; 8] = [
    sealed("signing_keys", "role", "stored", OwnerKind::SigningRole),
    sealed("callback_keys", "client", "newest", OwnerKind::Client),
    sealed("callback_keys", "client", "before", OwnerKind::Client),
    sealed("devices", "id", "payload_key", OwnerKind::Device(Owner::PayloadKey)),
    sealed("devices", "id", "code_key", OwnerKind::Device(Owner::CodeKey)),
    sealed("devices", "id", "pin_digest", OwnerKind::Device(Owner::Pin)),
    sealed("devices", "id", "push_address", OwnerKind::Device(Owner::Push)),
    sealed("activations", "id", "code", OwnerKind::Activation),
];

/// A value that was sealed again, and where it belongs.
pub(crate) struct Resealed {
    column: &'static SealedColumn,
    tenant: String,
    id: Cell,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// The keys that values name, in no order.
pub(crate) async fn keys(sql: &impl Sql) -> Result<Vec<MasterKeyId>, StoreError> {
    let mut found = Vec::new();
    for column in &COLUMNS {
        for key in sql.list::<Vec<u8>>(&column.keys_statement(), &[]).await? {
            // A value that is too short names no key. Reading it is what reports it.
            if let Ok(key) = <[u8; KEY_ID_BYTES]>::try_from(key) {
                found.push(MasterKeyId(key));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// How many values are sealed under a key.
pub(crate) async fn count(sql: &impl Sql, key: MasterKeyId) -> Result<u64, StoreError> {
    let mut values = 0;
    for column in &COLUMNS {
        let SealedColumn { table, column, .. } = column;
        let count =
            format!("SELECT count(*) FROM {table} WHERE substr({column}, 2, {KEY_ID_BYTES}) = ?1");
        let count: i64 = sql.value(&count, values![key.0]).await?;
        values += count.unsigned_abs();
    }
    Ok(values)
}

/// Opens at most `limit` values that older keys have sealed, and seals them under the newest key.
/// Nothing is written yet.
pub(crate) async fn reseal(
    sql: &impl Sql,
    keys: &MasterKeys,
    limit: u16,
) -> Result<Vec<Resealed>, StoreError> {
    let ring = keys.current();
    let mut resealed = Vec::new();
    for column in &COLUMNS {
        let left = limit - u16::try_from(resealed.len()).unwrap_or(limit);
        if left == 0 {
            break;
        }
        let older = column.older_statement();
        for row in sql.query(&older, values![ring.newest().0, left]).await? {
            let (tenant, id, before) = column.read(row)?;
            let after = column.in_place(&tenant, &id, |place| {
                let opened = ring.open(place, &before)?;
                Ok(ring.seal(place, &opened))
            })?;
            resealed.push(Resealed { column, tenant, id, before, after });
        }
    }
    Ok(resealed)
}

/// Writes values that were sealed again, if they have not changed since. The rows keep their
/// versions, because what they say is the same. Answers how many were written.
pub(crate) async fn write(sql: &impl Sql, resealed: &[Resealed]) -> Result<u16, StoreError> {
    let mut written = 0;
    for value in resealed {
        let SealedColumn { table, id, column, .. } = value.column;
        let update = format!(
            "UPDATE {table} SET {column} = ?4 WHERE tenant = ?1 AND {id} = ?2 AND {column} = ?3"
        );
        let row = values![value.tenant, value.id, value.before, value.after];
        written += u16::from(sql.execute(&update, row).await? == 1);
    }
    Ok(written)
}

/// Opens every sealed value, and answers how many there are.
pub(crate) async fn open_all(sql: &impl Sql, ring: &KeyRing) -> Result<u64, StoreError> {
    let mut opened = 0;
    for column in &COLUMNS {
        let SealedColumn { table, id, column: name, .. } = column;
        let select = format!("SELECT tenant, {id}, {name} FROM {table} WHERE {name} IS NOT NULL");
        for row in sql.query(&select, &[]).await? {
            let (tenant, id, value) = column.read(row)?;
            column.in_place(&tenant, &id, |place| ring.open(place, &value).map(drop))?;
            opened += 1;
        }
    }
    Ok(opened)
}

impl SealedColumn {
    /// Reads a row: the tenant, the second column, and the value.
    fn read(&self, row: Cells) -> Result<(String, Cell, Vec<u8>), StoreError> {
        let mut columns = Columns::of(self.table, 2, row);
        Ok((columns.next("tenant")?, columns.next(self.id)?, columns.next(self.column)?))
    }

    /// Finds each key once, without reading all rows.
    pub(crate) fn keys_statement(&self) -> String {
        let Self { table, column, .. } = self;
        let key = format!("substr({column}, 2, {KEY_ID_BYTES})");
        format!(
            "WITH RECURSIVE named (key) AS (
                SELECT * FROM (SELECT {key} FROM {table} WHERE {key} IS NOT NULL
                                ORDER BY {key} LIMIT 1) AS first
                UNION ALL
                SELECT (SELECT {key} FROM {table} WHERE {key} > named.key ORDER BY {key} LIMIT 1)
                  FROM named WHERE named.key IS NOT NULL)
             SELECT key FROM named WHERE key IS NOT NULL"
        )
    }

    /// Finds values of other keys.
    pub(crate) fn older_statement(&self) -> String {
        let Self { table, id, column, .. } = self;
        let key = format!("substr({column}, 2, {KEY_ID_BYTES})");
        format!(
            "SELECT tenant, {id}, {column} FROM {table} WHERE {key} < ?1 OR {key} > ?1 LIMIT ?2"
        )
    }

    /// Does something with a value, in the context to which it was sealed.
    fn in_place<T>(
        &self,
        tenant: &str,
        id: &Cell,
        act: impl FnOnce(SealContext<'_>) -> Result<T, Unopened>,
    ) -> Result<T, StoreError> {
        let corrupt = |why: Box<dyn core::error::Error + Send + Sync>| Corrupt {
            table: self.table,
            column: self.column,
            id: format!("{tenant}/{}", shown(id)),
            why,
        };
        let name: TenantName = tenant.parse().map_err(|error| corrupt(Box::new(error)))?;
        let client: ClientId;
        let owner = match (self.owner, id) {
            (OwnerKind::SigningRole, Cell::Text(role)) if role == "authority" => {
                Owner::AuthorityKey
            }
            (OwnerKind::SigningRole, Cell::Text(role)) if role == "tokens" => Owner::TokenKey,
            (OwnerKind::Client, Cell::Text(id)) => {
                client = id.parse().map_err(|error| corrupt(Box::new(error)))?;
                Owner::WebhookKey(&client)
            }
            (OwnerKind::Device(of), Cell::Integer(number)) => {
                let id = u64::try_from(*number).ok().and_then(|id| DeviceId::try_from(id).ok());
                of(id.ok_or_else(|| corrupt("not a device id".into()))?)
            }
            (OwnerKind::Activation, Cell::Blob(id)) => {
                let id = <[u8; 16]>::try_from(id.as_slice());
                Owner::ActivationCode(u128::from_be_bytes(
                    id.map_err(|_| corrupt("its id has not 16 bytes".into()))?,
                ))
            }
            _ => return Err(corrupt("its owner is not known".into()).into()),
        };
        let place = SealContext { tenant: &name, owner };
        act(place).map_err(|error| corrupt(Box::new(error)).into())
    }
}

fn shown(id: &Cell) -> String {
    match id {
        Cell::Text(text) => text.clone(),
        Cell::Integer(number) => number.to_string(),
        Cell::Blob(bytes) => hex::encode(bytes),
        Cell::Null => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each column with "sealed" in its comment in the schema must be known here: a forgotten one
    /// would keep an old key needed for ever, unseen.
    #[test]
    fn every_sealed_column_of_the_schema_is_known() {
        let schema = include_str!("../../migrations/sqlite/0001_ledger.sql");
        let (mut table, mut found) = ("", Vec::new());
        for line in schema.lines() {
            if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
                table = rest.split_whitespace().next().unwrap();
            }
            if line.starts_with("    ") && line.contains("-- sealed") {
                found.push((table, line.split_whitespace().next().unwrap()));
            }
        }
        let known: Vec<_> = COLUMNS.iter().map(|column| (column.table, column.column)).collect();
        assert_eq!(found, known);
    }
}
