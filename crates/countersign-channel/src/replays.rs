//! Used device tokens, so that a node accepts none twice.
//!
//! The guarantee: a node accepts a token once, also across its own restarts; and a device that
//! makes too many calls affects only itself. A replay on another node is harmless, because every
//! call may be repeated.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_lc_rs::digest;
use countersign_core::limits::{
    PROOF_AHEAD_MAX, PROOF_SKEW, PROOFS_PER_DEVICE_MAX, PROOFS_PER_DEVICE_MIN,
    PROOFS_REMEMBERED_MAX,
};
use countersign_core::time::Timestamp;
use countersign_wire::id::DeviceName;
use countersign_wire::jws::Proven;
use parking_lot::Mutex;

/// How long a used token must be remembered: it may be dated ahead, and `iat` is in whole seconds.
const LIFE: Duration =
    Duration::from_secs(PROOF_SKEW.as_secs() + PROOF_AHEAD_MAX.as_secs() + 1 + 1);

/// Tokens that were used.
pub(super) struct Replays {
    since: Timestamp,
    used: Mutex<Used>,
}

/// The reason why a token is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unaccepted {
    /// It was used before, or may have been, or it is dated ahead.
    Stale,
    /// The device makes more calls than are remembered.
    TooMany,
}

#[derive(Default)]
struct Used {
    devices: HashMap<DeviceName, SeenTokens>,
    /// The marks of all devices.
    count: usize,
}

/// The tokens of one device, in two generations; each is kept while it and the next one fill.
struct SeenTokens {
    turned: Timestamp,
    new: HashSet<Mark>,
    old: HashSet<Mark>,
}

/// A `jti`, shortened: the first 16 bytes of its SHA-256.
type Mark = [u8; 16];

impl Replays {
    /// The memory of a node that has accepted nothing before `now`.
    pub(super) fn since(now: Timestamp) -> Self {
        Self { since: now, used: Mutex::default() }
    }

    /// The memory of a node that is the first to accept a token: no device is enrolled yet.
    pub(super) fn first() -> Self {
        Self { since: Timestamp(0), used: Mutex::default() }
    }

    /// When a token must be made to be accepted as the first one: at the next whole second for
    /// which no token can have been accepted before this node began.
    pub(super) fn opens_at(&self) -> Timestamp {
        let unused = self.since + PROOF_AHEAD_MAX;
        Timestamp((unused.seconds() + 1) * 1_000)
    }

    /// Accepts a token of `device` at `now`, once.
    ///
    /// # Errors
    /// [`Unaccepted`].
    pub(super) fn accept(
        &self,
        device: &DeviceName,
        token: &Proven,
        now: Timestamp,
    ) -> Result<(), Unaccepted> {
        let issued_at = Timestamp(0) + token.issued_at;
        if issued_at < self.opens_at() || issued_at > now + PROOF_AHEAD_MAX {
            return Err(Unaccepted::Stale);
        }
        self.used.lock().accept(device, mark(&token.jti), now)
    }

    /// Forgets devices without recent calls.
    pub(super) fn tidy(&self, now: Timestamp) {
        let mut used = self.used.lock();
        let Used { devices, count } = &mut *used;
        devices.retain(|_, tokens| {
            *count -= tokens.turn(now);
            !tokens.new.is_empty() || !tokens.old.is_empty()
        });
    }
}

impl Used {
    fn accept(
        &mut self,
        device: &DeviceName,
        mark: Mark,
        now: Timestamp,
    ) -> Result<(), Unaccepted> {
        let tokens = self.devices.entry(device.clone()).or_insert_with(|| SeenTokens {
            turned: now,
            new: HashSet::new(),
            old: HashSet::new(),
        });
        self.count -= tokens.turn(now);
        if tokens.old.contains(&mark) || tokens.new.contains(&mark) {
            return Err(Unaccepted::Stale);
        }
        let is_crowded = self.count >= PROOFS_REMEMBERED_MAX;
        let max = if is_crowded { PROOFS_PER_DEVICE_MIN } else { PROOFS_PER_DEVICE_MAX };
        if tokens.new.len() >= max {
            return Err(Unaccepted::TooMany);
        }
        tokens.new.insert(mark);
        self.count += 1;
        Ok(())
    }
}

impl SeenTokens {
    /// Drops tokens that cannot be used again at `now`, and returns their number.
    fn turn(&mut self, now: Timestamp) -> usize {
        let before = self.new.len() + self.old.len();
        if now >= self.turned + 2 * LIFE {
            self.new = HashSet::new();
            self.old = HashSet::new();
            self.turned = now;
        } else if now >= self.turned + LIFE {
            self.old = std::mem::take(&mut self.new);
            self.turned = now;
        }
        before - self.new.len() - self.old.len()
    }
}

fn mark(jti: &str) -> Mark {
    let digest = digest::digest(&digest::SHA256, jti.as_bytes());
    let (mark, _) = digest.as_ref().split_first_chunk().expect("SHA-256 is 32 bytes");
    *mark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(jti: &str, seconds: u64) -> Proven {
        Proven { jti: jti.into(), issued_at: Duration::from_secs(seconds) }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    fn device(number: u64) -> DeviceName {
        format!("acme/{number}").parse().unwrap()
    }

    const BEGUN: Timestamp = Timestamp(1_000_500);

    #[test]
    fn a_token_is_used_once_for_as_long_as_it_could_be_used() {
        let replays = Replays::since(BEGUN);
        assert_eq!(replays.accept(&device(7), &token("a", 1_001), at(1_001)), Ok(()));
        for later in [1_001, 1_060, 1_062] {
            let again = replays.accept(&device(7), &token("a", 1_001), at(later));
            assert_eq!(again, Err(Unaccepted::Stale), "at {later}");
        }
        assert_eq!(replays.accept(&device(8), &token("a", 1_001), at(1_002)), Ok(()));
    }

    #[test]
    fn a_token_that_is_dated_ahead_is_refused_beyond_a_quarter_of_a_second() {
        let replays = Replays::since(BEGUN);
        let ahead = replays.accept(&device(7), &token("a", 2_000), Timestamp(1_999_749));
        assert_eq!(ahead, Err(Unaccepted::Stale));
        assert_eq!(replays.accept(&device(7), &token("a", 2_000), Timestamp(1_999_750)), Ok(()));
    }

    /// The token is the latest that the node could accept just before it ended.
    #[test]
    fn no_token_that_was_accepted_before_a_restart_is_accepted_after_it() {
        for ended in 1_000_000..1_002_000 {
            let ended = Timestamp(ended);
            let latest = (ended + PROOF_AHEAD_MAX).seconds();
            let before = Replays::since(at(900));
            assert_eq!(before.accept(&device(7), &token("a", latest), ended), Ok(()));
            let restarted = Replays::since(ended);
            for later in [ended, restarted.opens_at(), ended + PROOF_SKEW] {
                let again = restarted.accept(&device(7), &token("a", latest), later);
                assert_eq!(again, Err(Unaccepted::Stale), "ended at {ended:?}");
            }
            let opens_at = restarted.opens_at();
            assert!(ended.until(opens_at) <= PROOF_AHEAD_MAX + Duration::from_secs(1));
            let made_then = token("b", opens_at.seconds());
            assert_eq!(restarted.accept(&device(7), &made_then, opens_at), Ok(()));
        }
    }

    #[test]
    fn a_device_that_makes_too_many_calls_is_refused_and_no_used_token_is_forgotten_for_it() {
        let replays = Replays::since(BEGUN);
        assert_eq!(replays.accept(&device(8), &token("used", 2_000), at(2_000)), Ok(()));
        let call =
            |nth: usize, now| replays.accept(&device(7), &token(&format!("t{nth}"), now), at(now));
        let calls = (0..131_072).filter(|nth| call(*nth, 2_000).is_ok());
        assert_eq!(calls.count(), PROOFS_PER_DEVICE_MAX);
        assert_eq!(call(131_072, 2_000), Err(Unaccepted::TooMany));
        assert_eq!(call(0, 2_000), Err(Unaccepted::Stale), "its own are remembered");
        let others = replays.accept(&device(8), &token("used", 2_000), at(2_001));
        assert_eq!(others, Err(Unaccepted::Stale), "and so are others'");
        assert_eq!(replays.accept(&device(8), &token("new", 2_001), at(2_001)), Ok(()));
        assert_eq!(call(131_073, 2_000 + LIFE.as_secs()), Ok(()), "room is made by time");
    }

    #[test]
    fn what_is_remembered_of_all_devices_is_bounded_and_each_keeps_its_share() {
        let replays = Replays::since(BEGUN);
        let crowd = PROOFS_REMEMBERED_MAX / PROOFS_PER_DEVICE_MAX;
        for number in 1..=crowd as u64 {
            for nth in 0..PROOFS_PER_DEVICE_MAX {
                let call = token(&format!("t{nth}"), 2_000);
                assert_eq!(replays.accept(&device(number), &call, at(2_000)), Ok(()));
            }
        }
        let late =
            |nth| replays.accept(&device(9_999), &token(&format!("t{nth}"), 2_000), at(2_000));
        let accepted = (0..100).filter(|nth| late(*nth).is_ok()).count();
        assert_eq!(accepted, PROOFS_PER_DEVICE_MIN);
        assert_eq!(replays.used.lock().count, PROOFS_REMEMBERED_MAX + PROOFS_PER_DEVICE_MIN);
        replays.tidy(at(2_000) + 2 * LIFE);
        let used = replays.used.lock();
        assert_eq!((used.count, used.devices.len()), (0, 0));
    }
}
