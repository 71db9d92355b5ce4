//! Worlds for tests: everything around the engine, made so that a test can say what it does.
//!
//! The one promise: nothing here moves by itself. Time passes when it is told to, chance comes from
//! a seed, a store fails where it is asked to, and a doorbell hears what it may hear. What signs,
//! signs for real, so that a test stands on the verifier and not on its absence.
//!
//! * [`Population`]: tenants with authorities of their own, their people, and [`Phone`]s that sign.
//! * [`Prng`] and [`Timeline`]: chance and time.
//! * [`FaultyStore`]: a store on which an [`Interference`] plays tricks, and a tape of what was
//!   written.
//! * [`FakeNotifier`]: a doorbell, good or bad.
//! * [`Scheduler`] and [`block_on`]: futures polled in the order that the dice say, or one to its
//!   end.

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
