"""Requests to one bucket of S3, or of a store that speaks its language, through boto3: with bounds and plain errors.

Throttling (503), server errors, time-outs and lost connections are tried again, TRIES times in all with growing pauses:
up to about a minute and a half. Refusals are not. No error shows more of an answer than its code: credentials and signed
URLs stay out of messages and tracebacks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import RetriesExceededError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as ConnectionFault

from render.core.bucket import CORRUPT, BehindEndError, EndedError, FaultError, TakenError, create_once

__all__ = ["Bucket", "open_bucket"]

TRIES, FIRST_TRIES = 9, 2  # of a request; of the first ones of a command, whose answer somebody waits for
CONNECT_S, READ_S, FIRST_READ_S = 5.0, 30.0, 10.0  # longest wait for a connection, and for the next bytes of an answer
BODY_TRIES, PAUSE_S = (
    5,
    0.5,
)  # of an answer that broke off or is not what was sent; pause before the next try, twice as long each time
PART_BYTES, PARTS = 16 * 2**20, 4  # of an upload in parts, and those that are on their way at once
ONE_REQUEST_BYTES = 64 * 2**20  # files up to this size take one request
ENDED_S = 600.0  # age of an object that an upload which is gone may have made
REASONS = {
    "AccessDenied": "these credentials may not do that; a run needs to list, get, put and delete",
    "ExpiredToken": "the credentials have expired",
    "InvalidAccessKeyId": "wrong credentials",
    "NoSuchBucket": "there is no such bucket",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "SignatureDoesNotMatch": "wrong credentials",
    "SlowDown": f"throttled; tried {TRIES} times",
    "403": "wrong credentials, or they may not do that",
    "404": "there is no such bucket",
}
TAKEN = {"PreconditionFailed", "412"}
BEHIND_END = {"InvalidRange", "416"}
BUSY = {"ConditionalRequestConflict", "409"}
BROKEN_OFF = (FlexibleChecksumError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)


@lru_cache(maxsize=8)
def open_bucket(name: str, is_first: bool = False) -> Bucket:
    """Return a bucket; sends nothing. The client's settings come from the environment and ~/.aws, as boto3 reads them.

    With `is_first` its requests give up soon.
    """
    return Bucket(name, *((FIRST_TRIES, FIRST_READ_S) if is_first else (TRIES, READ_S)))


class Bucket:
    """Objects of one bucket, by key. Safe to use from several threads."""

    def __init__(self, name: str, tries: int, read_s: float) -> None:
        self.name = name
        with _plain_errors(f"s3://{name}"):
            self._client: Any = boto3.session.Session().client(
                "s3",
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": tries},
                    connect_timeout=CONNECT_S,
                    read_timeout=read_s,
                    max_pool_connections=32,
                ),
            )
        self._transfer = TransferConfig(
            multipart_threshold=ONE_REQUEST_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS
        )

    def stat(self, key: str) -> tuple[int, float, float, str] | None:
        """Return (size in bytes, Unix time of writing, age in seconds, ETag) of an object, None if there is none."""
        try:
            with self._errors(key):
                found = self._client.head_object(Bucket=self.name, Key=key)
        except FileNotFoundError:
            return None
        return found["ContentLength"], found["LastModified"].timestamp(), _age_s(found), found["ETag"]

    def keys(self, prefix: str, delimiter: str = "") -> Iterator[str]:
        """Yield keys that begin with a prefix; with a delimiter, only up to the next one in the key."""
        for page in self._pages(prefix, delimiter):
            yield from (found["Key"] for found in page.get("Contents", ()))
            yield from (found["Prefix"].rstrip("/") for found in page.get("CommonPrefixes", ()))

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Yield (key, bytes, ETag) of the objects whose keys begin with a prefix."""
        for page in self._pages(prefix):
            yield from ((found["Key"], found["Size"], found["ETag"]) for found in page.get("Contents", ()))

    def _pages(self, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
        with self._errors(prefix):
            yield from self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, Delimiter=delimiter
            )

    def read(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, int]:
        """Return (bytes from `start` to before `end`, the object's size); a negative `start` counts from its end."""
        try:
            return self._read(key, start, end)
        except BehindEndError:
            if start < 0:  # only the empty object has no last bytes
                return b"", 0
            raise

    def _read(self, key: str, start: int, end: int | None) -> tuple[bytes, int]:
        span = f"bytes={start}" if start < 0 else f"bytes={start}-{'' if end is None else end - 1}"
        ranged = {"Range": span} if start or end is not None else {}
        with self._errors(key):
            for number in range(BODY_TRIES):
                found = self._client.get_object(Bucket=self.name, Key=key, **ranged)
                try:
                    data = found["Body"].read()
                except BROKEN_OFF:
                    if number == BODY_TRIES - 1:
                        raise
                    time.sleep(PAUSE_S * 2**number)
                    continue
                return data, int(found.get("ContentRange", f"/{len(data)}").rpartition("/")[2])
        raise AssertionError

    def download(self, key: str, target: Path) -> None:
        """Write an object to a local file."""
        with self._errors(key):
            self._client.download_file(self.name, key, str(target), Config=self._transfer)

    def upload(self, source: Path, key: str) -> None:
        """Put a file in one request, a large one in parts that are given up after any error. The store checks its CRC."""
        try:
            with self._errors(key), source.open("rb") as file:
                self._client.upload_fileobj(file, self.name, key, Config=self._transfer)
        except EndedError:  # the answer to the upload's end was lost, so it was asked for again
            found = self.stat(key)
            if found is None or found[0] != source.stat().st_size or found[2] > ENDED_S:
                raise

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the store."""
        with self._errors(key):
            self._client.copy({"Bucket": self.name, "Key": key}, self.name, target, Config=self._transfer)

    def create(self, key: str, data: bytes) -> bool:
        """Create an object. Returns False if there is another of this key: see `create_once`."""

        def write() -> None:
            with self._errors(key):
                self._client.put_object(Bucket=self.name, Key=key, Body=data, IfNoneMatch="*")

        return create_once(self, key, data, write, (TRIES, PAUSE_S))

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        """Replace an object whose ETag is this. Returns False if it has another, or is gone."""
        try:
            with self._errors(key):
                self._client.put_object(Bucket=self.name, Key=key, Body=data, IfMatch=etag)
        except (TakenError, FileNotFoundError):
            return False
        return True

    def delete(self, key: str) -> None:
        with self._errors(key):
            self._client.delete_object(Bucket=self.name, Key=key)

    def abort_uploads(self, prefix: str) -> int:
        """Abort the uploads in parts that were begun below a prefix and are not finished. Returns their number."""
        count = 0
        with self._errors(prefix):
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix):
                for found in page.get("Uploads", ()):
                    self._client.abort_multipart_upload(Bucket=self.name, Key=found["Key"], UploadId=found["UploadId"])
                    count += 1
        return count

    def _errors(self, key: str) -> Any:
        return _plain_errors(f"s3://{self.name}/{key}")


@contextmanager
def _plain_errors(where: str) -> Iterator[None]:
    """Raise boto3's errors as OSError of the kind that fits, with the reason and nothing else of the answer."""
    try:
        yield
    except ClientError as error:
        raised = _refusal(where, error)
    except NO_CREDENTIALS as error:
        got = f"none or a part ({type(error).__name__})"
        raised = PermissionError(f"{where}: required credentials in the environment or ~/.aws, got {got}")
    except (ConnectionFault, HTTPClientError, IncompleteReadError, RetriesExceededError) as error:
        name = type(error).__name__
        kind = TimeoutError if "Timeout" in name else ConnectionError
        raised = kind(
            f"{where}: required an answer of the store, got {name} (is AWS_ENDPOINT_URL right, the network up?)"
        )
    except FlexibleChecksumError:
        raised = ConnectionError(f"{where}: {CORRUPT}")
    except (BotoCoreError, ValueError) as error:  # the latter for an endpoint that is no URL
        raised = FaultError(
            f"{where}: required an object store, got {type(error).__name__} (see ~/.aws and AWS_… variables)"
        )
    else:
        return
    raise raised from None


def _refusal(where: str, error: ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", "")) or "no code"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in TAKEN | BUSY:
        return TakenError(code in BUSY)
    if code in {"NoSuchKey", "404"} and error.operation_name in {"HeadObject", "GetObject", "PutObject", "CopyObject"}:
        return FileNotFoundError(f"{where}: required an object, got none of this name")
    if code in BEHIND_END:
        return BehindEndError(where)
    reason = REASONS.get(code, "")
    text = f"{where}: required that the store does {error.operation_name}, got {code}" + f" ({reason})" * bool(reason)
    if code == "NoSuchUpload":
        return EndedError(text)
    return PermissionError(text) if status in {401, 403} else FaultError(text)


def _age_s(found: dict[str, Any]) -> float:
    """Return the seconds since an object was written, by the clock of the store that answers."""
    from email.utils import parsedate_to_datetime

    now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((now - found["LastModified"]).total_seconds())
