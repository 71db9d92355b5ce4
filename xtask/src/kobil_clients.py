"""Calls KOBIL's dialect and the token addresses of a real server with stock clients, unedited.

They are KOBIL's own client (kobil-sign), Authlib, and openid-client, which kobil_clients.mjs calls. Each gets only addresses and credentials.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile

BINARY = os.path.abspath(sys.argv[1])
NODE_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kobil_clients.mjs")
NODE_MODULES = os.path.abspath(sys.argv[2])
CA = "data/tls/ca.pem"


def run(*arguments):
    """The JSON output of an administrator's command."""
    command = [BINARY, *arguments, "--data", "data", "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def verifies(signature, message):
    """Whether OpenSSL accepts a CMS over this message, under the tenant's authority."""
    with open("signed.p7m", "wb") as file:
        file.write(base64.b64decode(signature))
    with open("tenant.pem", "w", encoding="utf-8") as file:
        file.write(run("ca", "export", "--tenant", "acme")["certificates"][0])
    command = ["openssl", "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", "signed.p7m"]
    command += ["-CAfile", "tenant.pem"]
    verified = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert verified.stdout == message.encode(), verified


def kobil_sign(address, client):
    """KOBIL's own client: tokens in both of its modes, a start whose response is held, and a PDF."""
    from kobil.sign import KobilSignError, SignClient

    realm = f"{address}/auth/realms/acme"
    for mode in ("post", "basic"):
        signer = SignClient(
            sign_base_url=f"{address}/digitanium/v4/users/{{USER_ID}}",
            token_endpoint=f"{realm}/protocol/openid-connect/token",
            client_id=client["client_id"],
            client_secret=client["client_secret"],
            token_auth_mode=mode,
            tenant_name="acme",
        )
        message = f"Pay 5 € by {mode}?"
        start = {
            "transactionId": mode,
            "deviceGoOnlineTimeout": 30,
            "deviceId": "-1",
            "signatureMessage": message,
            "signatureTimeout": "30",
        }
        answer = signer.send_json("POST", f"{realm}/v3_user/digitaniumsignature/jane", start)
        assert (answer["status"], answer["subSystem"]) == ("OK", 5), answer
        verifies(answer["data"]["signature"], message)
        try:
            signer.initiate_pdf_signature(
                "jane",
                b"%PDF-1.7",
                {"bottom_left_x": 1, "bottom_left_y": 1, "top_right_x": 2, "top_right_y": 2},
            )
            raise AssertionError("a PDF was accepted")
        except KobilSignError as refused:
            # Documents are not served through KOBIL's dialect; the refusal is in its envelope.
            told = json.loads(refused.response_body)
            assert (refused.status_code, told["status"]) == (415, "UNSUPPORTED_MEDIA_TYPE"), told


def authlib(address, client, account):
    """Authlib: metadata where RFC 8414 has it, tokens by both grants, their keys, introspection."""
    from authlib.integrations.requests_client import OAuth2Session, OAuthError
    from authlib.jose import JsonWebKey, JsonWebToken
    from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

    for path in ("/auth/realms/acme", "/trustedx-authserver/oauth/acme"):
        issuer = address + path
        for method in ("client_secret_basic", "client_secret_post"):
            session = OAuth2Session(
                client["client_id"], client["client_secret"], token_endpoint_auth_method=method
            )
            session.trust_env = False
            session.verify = CA
            url = get_well_known_url(issuer, external=True)
            metadata = AuthorizationServerMetadata(session.get(url, withhold_token=True).json())
            metadata.validate()
            assert metadata["issuer"] == issuer, metadata
            assert method in metadata.token_endpoint_auth_methods_supported, metadata
            token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
            keys = JsonWebKey.import_key_set(session.get(metadata["jwks_uri"]).json())
            claims = JsonWebToken(["ES256"]).decode(token["access_token"], keys)
            claims.validate()
            assert (claims["iss"], claims["client_id"]) == (issuer, client["client_id"]), claims
            if "introspection_endpoint" in metadata:
                told = session.introspect_token(
                    metadata["introspection_endpoint"], token=token["access_token"]
                )
                assert told.json()["active"], told.json()
            by_password = {"username": account["account"], "password": account["password"]}
            if "password" in metadata["grant_types_supported"]:
                assert session.fetch_token(metadata["token_endpoint"], **by_password)["access_token"]
                by_password["password"] = "another password"
            try:
                session.fetch_token(metadata["token_endpoint"], grant_type="password", **by_password)
                raise AssertionError("a wrong password was accepted")
            except OAuthError as refused:
                assert refused.error in ("invalid_grant", "unsupported_grant_type"), refused


def openid_client(address, client, account):
    given = {"address": address, "client": client, "account": account}
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": CA, "OPENID_CLIENT": NODE_MODULES}
    subprocess.run(["node", NODE_SCRIPT, json.dumps(given)], check=True, env=environment)


def main():
    run("tenant", "create", "acme")
    client = run("client", "create", "Shop", "--tenant", "acme")
    account = run("client", "set-password", client["client_id"], "--tenant", "acme", "--account", "robot")
    run("user", "create", "jane", "--tenant", "acme")
    activation = run("activation", "create", "jane", "--tenant", "acme")
    with open("config.toml", "w", encoding="utf-8") as file:
        file.write('[server]\ndefault_tenant = "acme"\n[observe]\nlisten = "127.0.0.1:0"\nlog = "error"\n')
    serve = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", "data", "--config", "config.toml"]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    phone = None
    try:
        address = server.stdout.readline().strip().removeprefix("ready ")
        assert address.startswith("https://"), address
        enrol = [BINARY, "device", "enrol", "--server", address, "--ca", CA, "--tenant", "acme"]
        enrol += ["--user", "jane", "--code", activation["code"], "--out", "phone.json"]
        subprocess.run(enrol, check=True, stdout=subprocess.DEVNULL)
        answer = [BINARY, "device", "run", "phone.json", "--answer", "approve", "--json"]
        phone = subprocess.Popen(answer, stdout=subprocess.DEVNULL)
        # The trust store of urllib, which KOBIL's client uses.
        os.environ["SSL_CERT_FILE"] = CA
        kobil_sign(address, client)
        authlib(address, client, account)
        openid_client(address, client, account)
        print("kobil-sign, Authlib and openid-client were answered as they expect")
    finally:
        for process in (phone, server):
            if process is not None:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        main()
