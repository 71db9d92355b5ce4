"""Calls the SOAP dialect of a real server with stock clients, unedited, which load the served service description.

They are PHP's SoapClient, soap of npm, and JAX-WS, whose wsimport makes Java from the description. Each has a script beside this one.
The script makes the calls. On its standard output it asks for the device's part, one line a request, and gets one line for each:

approve            the device takes and signs the next transaction that is offered to it
scan KEY           the device scans the request key, and signs
code KEY MESSAGE   the code of the device for a message without fields, or for the one of FIELDS if none is given
done N             the script made N calls, and ends
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import soap

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT = sys.argv[2]
NODE_MODULES = os.path.abspath(sys.argv[3]) if CLIENT == "node" else None
CA = "data/tls/ca.pem"
STATEMENT = {"message": "Pay?", "rows": [["To", "Ann <&> Bob"], ["Amount", "5 €"]]}


def php(_address):
    return "PHP's SoapClient", ["php", f"{HERE}/soap_clients.php"], {}


def node(_address):
    environment = {"NODE_EXTRA_CA_CERTS": CA, "SOAP_MODULES": NODE_MODULES}
    return "soap of npm", ["node", f"{HERE}/soap_clients.mjs"], environment


def java(address):
    """Makes the classes from the service description, and compiles them with the script."""
    trusted = ["-storetype", "PKCS12", "-keystore", "trusted.p12", "-storepass", "trusted"]
    imported = ["keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", CA, *trusted]
    subprocess.run(imported, check=True, stderr=subprocess.DEVNULL)
    options = ["-Djavax.net.ssl.trustStore=trusted.p12", "-Djavax.net.ssl.trustStorePassword=trusted"]
    os.mkdir("classes")
    generated = ["wsimport", "-quiet", "-d", "classes", f"{address}/onespan/soap?wsdl"]
    subprocess.run(generated, check=True, env={**os.environ, "WSIMPORT_OPTS": " ".join(options)})
    # Debian's library names the others that it needs in its manifest.
    path = "/usr/share/java/jaxws-rt.jar:classes"
    shutil.copy(f"{HERE}/soap_clients.java", "SoapClients.java")
    subprocess.run(["javac", "-cp", path, "-d", "classes", "SoapClients.java"], check=True)
    # Debian's libraries know this class by its old name only, and warn of it.
    options.append("-Djavax.xml.soap.SAAJMetaFactory=com.sun.xml.messaging.saaj.soap.SAAJMetaFactoryImpl")
    return "JAX-WS", ["java", *options, "-cp", path, "SoapClients"], {}


class Phone:
    """The user's device, which does what the script asks for."""

    def __init__(self):
        with open("phone.json", encoding="utf-8") as file:
            self.device = json.load(file)
        self.running = []

    def does(self, request):
        """The answer to one line of the script."""
        verb, _, rest = request.partition(" ")
        key, _, message = rest.partition(" ")
        if verb == "approve":
            return self.start("run", "phone.json", "--count", "1", "--json")
        if verb == "scan":
            return self.start("scan", "phone.json", key, "--code")
        assert verb == "code", request
        statement = {"message": message, "rows": []} if message else STATEMENT
        content = json.dumps(statement, ensure_ascii=False, separators=(",", ":"))
        return soap.code(self.device, soap.only_open(key)["id"], content.encode())

    def start(self, *arguments):
        command = [soap.BINARY, "device", *arguments, "--answer", "approve"]
        self.running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        return "started"

    def ended(self):
        for process in self.running:
            assert process.wait(60) == 0, process.args


def drive(address, client):
    name, command, environment = {"php": php, "node": node, "java": java}[CLIENT](address)
    phone = Phone()
    given = {
        "wsdl": f"{address}/onespan/soap?wsdl",
        "id": client["client_id"],
        "secret": client["client_secret"],
        "component": soap.COMPONENT,
        "serial": phone.device["serial_number"],
        "sample": soap.WITHOUT_CREDENTIALS,
        "ca": CA,
    }
    script = subprocess.Popen(
        command + list(given.values()),
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    calls = 0
    try:
        for line in script.stdout:
            request = line.rstrip("\n")
            if request.startswith("done "):
                calls = int(request.removeprefix("done "))
                break
            print(phone.does(request), file=script.stdin, flush=True)
        assert script.wait(60) == 0 and calls, f"{name} failed"
    finally:
        script.kill()
        script.wait()
    phone.ended()
    print(f"{calls} calls of {name}, answered as the reference specifies")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        soap.served(drive)
