"""Texts without passwords and signatures of URLs. Standard library only."""

from __future__ import annotations

import re

__all__ = ["without_secrets"]

USER = re.compile(r"(:/+)(?:[^/]*@|[^/\s:@]+:(?!\d+/)[^\s@]*@)")  # a key of S3 may have slashes
PARAMETER = re.compile(
    r"([?&](?:x-(?:amz|goog|ms)-[a-z-]+|sig|policy|key-pair-id|awsaccesskeyid|googleaccessid"
    r"|[a-z_-]*(?:signature|token|key|secret|password|passwd|auth))=)[^&\s'\"…]+",
    re.IGNORECASE,
)
HEADER = re.compile(r"(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)[^\s'\"]+", re.IGNORECASE)
QUERY = re.compile(r"(\bhttps?:/+[^\s?'\"]*\?)[^\s'\"…][^\s'\"]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Return a text without user names and passwords of URLs, and without the queries of web addresses.

    Without a host, as libraries quote an address, a query keeps its parameters but for those that are known as secrets.
    Headers for passwords lose these.

    >>> without_secrets("output=s3://KEY:SECRET@bucket/out")
    'output=s3://…@bucket/out'
    >>> without_secrets("output=s3://KEY:SE/CRET@bucket/out")
    'output=s3://…@bucket/out'
    >>> without_secrets("https://host/a.csv?X-Amz-Signature=5f3a")
    'https://host/a.csv?…'
    >>> without_secrets("Max retries exceeded with url: /a.csv?id=1&X-Amz-Signature=5f3a")
    'Max retries exceeded with url: /a.csv?id=1&X-Amz-Signature=…'
    """
    for pattern, shown in ((USER, r"\1…@"), (QUERY, r"\1…"), (PARAMETER, r"\1…"), (HEADER, r"\1…")):
        text = pattern.sub(shown, text)
    return text
