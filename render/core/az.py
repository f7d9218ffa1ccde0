"""Requests to one container of Azure Blob Storage: with bounds and plain errors, as those of `s3.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import ContainerClient, ExponentialRetry

from render.core.bucket import BehindEndError, FaultError, TakenError, create_once
from render.core.scratch import scratch_folder

__all__ = ["AzureBucket", "open_bucket"]

TRIES, FIRST_TRIES = 6, 2  # of a request; of the first ones of a command, whose answer somebody waits for
BACKOFF_S, GROWTH, JITTER_S = 0.5, 2, 1  # pause before try n: BACKOFF_S + GROWTH^(n-1) s, give or take JITTER_S
CONNECT_S, READ_S, FIRST_READ_S = 5.0, 30.0, 10.0  # longest wait for a connection, and for the next bytes of an answer
PAUSE_S = 0.5  # before the next try of an exclusive creation that finds others at work
PART_BYTES, PARTS = 16 * 2**20, 4  # of an upload in parts, and those that are on their way at once
ONE_REQUEST_BYTES = 64 * 2**20  # files up to this size take one request
SETTINGS = "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"


@lru_cache(maxsize=8)
def open_bucket(name: str, is_first: bool = False) -> AzureBucket:
    """Return a container; sends nothing. Its account comes from the environment variables that Azure's own command reads.

    With `is_first` its requests give up soon.
    """
    return AzureBucket(name, *((FIRST_TRIES, FIRST_READ_S) if is_first else (TRIES, READ_S)))


class AzureBucket:
    """Objects of one container, by key: see `Bucket`."""

    def __init__(self, name: str, tries: int, read_s: float) -> None:
        self.name = name
        settings: dict[str, Any] = {
            "retry_policy": ExponentialRetry(BACKOFF_S, GROWTH, retry_total=tries - 1, random_jitter_range=JITTER_S),
            "connection_timeout": CONNECT_S,
            "read_timeout": read_s,
            "max_single_put_size": ONE_REQUEST_BYTES,
            "max_block_size": PART_BYTES,
        }
        with _plain_errors(f"az://{name}"):
            self._client: Any = _container(name, settings)

    def stat(self, key: str) -> tuple[int, float, float, str] | None:
        clock: list[float] = []

        def read_clock(answer: Any) -> None:
            clock.append(parsedate_to_datetime(answer.http_response.headers["date"]).timestamp())

        try:
            with self._errors(key):
                found = self._client.get_blob_client(key).get_blob_properties(raw_response_hook=read_clock)
        except FileNotFoundError:
            return None
        written = found.last_modified.timestamp()
        return found.size, written, clock[-1] - written, found.etag

    def keys(self, prefix: str, delimiter: str = "") -> Iterator[str]:
        with self._errors(prefix):
            if not delimiter:
                yield from (found.name for found in self._client.list_blobs(name_starts_with=prefix))
                return
            for found in self._client.walk_blobs(name_starts_with=prefix, delimiter=delimiter):
                yield found.name.rstrip("/")

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        with self._errors(prefix):
            for found in self._client.list_blobs(name_starts_with=prefix):
                yield found.name, found.size, f'"{found.etag.strip(chr(34))}"'  # lists leave its quotes out

    def read(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, int]:
        """Return (bytes from `start` to before `end`, the object's size); a negative `start` asks for the size first."""
        with self._errors(key):
            blob, ranged, size = self._client.get_blob_client(key), {}, 0
            if start < 0:
                size = blob.get_blob_properties().size
                start = max(0, size + start)
            if start or end is not None:
                ranged = {"offset": start, **({} if end is None else {"length": end - start})}
            data = blob.download_blob(**ranged).readall()
            return data, size or start + len(data)

    def download(self, key: str, target: Path) -> None:
        with self._errors(key), target.open("wb") as file:
            self._client.get_blob_client(key).download_blob(max_concurrency=PARTS).readinto(file)

    def upload(self, source: Path, key: str) -> None:
        """Put a file. What is sent in blocks is there with the list of them, and forgotten after a week without it."""
        with self._errors(key), source.open("rb") as file:
            self._client.upload_blob(key, file, overwrite=True, max_concurrency=PARTS)

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the container, by way of a file on this machine."""
        file = scratch_folder() / uuid4().hex
        try:
            self.download(key, file)
            self.upload(file, target)
        finally:
            file.unlink(missing_ok=True)

    def create(self, key: str, data: bytes) -> bool:
        def write() -> None:
            with self._errors(key):
                self._client.upload_blob(key, data, overwrite=False)  # If-None-Match: *

        return create_once(self, key, data, write, (TRIES, PAUSE_S))

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        try:
            with self._errors(key):
                self._client.upload_blob(
                    key, data, overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified
                )
        except (TakenError, FileNotFoundError):
            return False
        return True

    def delete(self, key: str) -> None:
        try:
            with self._errors(key):
                self._client.delete_blob(key)
        except FileNotFoundError:
            pass

    def abort_uploads(self, prefix: str) -> int:  # noqa: ARG002
        """Return 0: the store forgets blocks that are in no list."""
        return 0

    def _errors(self, key: str) -> Any:
        return _plain_errors(f"az://{self.name}/{key}")


def _container(name: str, settings: dict[str, Any]) -> ContainerClient:
    """Return the client of a container of the account that the environment names. Raises PermissionError."""
    own = os.environ.get
    if text := own("AZURE_STORAGE_CONNECTION_STRING"):
        return ContainerClient.from_connection_string(text, name, **settings)
    if not (account := own("AZURE_STORAGE_ACCOUNT")):
        raise PermissionError(f"az://{name}: required {SETTINGS}, got none of them")
    credential: Any = own("AZURE_STORAGE_KEY") or own("AZURE_STORAGE_SAS_TOKEN")
    if not credential:
        try:
            from azure.identity import DefaultAzureCredential
        except ModuleNotFoundError:
            other = "or the library azure-identity for other ways to sign in"
            raise PermissionError(f"az://{name}: required {SETTINGS}, {other}; got none") from None
        credential = DefaultAzureCredential()
    return ContainerClient(f"https://{account}.blob.core.windows.net", name, credential=credential, **settings)


@contextmanager
def _plain_errors(where: str) -> Iterator[None]:
    """Raise Azure's errors as OSError of the kind that fits, with the reason and nothing else of the answer."""
    try:
        yield
    except (ResourceExistsError, ResourceModifiedError):
        raised: Exception = TakenError()
    except (ServiceRequestError, ServiceResponseError, IncompleteReadError) as error:
        name = type(error).__name__
        kind = TimeoutError if "Timeout" in name or "timed out" in str(error) else ConnectionError
        raised = kind(f"{where}: required an answer of the store, got {name} (is the account right, the network up?)")
    except HttpResponseError as error:
        raised = _refusal(where, error)
    except (AzureError, ValueError) as error:  # the latter for a connection string that is none
        raised = FaultError(
            f"{where}: required an object store, got {type(error).__name__} (see AZURE_STORAGE_… variables)"
        )
    else:
        return
    raise raised from None


def _refusal(where: str, error: HttpResponseError) -> Exception:
    found: Any = getattr(error, "error_code", None) or error.status_code or "no code"
    code = str(getattr(found, "value", found))  # it may be a member of an Enum
    if error.status_code == 412:
        return TakenError()
    if error.status_code == 416:
        return BehindEndError(where)
    if code == "ContainerNotFound":
        return FaultError(f"{where}: required a container, got {code} (there is no such container)")
    if isinstance(error, ResourceNotFoundError):
        return FileNotFoundError(f"{where}: required an object, got none of this name")
    if isinstance(error, ClientAuthenticationError) or error.status_code in (401, 403):
        hint = "wrong credentials, or they may not do that; a run needs to list, read, write and delete"
        return PermissionError(f"{where}: required leave, got {code} ({hint})")
    return FaultError(f"{where}: required that the store does it, got {code}")
