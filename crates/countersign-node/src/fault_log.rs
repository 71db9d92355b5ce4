//! The log of faults. A fault that comes again and again is logged now and then, with its count, so
//! that it does not hide everything else.

use std::collections::HashMap;
use std::iter;
use std::time::{Duration, Instant};

use countersign_core::Fault;
use metrics::Counter;
use parking_lot::Mutex;
use tracing::error;

use crate::clock;

/// The interval in which the same fault is logged once.
const SAME_EVERY: Duration = Duration::from_secs(10);
/// The faults that are remembered; there are few kinds.
const REMEMBERED_MAX: usize = 256;

/// The faults that were logged lately: the time of each, and how often it came since.
static LATELY: Mutex<Option<HashMap<String, (Instant, u64)>>> = Mutex::new(None);

/// Counts no fault yet, so that the metric exists.
pub(crate) fn register() {
    faults().increment(0);
}

fn faults() -> Counter {
    metrics::counter!("countersign_faults_total")
}

/// Logs a fault with all its causes, at the edge. The same fault is logged once in ten seconds.
pub fn log(fault: &Fault) {
    let source = core::error::Error::source(fault);
    let causes = iter::successors(source, |cause: &&dyn core::error::Error| (*cause).source());
    let cause = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    faults().increment(1);
    let mut lately = LATELY.lock();
    let before =
        note(lately.get_or_insert_default(), format!("{fault}: {cause}"), clock::running());
    drop(lately);
    match before {
        None => {}
        Some(0) => error!(cause, "Failed while {fault}: {cause}"),
        Some(times) => error!(cause, "Failed while {fault}: {cause} (and {times} times before)"),
    }
}

/// Notes a fault at `now`. Answers how often it came since it was last logged, if it is to be
/// logged.
fn note(lately: &mut HashMap<String, (Instant, u64)>, text: String, now: Instant) -> Option<u64> {
    if lately.len() >= REMEMBERED_MAX {
        lately.retain(|_, (logged, _)| now.duration_since(*logged) < SAME_EVERY);
        if lately.len() >= REMEMBERED_MAX {
            return Some(0);
        }
    }
    let (logged, times) = match lately.get_mut(&text) {
        None => {
            lately.insert(text, (now, 0));
            return Some(0);
        }
        Some(known) => (&mut known.0, &mut known.1),
    };
    if now.duration_since(*logged) < SAME_EVERY {
        *times += 1;
        return None;
    }
    *logged = now;
    Some(std::mem::take(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_fault_is_logged_once_in_ten_seconds_with_its_count() {
        let (mut lately, start) = (HashMap::new(), clock::running());
        let mut at = |seconds, text: &str| {
            note(&mut lately, text.into(), start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, "away"), Some(0));
        assert_eq!((at(1, "away"), at(9, "away")), (None, None));
        assert_eq!(at(2, "full"), Some(0), "another fault is logged at once");
        assert_eq!(at(10, "away"), Some(2));
        assert_eq!(at(30, "away"), Some(0));
    }
}
