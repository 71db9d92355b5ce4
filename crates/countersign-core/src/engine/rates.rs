//! Rate limits for starts, by client and by tenant. They use the generic cell rate algorithm (ITU-T
//! I.371, annex A); the time is an argument.
//!
//! Each node counts for itself. With several nodes, the total limit is the rate times the number of
//! nodes.

use core::hash::Hash;
use core::num::NonZeroU32;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::id::{ClientId, TenantName};
use crate::limits::START_BURST;
use crate::refusal::Quota;
use crate::time::Timestamp;

/// The number of entries above which idle ones are removed. There are at most as many entries that
/// are not idle as clients.
const TIDIED_AT: usize = 1_024;

/// Transactions that may be started in a second; `None` means no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StartRates {
    /// The rate of one client.
    pub client: Option<NonZeroU32>,
    /// The rate of all clients of one tenant together.
    pub tenant: Option<NonZeroU32>,
}

/// The recent starts of each client and each tenant.
#[derive(Debug, Default)]
pub(super) struct Starts(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    clients: Rate<(TenantName, ClientId)>,
    tenants: Rate<TenantName>,
}

/// For each key, the time at which its allowance is full again, in nanoseconds since the Unix
/// epoch.
#[derive(Debug)]
struct Rate<K> {
    whole_at: HashMap<K, u128>,
    tidied_at: usize,
}

impl<K> Default for Rate<K> {
    fn default() -> Self {
        Self { whole_at: HashMap::new(), tidied_at: TIDIED_AT }
    }
}

impl Starts {
    /// Counts a start, if it is within both rates.
    ///
    /// # Errors
    /// The rate that the start would exceed. Neither rate counts it then.
    pub(super) fn admit(
        &self,
        rates: StartRates,
        tenant: &TenantName,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<(), Quota> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Recent { clients, tenants } = &mut *recent;
        let own = (tenant.clone(), client.clone());
        if let Some(rate) = rates.client {
            clients
                .check(&own, rate, now)
                .map_err(|retry_after| Quota::ClientStarts { retry_after })?;
        }
        if let Some(rate) = rates.tenant {
            tenants
                .check(tenant, rate, now)
                .map_err(|retry_after| Quota::TenantStarts { retry_after })?;
            tenants.count(tenant.clone(), rate, now);
        }
        if let Some(rate) = rates.client {
            clients.count(own, rate, now);
        }
        Ok(())
    }
}

impl<K: Eq + Hash> Rate<K> {
    /// The time to wait if one more start would exceed the rate now.
    fn check(&self, key: &K, rate: NonZeroU32, now: Timestamp) -> Result<(), Duration> {
        let whole_at = self.whole_at.get(key).copied().unwrap_or(0);
        let allowed_from = (whole_at + interval(rate)).saturating_sub(START_BURST.as_nanos());
        match allowed_from.checked_sub(nanoseconds(now)) {
            None | Some(0) => Ok(()),
            Some(wait) => Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))),
        }
    }

    fn count(&mut self, key: K, rate: NonZeroU32, now: Timestamp) {
        let now = nanoseconds(now);
        let whole_at = self.whole_at.entry(key).or_insert(now);
        *whole_at = (*whole_at).max(now) + interval(rate);
        if self.whole_at.len() > self.tidied_at {
            self.whole_at.retain(|_, whole_at| *whole_at > now);
            self.tidied_at = (2 * self.whole_at.len()).max(TIDIED_AT);
        }
    }
}

fn interval(rate: NonZeroU32) -> u128 {
    1_000_000_000 / u128::from(rate.get())
}

fn nanoseconds(at: Timestamp) -> u128 {
    u128::from(at.0) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(client: u32, tenant: u32) -> StartRates {
        StartRates { client: NonZeroU32::new(client), tenant: NonZeroU32::new(tenant) }
    }

    fn admitted(starts: &Starts, rates: StartRates, client: &str, tries: u32, now: u64) -> u32 {
        let (tenant, client) = ("acme".parse().unwrap(), client.parse().unwrap());
        let admit = |_: &u32| starts.admit(rates, &tenant, &client, Timestamp(now)).is_ok();
        u32::try_from((0..tries).filter(admit).count()).unwrap()
    }

    #[test]
    fn a_client_has_its_burst_at_once_and_then_its_rate() {
        let (starts, rates) = (Starts::default(), rates(200, 0));
        assert_eq!(admitted(&starts, rates, "shop", 10_000, 1_000_000), 2_000);
        assert_eq!(admitted(&starts, rates, "shop", 10_000, 1_001_000), 200);
        assert_eq!(admitted(&starts, rates, "shop", 10_000, 1_001_005), 1);
        assert_eq!(admitted(&starts, rates, "shop", 10_000, 2_000_000), 2_000, "not saved up");
    }

    #[test]
    fn one_client_does_not_use_up_another_ones_rate_but_the_tenants() {
        let (starts, rates) = (Starts::default(), rates(200, 300));
        assert_eq!(admitted(&starts, rates, "shop", 10_000, 1_000_000), 2_000);
        assert_eq!(admitted(&starts, rates, "bank", 10_000, 1_000_000), 1_000, "3,000 in all");
        let other = starts.admit(
            rates,
            &"globex".parse().unwrap(),
            &"shop".parse().unwrap(),
            Timestamp(1_000_000),
        );
        assert_eq!(other, Ok(()));
    }

    #[test]
    fn a_refused_client_is_told_when_to_come_back_and_is_then_admitted() {
        let (starts, rates) = (Starts::default(), rates(1, 0));
        assert_eq!(admitted(&starts, rates, "shop", 100, 1_000_000), 10);
        let (tenant, client) = ("acme".parse().unwrap(), "shop".parse().unwrap());
        let quota = starts.admit(rates, &tenant, &client, Timestamp(1_000_250)).unwrap_err();
        assert_eq!(quota, Quota::ClientStarts { retry_after: Duration::from_millis(750) });
        assert_eq!(quota.retry_after_seconds(), 1);
        assert_eq!(starts.admit(rates, &tenant, &client, Timestamp(1_001_000)), Ok(()));
    }

    #[test]
    fn clients_that_are_idle_are_forgotten() {
        let (starts, rates) = (Starts::default(), rates(200, 0));
        for nth in 0..10 * TIDIED_AT as u64 {
            admitted(&starts, rates, &format!("client-{nth}"), 1, nth * 1_000);
        }
        assert!(starts.0.lock().unwrap().clients.whole_at.len() <= TIDIED_AT + 1);
    }
}
