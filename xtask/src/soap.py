"""Calls the SOAP dialect of a real server with zeep, a stock client, which loads the served service description.

The device is the command line's. If the bank's system completes a request for it, this script makes the code (RFC 6287).
"""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
import threading

BINARY = os.path.abspath(sys.argv[1])
COMPONENT = "Shop & Söhne"
WITHOUT_CREDENTIALS = "Sample Client"
FIELDS = {"dataField": [{"key": "To", "value": "Ann <&> Bob"}, {"key": "Amount", "value": "5 €"}]}


def run(*arguments):
    """The JSON output of an administrator's command."""
    command = [BINARY, *arguments, "--data", "data", "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def code(device, transaction, content):
    """The eight digits of a device's code: OCRA-1:HOTP-SHA256-8:QH64 (RFC 6287)."""
    media_type = b"application/vnd.countersign.statement+json"
    asked = b"\0".join([bytes.fromhex(transaction), media_type, content])
    question = hashlib.sha256(asked).digest()
    key = base64.urlsafe_b64decode(device["code_key"] + "==")
    message = b"OCRA-1:HOTP-SHA256-8:QH64\0" + question.ljust(128, b"\0")
    mac = hmac.new(key, message, hashlib.sha256).digest()
    at = mac[-1] & 15
    number = int.from_bytes(mac[at : at + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**8:08}"


def attributes(prefix="SIGNFLD", **values):
    """The arguments in the form of a list of attributes."""
    listed = {f"{prefix}_COMPONENT_TYPE": COMPONENT, f"{prefix}_USERID": "jane", **values}
    return {"attributes": [{"attributeID": id, "value": value} for id, value in listed.items()]}


def value(results, wanted):
    """One attribute of an answer in that form."""
    found = [one.value for one in results.resultAttribute.attributes if one.attributeID == wanted]
    assert len(found) == 1, (wanted, results)
    return found[0]


def succeeded(status):
    codes = status.resultCodes
    assert (codes.returnCodeEnum, codes.returnCode) == ("RET_SUCCESS", 0), status
    assert (codes.statusCodeEnum, codes.statusCode) == ("STAT_SUCCESS", 0), status


def failed(status, name):
    assert status.resultCodes.statusCodeEnum == name, status
    assert status.resultCodes.returnCodeEnum == "RET_FAILURE", status


class Waiting(threading.Thread):
    """A call whose answer is held until the transaction ends."""

    def __init__(self, call, **arguments):
        super().__init__(daemon=True)
        self.answer = None
        self.call = lambda: call(**arguments)
        self.start()

    def run(self):
        self.answer = self.call()

    def ended(self):
        self.join(60)
        assert self.answer is not None, "the call was not answered"
        return self.answer


def only_open(key=None):
    """The id and the key of the open transaction, as soon as there is one."""
    while True:
        rows = run("transaction", "list", "--tenant", "acme")
        rows = [row for row in rows if row["state"] in ("waiting", "taken")]
        if rows:
            assert key in (None, rows[0]["request_key"]), rows
            return rows[0]


def drive(service, logins, device):
    user = {"userID": "jane", "domain": "acme"}
    serial = device["serial_number"]
    push = {"title": "Pay?", "dataFieldList": FIELDS}

    # The user signs on the command line's device.
    phone = subprocess.Popen(
        [BINARY, "device", "run", "phone.json", "--answer", "approve", "--count", "2", "--json"],
        stdout=subprocess.DEVNULL,
    )
    for addressed in ({}, {"serialNumber": serial}):
        signed = service.authSignatureRequest(componentType=COMPONENT, user=user, push=push, **addressed)
        succeeded(signed.status)
        assert (signed.result.user.userID, signed.result.serialNumber) == ("jane", serial), signed
        assert signed.result.signature, signed
    assert phone.wait(60) == 0

    # A request key is made and scanned; the bank's system fetches and completes the request for the
    # phone.
    content = '{"message":"Pay?","rows":[["To","Ann <&> Bob"],["Amount","5 €"]]}'.encode()
    for listed in (False, True):
        if listed:
            chosen = attributes(SIGNFLD_AUTH_TYPE="SCAN", SIGNFLD_TRANSACTION_TITLE="Pay?")
            made = service.genRequest(attributeSet=chosen, dataFieldList=FIELDS).results
            succeeded(made)
            key = value(made, "SIGNFLD_REQUEST_KEY")
        else:
            made = service.genRequest(
                componentType=COMPONENT, user=user, authType="SCAN", title="Pay?", dataFieldList=FIELDS
            )
            succeeded(made.status)
            key = made.result.requestKey
            assert made.result.requestImage.startswith(b"\x89PNG"), made
        assert len(key) == 10 and key.isdigit(), key
        transaction = only_open(key)["id"]
        waiting = Waiting(service.authSignatureRequest, componentType=COMPONENT, user=user, requestKey=key)
        fetch = {"componentType": COMPONENT, "serialNumber": serial, "requestKey": key}
        fetched = service.getPreparedSignatureRequest(**fetch)
        succeeded(fetched.status)
        assert fetched.result.requestMessage, fetched
        failed(service.getPreparedSignatureRequest(**fetch).status, "STAT_NOT_FOUND")
        digits = code(device, transaction, content)
        wrong = f"{(int(digits) + 1) % 10**8:08}"
        for given in (wrong, digits):
            if listed:
                chosen = attributes(SIGNFLD_REQUEST_KEY=key, SIGNFLD_SIGNATURE=given)
                done = service.authSignature(attributeSet=chosen).results
            else:
                done = service.authSignature(
                    componentType=COMPONENT, user=user, requestKey=key, signature=given
                ).status
            if given == wrong:
                failed(done, "STAT_INVCREDENTIALS")
            else:
                succeeded(done)
        signed = waiting.ended()
        succeeded(signed.status)
        assert signed.result.signature == digits, signed

    # A login, which the bank's system completes for the phone too.
    challenge = attributes("CREDFLD", CREDFLD_TRANSACTION_TITLE="Log in, Jane?")
    # zeep answers the only child of an answer itself: `results`.
    made = logins.getSecureChallenge(credentialAttributeSet=challenge)
    succeeded(made)
    assert base64.b64decode(value(made, "CREDFLD_REQUEST_IMAGE")).startswith(b"\x89PNG"), made
    key = value(made, "CREDFLD_CHALLENGE_KEY")
    phone = [BINARY, "device", "scan", "phone.json", key, "--answer", "approve", "--code"]
    subprocess.run(phone, check=True, stdout=subprocess.DEVNULL)
    entered = service.authUserRequest(componentType=COMPONENT, user=user, challengeKey=key)
    succeeded(entered.status)
    assert entered.result.signature.isdigit(), entered

    # A refused request gets a status, and a malformed one a fault.
    both = service.authSignatureRequest(componentType="Another", user=user, push=push)
    failed(both.status, "STAT_INVPARAM")
    nobody = {"userID": "nobody"}
    unknown = service.authSignatureRequest(componentType=COMPONENT, user=nobody, push=push)
    failed(unknown.status, "STAT_NOT_FOUND")
    plain = {"componentType": COMPONENT, "serialNumber": serial, "requestKeyMessage": "0000000042"}
    failed(service.cancelAuthSignatureRequest(**plain), "STAT_INVPARAM")
    return 16


def served(work):
    """Calls `work` with the address of a real server and a client of it, which has a user with a device."""
    run("tenant", "create", "acme")
    client = run("client", "create", COMPONENT, "--tenant", "acme")
    run("user", "create", "jane", "--tenant", "acme")
    activation = run("activation", "create", "jane", "--tenant", "acme")
    serve = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", "data", "--config", "config.toml"]
    with open("config.toml", "w", encoding="utf-8") as file:
        file.write(f'''
[[onespan.component]]
type = "{WITHOUT_CREDENTIALS}"
client = "{client["client_id"]}"
networks = ["127.0.0.1"]

[observe]
listen = "127.0.0.1:0"
log = "error"
''')
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip().removeprefix("ready ")
        assert address.startswith("https://"), address
        enrol = [BINARY, "device", "enrol", "--server", address, "--ca", "data/tls/ca.pem", "--tenant", "acme"]
        enrol += ["--user", "jane", "--code", activation["code"], "--out", "phone.json"]
        subprocess.run(enrol, check=True, stdout=subprocess.DEVNULL)
        work(address, client)
    finally:
        server.terminate()
        server.wait()


def main(address, client):
    import requests
    import zeep

    with open("phone.json", encoding="utf-8") as file:
        device = json.load(file)
    session = requests.Session()
    session.trust_env = False
    session.verify = "data/tls/ca.pem"
    session.auth = (client["client_id"], client["client_secret"])
    transport = zeep.Transport(session=session, operation_timeout=60)
    stock = zeep.Client(f"{address}/onespan/soap?wsdl", transport=transport)
    service = stock.service
    answered = drive(service, stock.bind("Signature", "Authentication"), device)
    session.auth = (client["client_id"], "another secret")
    try:
        service.cancelAuthSignatureRequest("x", "x", "x")
        raise AssertionError("a wrong secret was accepted")
    except (zeep.exceptions.Fault, zeep.exceptions.TransportError):
        pass
    print(f"{answered} calls of zeep's, answered as the reference specifies")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        served(main)
