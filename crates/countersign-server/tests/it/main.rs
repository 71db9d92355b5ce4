//! End-to-end tests: the real binary over real TLS on a real SQLite file, devices made with the
//! SDK, and OpenSSL as a second implementation.

#![allow(clippy::unwrap_used, reason = "tests")]

mod added_devices;
mod administration;
mod backups;
mod bad_input;
mod callbacks;
mod certificates;
mod channel;
mod crashes;
mod demo;
mod deploy;
mod device_calls;
mod enrolment;
mod first_version;
mod fleet;
mod gateway;
mod history;
mod http2;
mod identities;
mod kobil_rows;
mod lifecycle;
mod listings;
mod locks;
mod metrics;
mod moving;
mod names;
mod operating_page;
mod operations;
mod operator_acts;
mod passwords;
mod pin_resets;
mod proxies;
mod push;
mod quotas;
mod readme;
mod receiver;
mod revocation;
mod roles;
mod server_certificate;
mod soap;
mod tenant_states;
mod test_device;
mod test_server;
mod transcript;
mod trustedx;
mod wait;
