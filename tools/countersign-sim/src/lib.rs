//! Worlds for tests: everything around the engine, made so that a test can say what it does.
//!
//! The one promise: nothing here moves by itself. Time passes when it is told to, chance comes from a
//! seed, a store fails where it is asked to, and a doorbell hears what it may hear. What signs, signs
//! for real, so that a test stands on the verifier and not on its absence.
//!
//! * [`World`]: tenants with authorities of their own, their people, and [`Phone`]s that sign.
//! * [`Dice`] and [`Timeline`]: chance and time.
//! * [`Stage`]: a store on which an [`Interference`] plays tricks, and a tape of what was written.
//! * [`Board`]: a doorbell, good or bad.
//! * [`Crowd`] and [`block_on`]: futures polled in the order that the dice say, or one to its end.

mod authority;
mod board;
mod crowd;
mod dice;
mod phone;
mod stage;
mod timeline;
mod trick;
mod world;

pub use authority::Authority;
pub use board::{Board, Ring};
pub use crowd::{Crowd, at_once, block_on};
pub use dice::Dice;
pub use phone::{Phone, RAW, pin_digest};
pub use stage::{Call, Interference, Stage, Written};
pub use timeline::{START, Timeline};
pub use trick::{FailsOnce, SlowWrites, Unsteady, Untouched, When, is_injected};
pub use world::{House, World};
