//! The ends of certificates: gauges, and warnings in the log before somebody is stopped by one.
//!
//! A device renews its certificates from two thirds of their lives on. So a certificate that ends
//! soon belongs to a device that has not been on for long, or that cannot renew.

use std::sync::Arc;
use std::time::Duration;

use countersign_config::CertificatesConfig;
use countersign_core::Fault;
use countersign_core::id::TenantName;
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{CertificateEnds, Listed, Page};
use countersign_core::tenant::TenantState;
use countersign_core::time::Timestamp;
use countersign_http::time_format;
use countersign_http::tls::Certificates;
use countersign_node::task::Shutdown;
use countersign_node::{Core, log};
use metrics::gauge;
use tracing::warn;

/// The interval between two looks at the ends.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// The interval between two warnings of the same end.
const WARN_EVERY: Duration = Duration::from_hours(24);

/// How many certificates have ended.
const ENDED: &str = "countersign_certificates_ended";
/// How many certificates end soon.
const ENDING: &str = "countersign_certificates_ending";
/// The earliest end of a certificate that has not ended.
const FIRST_END: &str = "countersign_certificate_first_end_timestamp_seconds";

/// The rules for certificates, and the server's own.
pub(crate) struct Watched {
    pub(crate) certificates: CertificatesConfig,
    /// The certificates that the server uses; `None` if a proxy ends TLS.
    pub(crate) used: Option<Certificates>,
}

/// Sets the gauges and warns of ends, until the shutdown begins.
pub(crate) async fn watch(core: Arc<Core>, watched: Watched, tasks: Shutdown) {
    let mut turns = tokio::time::interval(LOOK_EVERY);
    let mut next_warning = Timestamp(0);
    while tasks.draining().run_until_cancelled(turns.tick()).await.is_some() {
        let now = core.now();
        let warns = now >= next_warning;
        if warns {
            next_warning = now + WARN_EVERY;
        }
        if let Err(fault) = look(&core, &watched, warns).await {
            log(&fault);
        }
    }
}

async fn look(core: &Core, watched: &Watched, warns: bool) -> Result<(), Fault> {
    let (now, days) = (core.now(), watched.certificates.warn.as_secs() / 86_400);
    let identities = core.certificate_ends(watched.certificates.warn).await?;
    set("identity", identities);
    if warns && identities.ended + identities.ending > 0 {
        let CertificateEnds { ended, ending, .. } = identities;
        warn!(
            certificates.ended = ended,
            certificates.ending = ending,
            "{ended} certificates of signing identities have ended, and {ending} end within {days} \
             days: `countersign identity list --tenant NAME --ends-within {days}`"
        );
    }

    let authorities = authorities(core).await?;
    // What an authority issues ends with it at the latest.
    let until = now + watched.certificates.identity.max(watched.certificates.warn);
    set("authority", ends(authorities.iter().map(|(_, end)| *end), now, until));
    for (tenant, end) in authorities.iter().filter(|(_, end)| warns && *end <= until) {
        let at = time_format::brief(*end);
        warn!(
            tenant = %tenant,
            "The authority of tenant {tenant} ends at {at}, and its certificates with it at the \
             latest: `countersign ca renew --tenant {tenant}` makes another"
        );
    }

    if let Some(used) = &watched.used {
        tell_server(used, now, watched.certificates.warn, warns);
    }
    Ok(())
}

/// Sets the gauges of the certificate that the server uses, and warns of its end if that comes
/// within `warn`.
pub(crate) fn tell_server(used: &Certificates, now: Timestamp, warn: Duration, warns: bool) {
    match used.end() {
        Ok(end) => {
            let until = now + warn;
            set("server", ends([end].into_iter(), now, until));
            if warns && end <= until {
                let at = time_format::brief(end);
                warn!("The server's own certificate ends at {at}: renew it");
            }
        }
        Err(error) => warn!("The end of the server's certificate cannot be read: {error:#}"),
    }
}

/// The tenants, with the end of the authority that issues their certificates.
async fn authorities(core: &Core) -> Result<Vec<(TenantName, Timestamp)>, Fault> {
    let read = core.read();
    let (mut authorities, mut page) = (Vec::new(), Page::first(LISTED_MAX));
    loop {
        let Listed { rows, next } = read.tenants(page).await?;
        for name in rows {
            let tenant = read.tenant(&name).await?;
            let tenant = tenant.filter(|tenant| tenant.state != TenantState::Deleted);
            let Some(tenant) = tenant else { continue };
            let validity = countersign_proof::validity(&tenant.authority_certificate);
            let (_, end) = validity.map_err(Fault::while_doing("reading an authority's end"))?;
            authorities.push((name, Timestamp::of_seconds(end)));
        }
        let Some(after) = next else { return Ok(authorities) };
        page = Page { after: Some(after), limit: LISTED_MAX };
    }
}

/// Counts ends.
fn ends(
    all: impl Iterator<Item = Timestamp> + Clone,
    now: Timestamp,
    until: Timestamp,
) -> CertificateEnds {
    let coming = all.clone().filter(|end| end.seconds() >= now.seconds());
    CertificateEnds {
        ended: all.filter(|end| end.seconds() < now.seconds()).count() as u64,
        ending: coming.clone().filter(|end| *end <= until).count() as u64,
        first: coming.min(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges, far below 2^52")]
fn set(kind: &'static str, ends: CertificateEnds) {
    gauge!(ENDED, "kind" => kind).set(ends.ended as f64);
    gauge!(ENDING, "kind" => kind).set(ends.ending as f64);
    if let Some(first) = ends.first {
        gauge!(FIRST_END, "kind" => kind).set(first.seconds() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_past_after_its_second_and_soon_until_the_time_that_was_asked_for() {
        let at = |seconds: &[u64]| {
            let all = seconds.iter().copied().map(Timestamp::of_seconds);
            ends(all, Timestamp(10_500), Timestamp(20_000))
        };
        let first = Some(Timestamp(10_000));
        assert_eq!(at(&[9, 10, 20, 21]), CertificateEnds { ended: 1, ending: 2, first });
        assert_eq!(at(&[]), CertificateEnds::default());
    }
}
