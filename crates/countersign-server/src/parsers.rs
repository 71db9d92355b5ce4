//! What reads bytes from outside the process, for the fuzz targets in `fuzz/`, and for nobody else: one
//! module for each place where such bytes arrive. Nothing here is stable.

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
    pub use crate::surface::field::BadBody;
    pub use crate::surface::kobil::activations::body::{Asked, NewCode};
    pub use crate::surface::kobil::body::{Cancel, Start};
    pub use crate::surface::kobil::users::body::{BadUser, NewUser, Profile};
}

/// Bodies of `OneSpan`'s calls.
pub mod onespan {
    pub use crate::surface::onespan::body::{Member, Parameters, read_signature, unhexed};

    /// Commands in SOAP.
    pub mod soap {
        pub use crate::surface::onespan::soap::body::{
            Asked, BadParameter, Call, Data, NotSoap, Style, User, What,
        };
        pub use crate::surface::onespan::soap::xml::BadXml;
    }
}

/// Bodies of `TrustedX`'s calls.
pub mod trustedx {
    pub use crate::surface::field::BadBody;
    pub use crate::surface::trustedx::body::{Create, Kind, Service};
    pub use crate::surface::trustedx::identity::body::{StatusChange, read_labels};
    pub use crate::surface::trustedx::links::body::{Finish, words};
    pub use crate::surface::trustedx::selector::{Asked, Shown};
}
