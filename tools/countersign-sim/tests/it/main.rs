//! Tests of the engine over its ports: scenarios, a fault at every call, and simulation from seeds.

#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod certificates;
mod clocks;
mod crowd;
mod ends;
mod faults;
mod fixture;
mod guesses;
mod locks;
mod notifications;
mod offline;
mod people;
mod pins;
mod quotas;
mod raw;
mod retention;
mod selectors;
mod signatures;
mod simulation;
mod starts;
