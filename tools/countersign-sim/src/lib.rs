//! Fixtures for tests of the engine, in which a test controls everything around the engine.
//!
//! Nothing here changes by itself. Time passes when a test says so, randomness comes from a seed, a
//! store fails at chosen calls, and a notifier loses chosen notifications. Signatures are real, so
//! that tests include their verification.
//!
//! * [`Population`]: tenants with their own authorities, users, and [`Phone`]s that sign.
//! * [`Prng`] and [`Timeline`]: randomness and time.
//! * [`FaultyStore`]: a store with an [`Interference`] that injects faults, and a tape of its
//!   writes.
//! * [`FakeNotifier`]: a notifier that may lose notifications.
//! * [`Scheduler`] and [`block_on`]: run many futures in a random order from a seed, or one future.

mod authority;
pub mod changes;
mod fault;
mod faulty_store;
mod notifier;
mod phone;
mod population;
mod prng;
mod scheduler;
mod timeline;

pub use authority::Authority;
pub use fault::{FailsOnce, NoFaults, RandomFaults, SlowWrites, When, is_injected};
pub use faulty_store::{Call, FaultyStore, Interference, Written};
pub use notifier::{FakeNotifier, Received};
pub use phone::{Phone, RAW, pin_digest};
pub use population::{Population, TestTenant};
pub use prng::Prng;
pub use scheduler::{Scheduler, at_once, block_on};
pub use timeline::{START, Timeline};
