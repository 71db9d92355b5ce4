//! Rows as bytes that are the same for every database, and the checksum of a table.

use aws_lc_rs::digest::{Context, SHA256};

use super::value::{Cell, Cells};

/// The rows of a table, counted and digested in order.
pub(crate) struct Checksum {
    rows: u64,
    digest: Context,
    row: Vec<u8>,
}

/// The number of rows, and the SHA-256 of all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    pub(crate) sha256: [u8; 32],
}

impl Checksum {
    pub(crate) fn new() -> Self {
        Self { rows: 0, digest: Context::new(&SHA256), row: Vec::new() }
    }

    /// Adds the next row, and answers how many there are.
    pub(crate) fn add(&mut self, row: &Cells) -> u64 {
        self.row.clear();
        encode(row, &mut self.row);
        self.digest.update(&self.row);
        self.rows += 1;
        self.rows
    }

    pub(crate) fn sum(self) -> Sum {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.finish().as_ref());
        Sum { rows: self.rows, sha256 }
    }
}

/// The columns of a row, as bytes from which [`decoded`] reads them.
pub(crate) fn encoded(row: &Cells) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(row, &mut bytes);
    bytes
}

/// Each column is a byte for its type and, except for NULL, eight bytes: an integer, or the length
/// of the text or bytes that follow.
fn encode(row: &Cells, out: &mut Vec<u8>) {
    for cell in row {
        let (kind, bytes) = match cell {
            Cell::Text(text) => (2, text.as_bytes()),
            Cell::Blob(bytes) => (3, bytes.as_slice()),
            Cell::Null => {
                out.push(0);
                continue;
            }
            Cell::Integer(number) => {
                out.push(1);
                out.extend(number.to_be_bytes());
                continue;
            }
        };
        out.push(kind);
        out.extend((bytes.len() as u64).to_be_bytes());
        out.extend(bytes);
    }
}

/// The columns of [`encoded`]; `None` if these are other bytes.
pub(crate) fn decoded(mut bytes: &[u8]) -> Option<Cells> {
    let mut row = Cells::new();
    while let Some((kind, rest)) = bytes.split_first() {
        if *kind == 0 {
            row.push(Cell::Null);
            bytes = rest;
            continue;
        }
        let (number, rest) = rest.split_first_chunk::<8>()?;
        if *kind == 1 {
            row.push(Cell::Integer(i64::from_be_bytes(*number)));
            bytes = rest;
            continue;
        }
        let length = usize::try_from(u64::from_be_bytes(*number)).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        row.push(match kind {
            2 => Cell::Text(String::from_utf8(value.into()).ok()?),
            3 => Cell::Blob(value.into()),
            _ => return None,
        });
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_back_from_its_bytes_and_other_bytes_are_not_a_row() {
        let row = vec![
            Cell::Text("größer".into()),
            Cell::Null,
            Cell::Integer(-7),
            Cell::Blob(vec![0, 255]),
            Cell::Text(String::new()),
        ];
        let bytes = encoded(&row);
        assert_eq!(decoded(&bytes), Some(row));
        assert_eq!(decoded(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decoded(&[4, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn rows_with_their_columns_cut_elsewhere_have_another_checksum() {
        let sum = |rows: &[Cells]| {
            let mut checksum = Checksum::new();
            for row in rows {
                checksum.add(row);
            }
            checksum.sum()
        };
        let text = |text: &str| Cell::Text(text.into());
        let rows = [
            vec![vec![text("ab"), text("c")]],
            vec![vec![text("a"), text("bc")]],
            vec![vec![text("a"), Cell::Blob(b"bc".to_vec())]],
            vec![vec![text("a"), Cell::Null]],
            vec![vec![text("a"), Cell::Integer(0)]],
            vec![vec![text("a"), text("")]],
        ];
        let sums: Vec<_> = rows.iter().map(|rows| sum(rows).sha256).collect();
        for (at, one) in sums.iter().enumerate() {
            assert!(!sums[at + 1..].contains(one), "row {at}");
        }
    }
}
