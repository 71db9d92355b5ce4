//! Certificates of signers: paths, times, key usage, and keys.

use countersign_proof::{BadProof, Roots, Signer, cms};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use crate::forger::*;

/// The outcome for a certificate that the tenant's intermediate issues with `params`.
fn outcome(params: &CertificateParams) -> Result<u64, BadProof> {
    let person = TENANT.certify(KeyPair::generate().unwrap(), params);
    Signer::new(&person.certificate, &person.chain, &TENANT.roots(), NOW)
        .map(|signer| signer.valid_until())
}

fn with_usage(usage: Vec<KeyUsagePurpose>) -> CertificateParams {
    let mut params = named("Frank", 5);
    params.key_usages = usage;
    params
}

const YEAR_2020: u64 = 1_577_836_800;
const YEAR_2040: u64 = 2_208_988_800;
const YEAR_2050: u64 = 2_524_608_000;
const YEAR_2090: u64 = 3_786_912_000;

#[test]
fn a_certificate_is_accepted_with_either_usage_for_signatures() {
    use KeyUsagePurpose::{ContentCommitment, DigitalSignature, KeyEncipherment};
    for usage in [
        vec![],
        vec![DigitalSignature],
        vec![ContentCommitment], // non-repudiation alone
        vec![ContentCommitment, KeyEncipherment],
    ] {
        assert_eq!(outcome(&with_usage(usage)), Ok(YEAR_2090));
    }
}

#[test]
fn openssl_also_accepts_a_signer_with_non_repudiation_alone() {
    let params = with_usage(vec![KeyUsagePurpose::ContentCommitment]);
    let person = TENANT.certify(KeyPair::generate().unwrap(), &params);
    let message = Forge::right(&person).build();
    let proof = cms::verify(&message, &RIGHT, &person.signer(), NOW).unwrap();
    assert_eq!(crate::openssl::verify(proof.evidence(), &TENANT.root).unwrap(), CONTENT);
}

#[test]
fn a_certificate_for_something_else_is_refused() {
    use KeyUsagePurpose::{KeyAgreement, KeyEncipherment};
    for usage in [vec![KeyAgreement], vec![KeyEncipherment], vec![KeyUsagePurpose::KeyCertSign]] {
        assert_eq!(outcome(&with_usage(usage)), Err(BadProof::KeyUsage));
    }
    let mut server = named("a server", 5);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(outcome(&server), Err(BadProof::KeyUsage));
    let mut mail = named("Mail", 5);
    mail.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::EmailProtection];
    assert_eq!(outcome(&mail), Ok(YEAR_2090));
}

#[test]
fn an_authority_is_not_a_signer() {
    let mut params = authority("Authority", 5);
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    assert_eq!(outcome(&params), Err(BadProof::KeyUsage));
}

#[test]
fn times_outside_the_certificates_validity_are_refused() {
    let signer = |now| Signer::new(&ANN.certificate, &ANN.chain, &TENANT.roots(), now).map(|_| ());
    assert_eq!(signer(YEAR_2020 - 1), Err(BadProof::NotYetValid));
    assert_eq!(signer(YEAR_2020), Ok(()));
    assert_eq!(signer(YEAR_2090), Ok(()));
    assert_eq!(signer(YEAR_2090 + 1), Err(BadProof::Expired));

    // A cached signer's validity is checked for every message.
    let message = Forge::right(&ANN).build();
    let at = |now| cms::verify(&message, &RIGHT, &ANN.signer(), now).map(|_| ());
    assert_eq!(at(YEAR_2090), Ok(()));
    assert_eq!(at(YEAR_2090 + 1), Err(BadProof::Expired));
    assert_eq!(at(YEAR_2020 - 1), Err(BadProof::NotYetValid));
}

#[test]
fn a_signer_is_valid_as_long_as_the_first_of_its_path_to_expire() {
    let until = |root: i32, middle: i32| {
        let (mut of_root, mut of_middle) = (authority("R", 1), authority("M", 2));
        of_root.not_after = date_time_ymd(root, 1, 1);
        of_middle.not_after = date_time_ymd(middle, 1, 1);
        let tenant = Tenant::with(of_root, of_middle);
        let person = tenant.certify(KeyPair::generate().unwrap(), &named("Ann", 1));
        Signer::new(&person.certificate, &person.chain, &tenant.roots(), NOW)
            .map(|signer| signer.valid_until())
    };
    assert_eq!(until(2050, 2060), Ok(YEAR_2050));
    assert_eq!(until(2050, 2040), Ok(YEAR_2040));
    assert_eq!(until(2026, 2060), Err(BadProof::Expired));
    assert_eq!(until(2050, 2026), Err(BadProof::Expired));
}

#[test]
fn a_chain_to_another_authority_is_refused() {
    let stranger = STRANGERS.certify(KeyPair::generate().unwrap(), &named("Ann", 1));
    let outcome = |chain: &[Vec<u8>], roots: &Roots| {
        Signer::new(&stranger.certificate, chain, roots, NOW).map(|_| ())
    };
    assert_eq!(outcome(&stranger.chain, &STRANGERS.roots()), Ok(()));
    assert_eq!(outcome(&stranger.chain, &TENANT.roots()), Err(BadProof::Untrusted));
    assert_eq!(outcome(&stranger.chain, &Roots::new([]).unwrap()), Err(BadProof::Untrusted));
    let mut both = stranger.chain.clone();
    both.extend([TENANT.middle.clone(), STRANGERS.root.clone()]);
    assert_eq!(outcome(&both, &TENANT.roots()), Err(BadProof::Untrusted));
    assert_eq!(outcome(&[], &STRANGERS.roots()), Err(BadProof::Untrusted));

    // An authority of the same name, with another key.
    let twin = Tenant::new("Tenant");
    let person = twin.certify(KeyPair::generate().unwrap(), &named("Ann", 1));
    let forged = Signer::new(&person.certificate, &person.chain, &TENANT.roots(), NOW);
    assert_eq!(forged.map(|_| ()), Err(BadProof::Untrusted));
    let message = Forge::right(&person).build();
    assert_eq!(cms::inspect(&message, &TENANT.roots(), NOW), Err(BadProof::Untrusted));
}

#[test]
fn an_intermediate_must_be_allowed_to_certify() {
    let mut no_usage = authority("M", 2);
    no_usage.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut no_authority = named("M", 2);
    no_authority.key_usages = vec![];
    no_authority.is_ca = IsCa::NoCa;
    for (middle, reason) in [(no_usage, BadProof::KeyUsage), (no_authority, BadProof::Chain)] {
        let tenant = Tenant::with(authority("R", 1), middle);
        let person = tenant.certify(KeyPair::generate().unwrap(), &named("Ann", 1));
        let outcome = Signer::new(&person.certificate, &person.chain, &tenant.roots(), NOW);
        assert_eq!(outcome.map(|_| ()), Err(reason));
    }
    let mut short = authority("R", 1);
    short.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let tenant = Tenant::with(short, authority("M", 2));
    assert!(Roots::new([tenant.root.as_slice()]).is_ok());
}

#[test]
fn a_device_cannot_issue_certificates() {
    // Ann's device as an intermediate: a certificate by it does not chain to the tenant.
    let ann = rcgen::Issuer::new(named("Ann", 1), &ANN.key);
    let key = KeyPair::generate().unwrap();
    let mallory = named("Mallory", 6).signed_by(&key, &ann).unwrap().der().to_vec();
    let chain = [ANN.certificate.clone(), TENANT.middle.clone()];
    let outcome = Signer::new(&mallory, &chain, &TENANT.roots(), NOW).map(|_| ());
    assert!(matches!(outcome, Err(BadProof::Chain | BadProof::Untrusted)), "{outcome:?}");
}

#[test]
fn chains_and_certificates_are_bounded() {
    let chain = vec![TENANT.middle.clone(); 6];
    let outcome = Signer::new(&ANN.certificate, &chain, &TENANT.roots(), NOW);
    assert_eq!(outcome.map(|_| ()), Err(BadProof::ChainTooLong));
    let outcome = Signer::new(&vec![0x30; 20_000], &[], &TENANT.roots(), NOW);
    assert_eq!(outcome.map(|_| ()), Err(BadProof::Certificate));
    let mut trailing = ANN.certificate.clone();
    trailing.push(0);
    let outcome = Signer::new(&trailing, &ANN.chain, &TENANT.roots(), NOW);
    assert_eq!(outcome.map(|_| ()), Err(BadProof::Certificate));
    assert_eq!(Roots::new([b"no".as_slice()]).map(|_| ()), Err(BadProof::Certificate));
}

#[test]
fn a_root_must_be_allowed_to_certify() {
    let key = KeyPair::generate().unwrap();
    let own = named("Ann", 1).self_signed(&key).unwrap();
    assert_eq!(Roots::new([own.der().as_ref()]).map(|_| ()), Err(BadProof::KeyUsage));
    let mut no_usage = named("Ann", 1);
    no_usage.key_usages.clear();
    let own = no_usage.self_signed(&key).unwrap();
    assert_eq!(Roots::new([own.der().as_ref()]).map(|_| ()), Err(BadProof::KeyUsage));
}
