//! Every call out of the process: which addresses may be called, whoever names them, and the client
//! that calls them.

pub(crate) use countersign_wire::guard;
pub(crate) mod names;
pub(crate) mod outbound;
pub(crate) mod resolve;
