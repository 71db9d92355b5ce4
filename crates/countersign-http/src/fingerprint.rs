//! The fingerprint that distinguishes a repeated request from a different one under the same name:
//! SHA-256 over its parts, each after its length, in the dialect's order.
//!
//! The ledger keeps it for as long as the name is taken, across releases. So it depends on the
//! bytes that are written here, and on no type's `Debug`.

use std::slice;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use countersign_core::spec::{Callback, Clocks, Recipients};

/// The SHA-256 of a request, computed part by part. Two requests with the same fingerprint ask for
/// the same.
pub struct Fingerprint(Context);

impl Default for Fingerprint {
    fn default() -> Self {
        Self::new()
    }
}

impl Fingerprint {
    /// The fingerprint of no parts.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds bytes, after their length.
    pub fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// A number of eight bytes, or an absent one.
    pub fn number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.part(&number.to_be_bytes()),
            None => self.part(&[]),
        }
    }

    /// A duration in milliseconds, or an absent one.
    pub fn duration(&mut self, duration: Option<Duration>) {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis());
        self.number(duration.map(|duration| milliseconds(duration).unwrap_or(u64::MAX)));
    }

    /// Adds the addressed devices.
    pub fn recipients(&mut self, recipients: &Recipients) {
        let devices = match recipients {
            Recipients::Any => &[],
            Recipients::Device(device) => slice::from_ref(device),
            Recipients::Devices(devices) => devices,
        };
        self.number(Some(devices.len() as u64));
        for device in devices {
            self.number(Some(device.number()));
        }
    }

    /// Adds the timeouts.
    pub fn clocks(&mut self, clocks: Clocks) {
        let (first, second) = match clocks {
            Clocks::Two { go_online, sign } => (go_online, Some(sign)),
            Clocks::One(all) => (all, None),
        };
        self.duration(Some(first));
        self.duration(second);
    }

    /// Adds the callback, which must be the last part because the number of its headers varies.
    pub fn end_with(mut self, callback: Option<&Callback>) -> [u8; 32] {
        self.part(callback.map_or("", |callback| &callback.url).as_bytes());
        for (name, value) in callback.iter().flat_map(|callback| &callback.headers) {
            self.part(name.as_bytes());
            self.part(value.as_bytes());
        }
        self.0.finish().as_ref().try_into().expect("SHA-256 is 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str], number: Option<u64>, callback: Option<&Callback>) -> String {
        let mut fingerprint = Fingerprint::new();
        for part in parts {
            fingerprint.part(part.as_bytes());
        }
        fingerprint.number(number);
        hex::encode(fingerprint.end_with(callback))
    }

    /// Computed with Python: `sha256(b"".join(len(p).to_bytes(8, "big") + p for p in parts))`.
    #[test]
    fn it_is_the_same_in_every_release() {
        let headers = vec![("x-a".into(), "1".into())];
        let callback = Callback { url: "https://a.example/".into(), headers };
        assert_eq!(
            of(&["ab", ""], Some(7), Some(&callback)),
            "4a2b115c2168b9a802410ceba52b13cef33d951806e00dd96e4c6d575b6b4021"
        );
    }

    #[test]
    fn nothing_moves_from_one_part_into_the_next() {
        let all = [
            of(&["ab", "c"], None, None),
            of(&["a", "bc"], None, None),
            of(&["ab", "c", ""], None, None),
            of(&["ab", "c"], Some(0), None),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
