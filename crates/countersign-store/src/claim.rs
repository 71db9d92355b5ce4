//! The order in which deliveries are claimed: one round-robin walk over the destinations for every
//! store.

use countersign_core::delivery::Destination;
use countersign_core::limits::DESTINATIONS_PER_CLAIM_MAX;
use countersign_core::port::Claim;

/// Visits destinations and takes due deliveries, within the capacity. Answers the deliveries, and
/// where the next walk should begin.
///
/// `next` gives the first destination after another one, or the first of all. `due` gives at most
/// that many due deliveries of a destination, the earliest first.
pub(crate) fn claim_round_robin<T, E>(
    claim: Claim,
    mut next: impl FnMut(Option<&Destination>) -> Result<Option<Destination>, E>,
    mut due: impl FnMut(&Destination, u16) -> Result<Vec<T>, E>,
) -> Result<(Vec<T>, Option<Destination>), E> {
    let Claim { mut capacity, after: start, .. } = claim;
    let mut taken = Vec::new();
    let (mut first, mut last) = (None, start.clone());
    let mut is_around = start.is_none();
    for visited in 0..=DESTINATIONS_PER_CLAIM_MAX {
        if capacity.free() == 0 {
            break;
        }
        if visited == DESTINATIONS_PER_CLAIM_MAX {
            return Ok((taken, first.or(last)));
        }
        let mut destination = next(last.as_ref())?;
        if destination.is_none() && !is_around {
            is_around = true;
            destination = next(None)?;
        }
        if is_around && start.is_some() && destination > start {
            break; // It was visited before the walk wrapped around.
        }
        let Some(destination) = destination else { break };
        let permits = capacity.available(&destination);
        if permits > 0 {
            let found = due(&destination, permits)?;
            capacity.acquire(&destination, found.len() as u16);
            if !found.is_empty() && first.is_none() {
                first = Some(destination.clone());
            }
            taken.extend(found);
        }
        last = Some(destination);
    }
    Ok((taken, first.or(start)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use countersign_core::delivery::Capacity;
    use countersign_core::time::Timestamp;

    use super::*;

    fn destination(endpoint: &str) -> Destination {
        Destination { tenant: "acme".parse().unwrap(), endpoint: endpoint.parse().unwrap() }
    }

    /// Walks over destinations with these counts of due deliveries, and answers the destinations of
    /// the deliveries that were taken.
    fn walked(
        destinations: &[(&str, u16)],
        capacity: Capacity,
        after: Option<&str>,
    ) -> (String, Option<String>) {
        let claim = Claim {
            now: Timestamp(1),
            lease_end: Timestamp(2),
            capacity,
            after: after.map(destination),
        };
        let next = |after: Option<&Destination>| {
            let found = destinations
                .iter()
                .map(|(host, _)| destination(host))
                .find(|l| after.is_none_or(|a| l > a));
            Ok::<_, Infallible>(found)
        };
        let due = |destination: &Destination, permits: u16| {
            let text = destination.endpoint.to_string();
            let due = destinations.iter().find(|(name, _)| *name == text).unwrap().1;
            Ok(vec![text; due.min(permits).into()])
        };
        let (taken, resume) = claim_round_robin(claim, next, due).unwrap();
        (taken.concat(), resume.map(|destination| destination.endpoint.to_string()))
    }

    #[test]
    fn each_destination_comes_first_at_some_time() {
        let destinations = [("a", 9), ("b", 9), ("c", 9)];
        let mut after = None;
        let mut story = Vec::new();
        for _ in 0..4 {
            let (taken, resume) = walked(&destinations, Capacity::new(6, 3), after.as_deref());
            story.push(taken);
            after = resume;
        }
        // Three quarters of six, rounded up, are five: the share of one tenant.
        assert_eq!(story, ["aaabb", "bbbcc", "cccaa", "aaabb"]);
    }

    #[test]
    fn no_destination_is_visited_twice_and_an_empty_walk_resumes_at_its_end() {
        assert_eq!(
            walked(&[("a", 1), ("b", 1)], Capacity::new(64, 8), Some("a")),
            ("ba".into(), Some("b".into()))
        );
        assert_eq!(
            walked(&[("a", 1)], Capacity::new(64, 8), Some("a")),
            ("a".into(), Some("a".into()))
        );
        assert_eq!(
            walked(&[("a", 1)], Capacity::new(64, 8), Some("x")),
            ("a".into(), Some("a".into()))
        );
        assert_eq!(
            walked(&[("b", 1)], Capacity::new(64, 8), Some("a")),
            ("b".into(), Some("b".into())),
            "the first destination was visited already"
        );
        assert_eq!(walked(&[], Capacity::new(64, 8), Some("x")), (String::new(), Some("x".into())));
        assert_eq!(walked(&[], Capacity::new(64, 8), None), (String::new(), None));
        let many: Vec<_> = (0..=DESTINATIONS_PER_CLAIM_MAX).map(|n| format!("{n:05}")).collect();
        let mut destinations: Vec<_> = many.iter().map(|host| (host.as_str(), 0)).collect();
        destinations.last_mut().unwrap().1 = 1;
        let (taken, resume) = walked(&destinations, Capacity::new(64, 8), None);
        assert_eq!(taken, "");
        assert_eq!(
            walked(&destinations, Capacity::new(64, 8), resume.as_deref()).0,
            *many.last().unwrap()
        );
    }
}
