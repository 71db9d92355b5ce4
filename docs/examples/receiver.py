"""A receiver of Countersign's callbacks, with nothing but Python's standard library.

It checks each call's signature, takes each delivery once, and prints what it was told.

    WEBHOOK_SECRET=whsec_… python3 receiver.py --certificate server.pem --key server.key --port 9443

The certificate's authority must be one that the server trusts: the platform's, or one that is named
in `delivery.extra_ca_file`.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import json
import os
import ssl
import sys
import time

BODY_BYTES_MAX = 1024 * 1024
CLOCK_SKEW_MAX = 5 * 60  # seconds


def is_genuine(secret: str, headers, body: bytes, now: float) -> bool:
    """Whether `body` was sent by whoever knows the secret, and lately (Standard Webhooks)."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    identity, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(now - int(sent_at)) > CLOCK_SKEW_MAX:
        return False
    signed = f"{identity}.{sent_at}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    # There are two signatures while a secret is changed: one of them must be ours.
    signatures = headers.get("webhook-signature", "").split(" ")
    return any(
        hmac.compare_digest(b"v1," + expected, signature.encode()) for signature in signatures
    )


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    seen = set()  # In earnest: a table with a unique key, in the same commit as what you do.

    def do_POST(self):
        length = int(self.headers.get("content-length", "0"))
        if length > BODY_BYTES_MAX:
            return self.answer(413)
        body = self.rfile.read(length)
        if not is_genuine(os.environ["WEBHOOK_SECRET"], self.headers, body, time.time()):
            return self.answer(401)
        identity = self.headers["webhook-id"]
        if identity not in self.seen:
            self.seen.add(identity)
            print(identity, json.loads(body)["data"]["resultCode"], flush=True)
        self.answer(204)  # Only now: what is answered with 2xx is not sent again.

    def answer(self, status: int):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--certificate", required=True)
    arguments.add_argument("--key", required=True)
    arguments.add_argument("--port", type=int, default=9443)
    arguments = arguments.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), Receiver)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(arguments.certificate, arguments.key)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print("listening on", server.server_port, file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
