"""Texts without passwords and signatures of URLs. Standard library only."""

from __future__ import annotations

import re

__all__ = ["without_secrets"]

USER = re.compile(r"(:/+)(?:[^/]*@|[^/\s:@]+:(?!\d+/)[^\s@]*@)")  # a key of S3 may have slashes
QUERY = re.compile(r"(\bhttps?:/+[^\s?'\"]*\?)[^\s'\"…][^\s'\"]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Return a text without user names and passwords of URLs, and without the queries of web addresses.

    >>> without_secrets("output=s3://KEY:SECRET@bucket/out")
    'output=s3://…@bucket/out'
    >>> without_secrets("output=s3://KEY:SE/CRET@bucket/out")
    'output=s3://…@bucket/out'
    >>> without_secrets("https://host/a.csv?X-Amz-Signature=5f3a")
    'https://host/a.csv?…'
    """
    return QUERY.sub(r"\1…", USER.sub(r"\1…@", text))
