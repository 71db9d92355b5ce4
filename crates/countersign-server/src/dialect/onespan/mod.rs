//! OneSpan's two sides: REST for phones, as its gateway speaks, and SOAP for the relying
//! application, as its authentication server does. Both tell what something came to by the same
//! codes.

pub(crate) mod body;
pub(crate) mod codes;
pub(crate) mod phone;
pub(crate) mod rest;
pub(crate) mod soap;
