//! What every edge that speaks HTTP needs.

pub(crate) mod body_limit;
