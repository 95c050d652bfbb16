"""What an error of S3 means: whether it passes by itself, and what its reader can do.

pyarrow repeats a request that fails for some 6 s, five times a second; what is left then comes as text alone.
"""

from __future__ import annotations

import re

from trials.errors import ApetError

_CODE = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))?")
_PASSING = (
    "SLOW_DOWN",
    "THROTTLING",
    "SERVICE_UNAVAILABLE",
    "INTERNAL_FAILURE",
    "REQUEST_TIMEOUT",
    "NETWORK_CONNECTION",
)
_DENIED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID")
_KEYS = (
    "give keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile of ~/.aws in AWS_PROFILE, or the machine a "
    "role; it needs s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on what is in it. "
    "`aws sts get-caller-identity` says who you are"
)
_REGION = "give it as s3://BUCKET/PATH?region=REGION"


class Unreachable(ApetError):
    """An object store that is busy or out of reach: it may answer a little later."""


def passes(reason: str) -> bool:
    """Whether an error's text is of the kind that passes: too many requests, a server's own fault, the network."""
    found = _CODE.search(reason)
    return found is not None and (found[1] in _PASSING or (found[2] or "").startswith("5"))


def advice(reason: str) -> str:
    """What to do about an error's text; empty where nothing more is known than with any store."""
    if "NO_SUCH_BUCKET" in reason or re.search(r"Bucket '.*' not found", reason):
        return "make the bucket (`aws s3 mb s3://NAME`), or give the name of one that is there"
    found = _CODE.search(reason)
    if found is None:
        return ""
    code, status = found[1], found[2]
    if code in _DENIED or status == "403":
        return f"no keys, wrong ones, or ones that may not do this: {_KEYS}"
    if status == "301" or "AuthorizationHeaderMalformed" in reason:
        return f"the bucket is in another region: {_REGION}"
    if status == "400":  # S3 says why only where the request isn't a HEAD
        return f"keys that have expired (`aws sso login` gets new ones), or a bucket in another region: {_REGION}"
    if code == "NETWORK_CONNECTION":
        return (
            "nothing answers there: look at the network, and at AWS_ENDPOINT_URL or the URI's endpoint_override, "
            "if you set one"
        )
    if passes(reason):
        return "it is too busy or has a fault of its own: run the same command again in a minute"
    return ""
