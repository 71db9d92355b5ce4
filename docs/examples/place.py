"""Places a TrustedX signature in a CMS beside the document that it is over (RFC 5652).

    curl … …/signatures/{id}/result > result.json
    python3 place.py result.json document.pdf > document.p7s
    openssl cms -verify -binary -inform DER -in document.p7s -content document.pdf -CAfile tenant-ca.pem

The signature of a `sign:raw` or `sign:commitment:document` is over the digest that the application
gave. If that is the document's own, it is what a CMS without signed attributes holds (RFC 5652,
section 5.4), so the CMS can be made around it afterwards, by anyone, without a key. Certificates
between the signer's and the root go behind it: `--chain intermediate.pem`. OpenSSL's `-cades` asks for a
signed attribute, so it does not apply to such a message.

With nothing but Python's standard library.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import ssl
import sys

SIGNED_DATA = "1.2.840.113549.1.7.2"
DATA = "1.2.840.113549.1.7.1"
DIGESTS = {  # RFC 5754, section 2
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
RSA = "1.2.840.113549.1.1.1"  # RFC 3370, section 3.2: rsaEncryption, with NULL
ECDSA = {  # RFC 5758, section 3.2: without parameters
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}

INTEGER, OCTETS, NULL, OID, SEQUENCE, SET, CONTEXT_0 = 0x02, 0x04, 0x05, 0x06, 0x30, 0x31, 0xA0


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def oid(dotted: str) -> bytes:
    first, second, *others = map(int, dotted.split("."))
    content = b""
    for number in (40 * first + second, *others):
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.insert(0, 0x80 | number & 0x7F)
        content += bytes(septets)
    return der(OID, content)


def split(encoded: bytes) -> list[bytes]:
    """The elements, whole, that one constructed element holds."""
    _, start, end = span(encoded, 0)
    elements = []
    while start < end:
        _, _, after = span(encoded, start)
        elements.append(encoded[start:after])
        start = after
    return elements


def span(encoded: bytes, at: int) -> tuple[int, int, int]:
    """Of the element at an offset: its tag, where its content begins, and where it ends."""
    length, start = encoded[at + 1], at + 2
    if length >= 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(encoded[start : start + size], "big"), start + size
    return encoded[at], start, start + length


def issuer_and_serial_number(certificate: bytes) -> bytes:
    fields = split(split(certificate)[0])
    if fields[0][0] == CONTEXT_0:  # the version, which only the first one leaves out
        fields = fields[1:]
    serial_number, _, issuer = fields[:3]
    return der(SEQUENCE, issuer, serial_number)


def place(signature: bytes, algorithm: str, certificate: bytes, chain: list[bytes]) -> bytes:
    """The CMS around a signature, without the document."""
    scheme, _, digest = algorithm.partition("-")
    digest_algorithm = der(SEQUENCE, oid(DIGESTS[digest]))
    if scheme == "rsa":
        signature_algorithm = der(SEQUENCE, oid(RSA), der(NULL))
    else:
        signature_algorithm = der(SEQUENCE, oid(ECDSA[digest]))
    signer = der(
        SEQUENCE,
        der(INTEGER, b"\x01"),
        issuer_and_serial_number(certificate),
        digest_algorithm,
        signature_algorithm,
        der(OCTETS, signature),
    )
    signed_data = der(
        SEQUENCE,
        der(INTEGER, b"\x01"),
        der(SET, digest_algorithm),
        der(SEQUENCE, oid(DATA)),
        der(CONTEXT_0, *sorted([certificate, *chain])),
        der(SET, signer),
    )
    return der(SEQUENCE, oid(SIGNED_DATA), der(CONTEXT_0, signed_data))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=pathlib.Path, help="what …/result answered")
    parser.add_argument("document", type=pathlib.Path, help="what its digest is of")
    parser.add_argument("--digest", help="the digest_value that was sent, to be compared")
    parser.add_argument("--chain", type=pathlib.Path, action="append", default=[], help="PEM")
    given = parser.parse_args()

    result = json.loads(given.result.read_text())
    if result["status"] != "finished":
        sys.exit(f"there is no signature: {result['status']}, {result.get('value', '')}")
    algorithm = result["signature_algorithm"]
    digest = hashlib.new(algorithm.partition("-")[2], given.document.read_bytes()).digest()
    if given.digest and base64.b64decode(given.digest) != digest:
        sys.exit("the signature is over another document's digest")
    certificate = base64.b64decode(result["sign_identity"]["details"]["certificate"])
    chain = [ssl.PEM_cert_to_DER_cert(path.read_text()) for path in given.chain]
    placed = place(base64.b64decode(result["value"]), algorithm, certificate, chain)
    sys.stdout.buffer.write(placed)


if __name__ == "__main__":
    main()
