//! Whose deliveries are claimed, in which order: the same walk over the lanes for every store.

use countersign_core::delivery::Lane;
use countersign_core::limits::LANES_PER_CLAIM_MAX;
use countersign_core::port::Claim;

/// Visits lanes and takes what is due, as far as there is room. Answers what was taken, and where the
/// next walk should begin.
///
/// `next` gives the first lane after another one, or the first of all; `due` gives at most so many of a
/// lane's deliveries, the earliest first.
pub(crate) fn walk<T, E>(
    claim: Claim,
    mut next: impl FnMut(Option<&Lane>) -> Result<Option<Lane>, E>,
    mut due: impl FnMut(&Lane, u16) -> Result<Vec<T>, E>,
) -> Result<(Vec<T>, Option<Lane>), E> {
    let Claim { mut room, after: start, .. } = claim;
    let mut taken = Vec::new();
    let (mut first, mut last) = (None, start.clone());
    let mut is_around = start.is_none();
    for visited in 0..=LANES_PER_CLAIM_MAX {
        if room.free() == 0 {
            break;
        }
        if visited == LANES_PER_CLAIM_MAX {
            return Ok((taken, first.or(last)));
        }
        let mut lane = next(last.as_ref())?;
        if lane.is_none() && !is_around {
            is_around = true;
            lane = next(None)?;
        }
        if is_around && start.is_some() && lane > start {
            break; // It was visited before the walk went around.
        }
        let Some(lane) = lane else { break };
        let places = room.left(&lane);
        if places > 0 {
            let found = due(&lane, places)?;
            room.take(&lane, found.len() as u16);
            if !found.is_empty() && first.is_none() {
                first = Some(lane.clone());
            }
            taken.extend(found);
        }
        last = Some(lane);
    }
    Ok((taken, first.or(start)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use countersign_core::delivery::Room;
    use countersign_core::time::Timestamp;

    use super::*;

    fn lane(host: &str) -> Lane {
        Lane { tenant: "acme".parse().unwrap(), host: host.into() }
    }

    /// Walks over lanes that each have this many due, and says whose were taken.
    fn walked(lanes: &[(&str, u16)], room: Room, after: Option<&str>) -> (String, Option<String>) {
        let claim =
            Claim { now: Timestamp(1), lease_end: Timestamp(2), room, after: after.map(lane) };
        let next = |after: Option<&Lane>| {
            let found =
                lanes.iter().map(|(host, _)| lane(host)).find(|l| after.is_none_or(|a| l > a));
            Ok::<_, Infallible>(found)
        };
        let due = |lane: &Lane, places: u16| {
            let due = lanes.iter().find(|(host, _)| *host == lane.host).unwrap().1;
            Ok(vec![lane.host.clone(); due.min(places).into()])
        };
        let (taken, resume) = walk(claim, next, due).unwrap();
        (taken.concat(), resume.map(|lane| lane.host))
    }

    #[test]
    fn each_lane_comes_first_at_some_time() {
        let lanes = [("a", 9), ("b", 9), ("c", 9)];
        let mut after = None;
        let mut story = Vec::new();
        for _ in 0..4 {
            let (taken, resume) = walked(&lanes, Room::new(6, 3), after.as_deref());
            story.push(taken);
            after = resume;
        }
        // Three quarters of six are five: one tenant's share.
        assert_eq!(story, ["aaabb", "bbbcc", "cccaa", "aaabb"]);
    }

    #[test]
    fn no_lane_is_visited_twice_and_an_empty_walk_goes_on_where_it_ended() {
        assert_eq!(
            walked(&[("a", 1), ("b", 1)], Room::new(64, 8), Some("a")),
            ("ba".into(), Some("b".into()))
        );
        assert_eq!(
            walked(&[("a", 1)], Room::new(64, 8), Some("a")),
            ("a".into(), Some("a".into()))
        );
        assert_eq!(
            walked(&[("a", 1)], Room::new(64, 8), Some("x")),
            ("a".into(), Some("a".into()))
        );
        assert_eq!(
            walked(&[("b", 1)], Room::new(64, 8), Some("a")),
            ("b".into(), Some("b".into())),
            "the first lane of all is one that was visited already"
        );
        assert_eq!(walked(&[], Room::new(64, 8), Some("x")), (String::new(), Some("x".into())));
        assert_eq!(walked(&[], Room::new(64, 8), None), (String::new(), None));
        let many: Vec<_> = (0..=LANES_PER_CLAIM_MAX).map(|n| format!("{n:05}")).collect();
        let mut lanes: Vec<_> = many.iter().map(|host| (host.as_str(), 0)).collect();
        lanes.last_mut().unwrap().1 = 1;
        let (taken, resume) = walked(&lanes, Room::new(64, 8), None);
        assert_eq!(taken, "");
        assert_eq!(walked(&lanes, Room::new(64, 8), resume.as_deref()).0, *many.last().unwrap());
    }
}
