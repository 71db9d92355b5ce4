//! How relying parties speak. Each surface translates into the engine's words and out of them; none
//! decides, and none knows of another.

pub(crate) mod caller;
pub(crate) mod intake;
pub(crate) mod kobil;
pub(crate) mod oauth;
pub(crate) mod order;
pub(crate) mod token;
