//! What reads bytes from outside the process, for the fuzz targets in `fuzz/`, and for nobody else:
//! one module for each place where such bytes arrive. Nothing here is stable.

/// The configuration file.
pub mod configuration {
    pub use crate::config::{Config, Overrides};
}

/// URLs that callers name.
pub mod egress {
    pub use crate::egress::guard::{Forbidden, Guard, Target};
}

/// Bodies of KOBIL's calls.
pub mod kobil {
    pub use crate::dialect::json_members::BadBody;
    pub use crate::dialect::kobil::activations::body::{ActivationRequest, NewCode};
    pub use crate::dialect::kobil::body::{Cancel, Start};
    pub use crate::dialect::kobil::users::body::{BadUser, NewUser, Profile};
}

/// Bodies of `OneSpan`'s calls.
pub mod onespan {
    pub use crate::dialect::onespan::body::{BodyMember, BodyParameters, read_signature, unhexed};

    /// Commands in SOAP.
    pub mod soap {
        pub use crate::dialect::onespan::soap::body::{
            BadParameter, Data, NamedUser, NotSoap, RequestedAttributes, SoapCall, Style, What,
        };
        pub use crate::dialect::onespan::soap::xml::BadXml;
    }
}

/// Bodies of `TrustedX`'s calls.
pub mod trustedx {
    pub use crate::dialect::json_members::BadBody;
    pub use crate::dialect::trustedx::body::{Create, ProcessKind, ServiceName};
    pub use crate::dialect::trustedx::identity::body::{StatusChange, read_labels};
    pub use crate::dialect::trustedx::links::body::{Finish, words};
    pub use crate::dialect::trustedx::selector::{SelectorQuery, SelectorView};
}
