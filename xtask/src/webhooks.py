"""Compares docs/vectors/webhooks.json, the vectors of our signatures, with Standard Webhooks' own library."""

import datetime
import json
import sys

from standardwebhooks.webhooks import Webhook

with open(sys.argv[1], encoding="utf-8") as file:
    cases = json.load(file)["cases"]
for case in cases:
    at = datetime.datetime.fromtimestamp(case["timestamp"], datetime.timezone.utc)
    signature = Webhook(case["secret"]).sign(case["id"], at, case["body"])
    assert signature == case["signature"], case["id"]
print(f"{len(cases)} callbacks, signed as the library signs them")
assert cases
