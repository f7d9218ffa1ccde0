"""Requests to one bucket of Google Cloud Storage: with bounds and plain errors, as those of `s3.py`.

An object's generation, which every write changes, takes the place of its ETag; 0 stands for no object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import requests
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RetryError,
    Unauthorized,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from render.core.bucket import CORRUPT, BehindEndError, FaultError, TakenError, create_once

__all__ = ["GoogleBucket", "open_bucket"]

TRY_S, FIRST_TRY_S = 90.0, 6.0  # for which a request is tried again; one of the first of a command
CONNECT_S, READ_S, FIRST_READ_S = 5.0, 30.0, 10.0  # longest wait for a connection, and for the next bytes of an answer
TRIES, PAUSE_S = 9, 0.5  # of an exclusive creation that finds others at work
CORRUPT_TRIES = 3  # of an answer whose bytes are not those that the store has
PART_BYTES = 16 * 2**20  # of an upload, which takes several requests if the file is larger than 8 MB


@lru_cache(maxsize=8)
def open_bucket(name: str, is_first: bool = False) -> GoogleBucket:
    """Return a bucket; sends nothing. Credentials are those that Google's libraries find (ADC).

    With `is_first` its requests give up soon.
    """
    return GoogleBucket(name, *((FIRST_TRY_S, FIRST_READ_S) if is_first else (TRY_S, READ_S)))


class GoogleBucket:
    """Objects of one bucket, by key: see `Bucket`."""

    def __init__(self, name: str, try_s: float, read_s: float) -> None:
        self.name = name
        self._within: dict[str, Any] = {
            "timeout": (CONNECT_S, read_s),
            "retry": DEFAULT_RETRY.with_delay(0.5, 16.0).with_timeout(try_s),
        }
        self._ahead_s = 0.0  # by which the store's clock is ahead of ours
        with _plain_errors(f"gs://{name}"):
            self._client: Any = storage.Client(project=None)  # which only making buckets needs
            self._client._http.hooks["response"].append(self._read_clock)
            self._bucket: Any = self._client.bucket(name)

    def stat(self, key: str) -> tuple[int, float, float, str] | None:
        with self._errors(key):
            found = self._bucket.get_blob(key, **self._within)
        if found is None:
            return None
        written: datetime = found.updated
        age_s = time.time() + self._ahead_s - written.timestamp()
        return found.size, written.timestamp(), age_s, str(found.generation)

    def keys(self, prefix: str, delimiter: str = "") -> Iterator[str]:
        with self._errors(prefix):
            pages = self._client.list_blobs(self.name, prefix=prefix, delimiter=delimiter or None, **self._within)
            for page in pages.pages:
                yield from (found.name for found in page)
                yield from (found.rstrip("/") for found in page.prefixes)

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        with self._errors(prefix):
            for found in self._client.list_blobs(self.name, prefix=prefix, **self._within):
                yield found.name, found.size, str(found.generation)

    def read(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, int]:
        """Return (bytes from `start` to before `end`, the object's size); a negative `start` asks for the size first."""
        with self._errors(key):
            blob = self._bucket.blob(key) if start >= 0 else self._bucket.get_blob(key, **self._within)
            if blob is None:
                raise FileNotFoundError(f"gs://{self.name}/{key}: required an object, got none of this name")
            size = blob.size if start < 0 else 0
            if start < 0 and not size:
                return b"", 0
            ranged = {"start": max(0, size + start) if start < 0 else start} if start else {}
            if end is not None:
                ranged = {"start": start, "end": end - 1}
            data: bytes = _again(partial(blob.download_as_bytes, raw_download=True, **ranged, **self._within))
            return data, size or start + len(data)

    def download(self, key: str, target: Path) -> None:
        with self._errors(key):
            _again(partial(self._bucket.blob(key).download_to_filename, str(target), raw_download=True, **self._within))

    def upload(self, source: Path, key: str) -> None:
        """Put a file. What is sent in several requests is there with the last one, and forgotten after a week without it."""
        with self._errors(key):
            blob = self._bucket.blob(key, chunk_size=PART_BYTES)
            blob.upload_from_filename(str(source), checksum="crc32c", **self._within)

    def copy(self, key: str, target: str) -> None:
        with self._errors(key):
            source, token = self._bucket.blob(key), None
            while True:
                token, _, _ = self._bucket.blob(target).rewrite(source, token=token, **self._within)
                if token is None:
                    return

    def create(self, key: str, data: bytes) -> bool:
        return create_once(self, key, data, lambda: self._put(key, data, 0), (TRIES, PAUSE_S))

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        try:
            self._put(key, data, int(etag))
        except (TakenError, FileNotFoundError):
            return False
        return True

    def delete(self, key: str) -> None:
        try:
            with self._errors(key):
                self._bucket.blob(key).delete(**self._within)
        except FileNotFoundError:
            pass

    def abort_uploads(self, prefix: str) -> int:  # noqa: ARG002
        """Return 0: uploads that were not ended take no room, and the store forgets them."""
        return 0

    def _put(self, key: str, data: bytes, generation: int) -> None:
        """Write an object whose generation is this, 0 for none. Raises TakenError."""
        with self._errors(key):
            self._bucket.blob(key).upload_from_string(data, if_generation_match=generation, **self._within)

    def _read_clock(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        if "Date" in answer.headers:
            self._ahead_s = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()

    def _errors(self, key: str) -> Any:
        return _plain_errors(f"gs://{self.name}/{key}")


def _again(download: Callable[[], Any]) -> Any:
    """Return what a download returns, asked for anew if it is not what the store has: the library raises that at once."""
    for number in range(CORRUPT_TRIES - 1):
        with suppress(DataCorruption):
            return download()
        time.sleep(PAUSE_S * 2**number)
    return download()


@contextmanager
def _plain_errors(where: str) -> Iterator[None]:
    """Raise Google's errors as OSError of the kind that fits, with the reason and nothing else of the answer."""
    try:
        yield
    except PreconditionFailed:
        raised: Exception = TakenError()
    except (GoogleAPICallError, RetryError, InvalidResponse) as error:
        raised = _refusal(where, error)
    except DataCorruption:
        raised = ConnectionError(f"{where}: {CORRUPT}")
    except TransportError as error:
        raised = ConnectionError(f"{where}: required an answer of Google's sign-in, got {type(error).__name__}")
    except DefaultCredentialsError:
        hint = "GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login"
        raised = PermissionError(f"{where}: required credentials ({hint}), got none that can be used")
    except GoogleAuthError as error:
        raised = PermissionError(f"{where}: required credentials that are accepted, got {type(error).__name__}")
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        raised = _no_answer(where, error)
    else:
        return
    raise raised from None


def _refusal(where: str, error: Exception) -> Exception:
    if isinstance(error, RetryError):
        return _refusal(where, error.cause) if isinstance(error.cause, GoogleAPICallError) else _no_answer(where, error)
    found: Any = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", 0)
    code = int(found)
    if code == 412:
        return TakenError()
    if code == 416:
        return BehindEndError(where)
    if isinstance(error, NotFound) or code == 404:
        return FileNotFoundError(f"{where}: required an object, got none of this name, or there is no such bucket")
    if isinstance(error, Forbidden | Unauthorized) or code in (401, 403):
        hint = "wrong credentials, or they may not do that; a run needs to list, get, create and delete objects"
        return PermissionError(f"{where}: required leave, got {code} ({hint})")
    return FaultError(f"{where}: required that the store does it, got {code}")


def _no_answer(where: str, error: Exception) -> OSError:
    name = type(getattr(error, "cause", None) or error).__name__
    kind = TimeoutError if "Timeout" in name else ConnectionError
    return kind(f"{where}: required an answer of the store, got {name} (is the network up?)")
