"""Calls TrustedX's dialect of a real server with pyHanko, Authlib and requests, unedited.

pyHanko signs PDFs and CMS messages. Its signer asks for each signature by a process, and a person's
device makes it. pyHanko, OpenSSL and `countersign verify` verify what pyHanko wrote. Each client
gets only addresses and credentials.
"""

import asyncio
import base64
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from io import BytesIO

from asn1crypto import algos, core, pem, x509
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509 import load_der_x509_certificate
from pyhanko.pdf_utils.generic import ArrayObject, DictionaryObject, StreamObject
from pyhanko.pdf_utils.generic import NumberObject as Number
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter
from pyhanko.sign import signers
from pyhanko.sign.ades.asn1_util import register_cms_attribute
from pyhanko.sign.attributes import CMSAttributeProvider
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.general import SigningError
from pyhanko.sign.signers.pdf_cms import (
    GenericCMSSignedAttributeProviderSpec as DefaultAttributes,
)
from pyhanko.sign.signers.pdf_cms import PdfCMSSignedAttributes
from pyhanko.sign.validation import KeyUsageConstraints, validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

BINARY = os.path.abspath(sys.argv[1])
CA = "data/tls/ca.pem"
KEYS_AND_DIGESTS = (
    ("p256", "sha256"),
    ("p256", "sha384"),
    ("p384", "sha256"),
    ("p384", "sha384"),
    ("rsa2048", "sha256"),
    ("rsa2048", "sha512"),
)
CONTENT = "Pay 5 €?".encode()
TRANSACTION = bytes(range(16))
HTML = "<p>Lease of <b>Ann &amp; Bob</b>, 500 €</p>"


def run(*arguments):
    """The JSON output of an administrator's command."""
    command = [BINARY, *arguments, "--data", "data", "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


class TrustedX:
    """The calls of an application, at the addresses that the server names."""

    def __init__(self, address, client):
        self.base = f"{address}/trustedx-resources/esigp/v1"
        self.session = OAuth2Session(client["client_id"], client["client_secret"])
        self.session.trust_env = False
        self.session.verify = CA
        url = get_well_known_url(f"{address}/trustedx-authserver/oauth/acme", external=True)
        metadata = self.session.get(url, withhold_token=True).json()
        self.metadata = AuthorizationServerMetadata(metadata)
        self.metadata.validate()
        self.take_token(scope=None)

    def take_token(self, scope):
        grant = {"grant_type": "client_credentials"}
        if scope is not None:
            grant["scope"] = scope
        return self.session.fetch_token(self.metadata["token_endpoint"], **grant)

    def answer(self, method, url, status=200, **given):
        """The JSON of one call."""
        response = self.session.request(method, url, **given)
        assert response.status_code == status, (method, url, response.status_code, response.text)
        return response.json()

    def identity(self, label):
        """The one identity with this label, with its certificate."""
        query = {"labels": label, "user_id": "jane"}
        found = self.answer("GET", f"{self.base}/sign_identities", params=query)["sign_identities"]
        found = [one for one in found if "sign:raw" in one["links"]]
        assert len(found) == 1, found
        return self.answer("GET", found[0]["self"])["identity"]

    def start(self, identity, algorithm, digest, **data):
        """Starts a process that only this certificate can sign."""
        selector = {key: identity[key] for key in ("type", "device_id")}
        selector["details"] = {"certificate": identity["details"]["certificate"]}
        asked = {
            "digest_value": base64.b64encode(digest).decode(),
            "digest_algorithm": algorithm,
            **data,
        }
        body = {"input": asked, "sign_identities": [selector]}
        url = f"{self.base}/signatures/device/raw"
        return self.answer("POST", url, status=201, json=body)["signature"]

    def result(self, process):
        """Polls, and takes any error for "not yet", as the public clients of TrustedX do."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            response = self.session.get(f"{process['self']}/result")
            if response.status_code == 200:
                return response.json()
            assert response.status_code == 404, (response.status_code, response.text)
            time.sleep(0.1)
        raise AssertionError("the process has not ended")


class DeviceSigner(signers.Signer):
    """pyHanko's own extension point: a signer whose key is elsewhere, on the person's device."""

    def __init__(self, trustedx, identity):
        certificate = x509.Certificate.load(base64.b64decode(identity["details"]["certificate"]))
        super().__init__(signing_cert=certificate)
        self.trustedx, self.identity = trustedx, identity
        self.processes = []

    async def async_sign_raw(self, data, digest_algorithm, dry_run=False):
        if dry_run:
            return bytes(self.signing_cert.public_key.byte_size * 4)
        return await asyncio.to_thread(self.by_process, data, digest_algorithm)

    def by_process(self, data, algorithm):
        digest = hashlib.new(algorithm, data).digest()
        process = self.trustedx.start(self.identity, algorithm, digest)
        self.processes.append(process)
        result = self.trustedx.result(process)
        if result["status"] != "finished":
            raise SigningError(f"{result['status']}: {result.get('value')}")
        scheme = self.get_signature_mechanism_for_digest(algorithm)
        family = {"ecdsa": "ecdsa", "rsassa_pkcs1v15": "rsa"}[scheme.signature_algo]
        assert result["signature_algorithm"] == f"{family}-{algorithm}", (result, scheme.native)
        assert result["sign_identity"]["id"] == self.identity["id"], result
        return base64.b64decode(result["value"])


def blank_pdf():
    """A PDF of one page."""
    writer = PdfFileWriter()
    box = ArrayObject(map(Number, (0, 0, 200, 100)))
    contents = writer.add_object(StreamObject(stream_data=b"20 20 160 60 re S"))
    writer.insert_page(PageObject(contents=contents, media_box=box, resources=DictionaryObject()))
    output = BytesIO()
    writer.write(output)
    return output


def pdf_status(document, root):
    """What pyHanko says of a PDF's only signature, and the signature."""
    (embedded,) = PdfFileReader(BytesIO(document)).embedded_signatures
    trust = ValidationContext(trust_roots=[root], allow_fetching=False)
    usage = KeyUsageConstraints(key_usage={"non_repudiation"})
    return validate_pdf_signature(embedded, trust, key_usage_settings=usage), embedded


def openssl_accepts(placed, content):
    """Whether OpenSSL accepts a CMS under the tenant's authority; `content` is beside it."""
    with open("signed.p7m", "wb") as file:
        file.write(placed)
    with open("content", "wb") as file:
        file.write(content)
    command = ["openssl", "cms", "-verify", "-cades", "-binary", "-inform", "DER"]
    command += ["-in", "signed.p7m", "-content", "content", "-CAfile", "tenant.pem"]
    command += ["-out", os.devnull]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def pdf(trustedx, label, algorithm, form, roots):
    """A PDF that pyHanko signs in one of its two forms, and that others verify."""
    signer = DeviceSigner(trustedx, trustedx.identity(label))
    metadata = signers.PdfSignatureMetadata(
        field_name="Tenant", md_algorithm=algorithm, subfilter=form, reason="Lease"
    )
    signed = signers.sign_pdf(IncrementalPdfFileWriter(blank_pdf()), metadata, signer=signer)
    document = signed.getvalue()
    (process,) = signer.processes

    status, embedded = pdf_status(document, roots[0])
    assert status.bottom_line, status.summary()
    assert status.signing_cert.dump() == signer.signing_cert.dump(), status
    untrusted, _ = pdf_status(document, roots[1])
    assert untrusted.intact and untrusted.valid and not untrusted.trusted, untrusted.summary()
    changed, _ = pdf_status(document.replace(b"160 60 re", b"160 61 re"), roots[0])
    assert not changed.intact, changed.summary()

    begin, length, resumed, rest = embedded.byte_range
    content = document[begin : begin + length] + document[resumed : resumed + rest]
    placed = embedded.pkcs7_content
    assert openssl_accepts(placed, content), (label, form)
    assert not openssl_accepts(placed, content + b" "), (label, form)
    if shutil.which("pdfsig"):
        with open("signed.pdf", "wb") as file:
            file.write(document)
        command = ["pdfsig", "-nocert", "signed.pdf"]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
        assert "Signature is Valid" in told, told

    # TrustedX's clients delete a process at its end.
    assert trustedx.answer("DELETE", process["self"])["signature"]["id"] == process["id"]
    trustedx.answer("GET", f"{process['self']}/result", status=410)


class Given(CMSAttributeProvider):
    """A signed attribute with a value that is known beforehand."""

    def __init__(self, kind, value):
        self.attribute_type, self.value = kind, value

    async def build_attr_value(self, dry_run=False):
        return self.value


class WithStatement(DefaultAttributes):
    """pyHanko's default attributes, RFC 6211's with them, and Countersign's two."""

    def signed_attr_providers(self, data_digest, digest_algorithm):
        yield from super().signed_attr_providers(data_digest, digest_algorithm)
        yield Given("mime_type", core.UTF8String("text/plain;charset=utf-8"))
        yield Given("content_identifier", core.OctetString(TRANSACTION))


def message(trustedx, label, named=None):
    """Writes a CMS of pyHanko's with Countersign's attributes, and returns its certificate.

    RFC 6211's attribute names the signature's algorithm, or else this one.
    """
    signer = DeviceSigner(trustedx, trustedx.identity(label))
    mechanism = signer.get_signature_mechanism_for_digest
    if named is not None:
        mechanism = lambda _: algos.SignedDigestAlgorithm({"algorithm": named})
    now = PdfCMSSignedAttributes(signing_time=datetime.now(timezone.utc))
    signer.signed_attr_prov_spec = WithStatement(now, signer.signing_cert, mechanism, None)
    signing = signer.async_sign_general_data(CONTENT, "sha256", detached=False)
    written = asyncio.run(signing)
    (signer_info,) = written["content"]["signer_infos"]
    kinds = {attribute["type"].native for attribute in signer_info["signed_attrs"]}
    assert "cms_algorithm_protection" in kinds, kinds
    with open("payment.p7m", "wb") as file:
        file.write(written.dump())
    return signer.signing_cert.dump()


def verified_offline(trustedx, label, other_algorithm):
    """`countersign verify` accepts pyHanko's default attributes, and checks RFC 6211's."""
    verify = [BINARY, "verify", "payment.p7m", "--ca", "tenant.pem", "--json"]
    certificate = message(trustedx, label)
    verified = json.loads(subprocess.run(verify, check=True, stdout=subprocess.PIPE).stdout)
    assert base64.b64decode(verified["content"]) == CONTENT, verified
    assert verified["transaction"] == TRANSACTION.hex(), verified
    assert base64.b64decode(verified["certificate"]) == certificate, verified

    message(trustedx, label, named=other_algorithm)
    refused = subprocess.run(verify, capture_output=True, text=True)
    assert refused.returncode == 1 and "RFC 6211" in refused.stderr, refused


def declined(trustedx, label):
    """A person's refusal is an error of pyHanko's signer."""
    signer = DeviceSigner(trustedx, trustedx.identity(label))
    metadata = signers.PdfSignatureMetadata(field_name="Tenant", md_algorithm="sha256")
    try:
        signers.sign_pdf(IncrementalPdfFileWriter(blank_pdf()), metadata, signer=signer)
        raise AssertionError("a PDF was signed although its person declined")
    except SigningError as refused:
        assert str(refused).startswith("canceled"), refused


def html(trustedx, label):
    """A process with HTML, read at its resource and at its result."""
    identity = trustedx.identity(label)
    # The scope that the identity says is enough.
    (scope,) = identity["links"]["sign:raw"]["auth"]["oauth2"]["scopes"]
    assert scope in trustedx.metadata["scopes_supported"], trustedx.metadata
    assert trustedx.take_token(scope)["scope"] == scope
    digest = hashlib.sha256(b"the lease").digest()
    shown = {"html": base64.b64encode(HTML.encode()).decode()}
    process = trustedx.start(identity, "sha256", digest, data_info=shown)
    assert process["input"]["data_info"] == shown, process
    result = trustedx.result(process)
    resource = trustedx.answer("GET", process["self"])["signature"]
    assert resource["result"] == result, (resource, result)
    assert resource["input"] == process["input"], resource
    assert (result["status"], result["signature_algorithm"]) == ("finished", "ecdsa-sha256"), result
    certificate = load_der_x509_certificate(base64.b64decode(identity["details"]["certificate"]))
    prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    certificate.public_key().verify(base64.b64decode(result["value"]), digest, prehashed)


def root(tenant):
    return run("ca", "export", "--tenant", tenant)["certificates"][0]


def enrol(address, label, key, answer):
    """A device of the command line that answers everything in this way."""
    activation = run("activation", "create", "jane", "--tenant", "acme", "--label", label)
    file = f"{label}.json"
    command = [BINARY, "device", "enrol", "--server", address, "--ca", CA, "--tenant", "acme"]
    command += ["--user", "jane", "--code", activation["code"], "--key", key, "--out", file]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    device = [BINARY, "device", "run", file, "--answer", answer, "--json"]
    return subprocess.Popen(device, stdout=subprocess.DEVNULL)


def drive(address, client):
    register_cms_attribute("1.2.840.113549.1.9.16.2.7", "content_identifier", core.OctetString)
    roots = []
    for tenant in ("acme", "other"):
        exported = root(tenant)
        roots.append(x509.Certificate.load(pem.unarmor(exported.encode())[2]))
        if tenant == "acme":
            with open("tenant.pem", "w", encoding="utf-8") as file:
                file.write(exported)
    trustedx = TrustedX(address, client)
    for form in (SigSeedSubFilter.ADOBE_PKCS7_DETACHED, SigSeedSubFilter.PADES):
        for label, algorithm in KEYS_AND_DIGESTS:
            pdf(trustedx, label, algorithm, form, roots)
    for label, other in (("p256", "sha384_ecdsa"), ("rsa2048", "sha384_rsa")):
        verified_offline(trustedx, label, other)
    declined(trustedx, "declines")
    html(trustedx, "p256")


def main():
    for tenant in ("acme", "other"):
        run("tenant", "create", tenant)
    roles = ("--role", "ask", "--role", "people")
    client = run("client", "create", "Archive", "--tenant", "acme", *roles)
    run("user", "create", "jane", "--tenant", "acme")
    with open("config.toml", "w", encoding="utf-8") as file:
        file.write('[observe]\nlisten = "127.0.0.1:0"\nlog = "error"\n')
    serve = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", "data"]
    serve += ["--config", "config.toml"]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    started = [server]
    try:
        address = server.stdout.readline().strip().removeprefix("ready ")
        assert address.startswith("https://"), address
        for key in ("p256", "p384", "rsa2048"):
            started.append(enrol(address, key, key, "approve"))
        started.append(enrol(address, "declines", "p256", "decline"))
        # pyHanko logs each chain that it cannot build; one is tried on purpose.
        logging.getLogger("pyhanko").setLevel(logging.CRITICAL)
        drive(address, client)
        print("pyHanko, Authlib and requests were answered as they expect")
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        main()
