//! The demo of KOBIL's dialect: an application asks over HTTPS, the user signs on the channel, and
//! anyone can verify.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use countersign_core::port::Clock as _;
use countersign_core::tenant::Tenant;
use countersign_device::State;
use countersign_proof::{Inspected, Roots, cms};
use tokio::time::timeout;

use super::application::Payment;
use super::home::quoted;
use super::play::{CA, DemoRun, PHONE, PHONE_WAIT, PIN, SIGNATURE, Set, USER, said};
use super::stage;
use crate::cli::ca;
use crate::cli::device::said::DeviceEvent;
use countersign_config::own_program;
use countersign_http::time_format;
use countersign_node::clock::System;

impl DemoRun<'_> {
    /// Runs it, and prints what the user can try afterwards.
    pub(super) async fn kobil(&mut self, set: &Set) -> anyhow::Result<Vec<String>> {
        self.connect().await?;
        let signature = self.sign(set).await?;
        self.verify(set, &signature).await?;
        Ok(self.invitation(set))
    }

    /// The application asks, and the user signs: the PKCS#7, DER.
    async fn sign(&mut self, set: &Set) -> anyhow::Result<Vec<u8>> {
        let token = set.application.token().await?;
        let payment = payment();
        let detail = "KOBIL's Start Signature, over HTTPS";
        self.stage.began("The shop asks for a payment", detail)?;
        let began = Instant::now();
        let asked = set.application.ask(&token, USER, &payment);
        tokio::pin!(asked);
        let phone = self.phone.as_mut().expect("the phone is online");
        let (mut signature, mut told) = (None, false);
        // The two notifications may arrive in either order.
        while signature.is_none() || !told {
            tokio::select! {
                answered = &mut asked, if signature.is_none() => signature = Some(answered?),
                line = timeout(PHONE_WAIT, phone.line()) => {
                    match said(&line.context("the phone took too long")??)? {
                        shown @ DeviceEvent::Shown { .. } => self.stage.phone(&shown)?,
                        DeviceEvent::Ended { state: State::Finished, .. } => told = true,
                        DeviceEvent::Ended { .. } => bail!("the phone received another result"),
                        DeviceEvent::Left { why, .. } => bail!("the phone could not sign: {why}"),
                        _ => {}
                    }
                }
            }
        }
        let signature = signature.expect("it was waited for");
        let took = began.elapsed();
        self.stage.succeeded("Jane enters her PIN and signs", "with her phone's own key", took)?;

        let inspected = inspect(&set.tenant, &signature)?;
        ensure!(inspected.content == payment.statement(), "something else was signed");
        let detail = format!("PKCS#7, {} bytes, verified", signature.len());
        self.stage.succeeded("The shop has the signature", &detail, began.elapsed())?;
        Ok(signature)
    }

    /// Verifies the signature with OpenSSL.
    async fn verify(&mut self, set: &Set, signature: &[u8]) -> anyhow::Result<()> {
        let inspected = inspect(&set.tenant, signature)?;
        let file = self.home.write(SIGNATURE, signature)?;
        let ca = self.home.write(CA, ca::roots(&set.tenant)?.concat().as_bytes())?;
        let arguments = ["cms", "-verify", "-cades", "-inform", "DER", "-in"];
        let mut openssl = tokio::process::Command::new("openssl");
        openssl.args(arguments).arg(&file).arg("-CAfile").arg(&ca);
        openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let verify = async {
            match openssl.kill_on_drop(true).output().await {
                // OpenSSL is not installed here; the user may run the command elsewhere.
                Err(_) => Ok(false),
                Ok(output) if output.status.success() => Ok(true),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    bail!("OpenSSL does not accept the signature: {}", said.trim())
                }
            }
        };
        let at = time_format::of_seconds(inspected.signing_time);
        let detail = |found: &bool| match found {
            true => format!("signed {at}"),
            false => "not installed here".to_owned(),
        };
        self.stage.step("OpenSSL verifies it", verify, detail).await?;
        self.verified = true;

        let (file, ca) = (quoted(&file), quoted(&ca));
        let line = format!("openssl {} {file} -CAfile {ca}", arguments.join(" "));
        stage::lines(&[
            String::new(),
            "Verify it yourself, on any machine, without this server:".to_owned(),
            String::new(),
            self.stage.paint.bold(line),
            String::new(),
        ])
    }

    fn invitation(&self, set: &Set) -> Vec<String> {
        let paint = self.stage.paint;
        let program = own_program().map_or_else(|_| "countersign".to_owned(), |path| quoted(&path));
        let directory = quoted(self.home.path());
        let address = set.application.address(USER);
        let body = "{\"transactionId\":\"'$(date +%s)'\",\"signatureMessage\":\"Lend Bob my \
                    bicycle?\",\"deviceGoOnlineTimeout\":60,\"signatureTimeout\":120}";
        vec![
            "The demo keeps running. In another terminal, ask Jane something else:".to_owned(),
            String::new(),
            paint.bold(format!("cd {directory}")),
            paint.bold("curl -s --cacert tls/ca.pem -H \"authorization: Bearer $(cat token)\" \\"),
            paint.bold("  -H 'content-type: application/json' \\"),
            paint.bold(format!("  -d '{body}' \\")),
            paint.bold(format!("  {address}")),
            String::new(),
            "Her phone here approves everything. To be asked, run it yourself:".to_owned(),
            String::new(),
            paint.bold(format!("{program} device run {PHONE} --answer ask --pin {PIN}")),
            String::new(),
        ]
    }
}

fn inspect(tenant: &Tenant, signature: &[u8]) -> anyhow::Result<Inspected> {
    let roots = Roots::new(tenant.roots.iter().map(Vec::as_slice))?;
    let now = System::default().now().seconds();
    cms::inspect(signature, &roots, now).context("the signature does not hold")
}

fn payment() -> Payment {
    let mut chance = [0; 8];
    aws_lc_rs::rand::fill(&mut chance).expect("the system gives random bytes");
    Payment::new(format!("order-4711-{}", hex::encode(chance)))
}
