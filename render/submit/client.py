"""The Jobs API of a Ray cluster, by Ray's own client: the one module that knows it.

Nothing here connects to Ray as a driver does: all is HTTP with the dashboard of the head. A token goes into a header and
nowhere else, and only to a dashboard that has asked for one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from render.core import JobError, RunError, shorten, without_secrets

__all__ = ["Dashboard", "address_of", "connect"]

CONNECT_S, ANSWER_S, FIRST_S = 3.05, 60.0, 8.0  # limits for connecting, for an answer, and for the first answer
VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # Ray's own `ray job` reads them in this order
EXAMPLE = "http://HEAD:8265"
HOST_PORT = re.compile(r"(ray://)?[^/]+:\d+")
QUIET_S = 60.0  # after which a log that says nothing is asked for anew; a run says something every ten seconds or so
NODES_MAX = 10_000  # of the state API's answer
LOUD_LOGGERS = ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging")
MISSING = "required the Jobs client of Ray (pip install 'nightrender[cluster]'), got Ray without it"
NO_ANSWER = "no answer there"
LOOPBACK = " (without --dashboard-host a head serves it to its own machine alone: submit there, or through a tunnel)"
NEEDED = (
    "the head asks for a token. Ray reads it from the environment variable RAY_AUTH_TOKEN, from the file that"
    " RAY_AUTH_TOKEN_PATH names, or from ~/.ray/auth_token; `ray get-auth-token` on the head shows it"
)

Found = TypeVar("Found")


def address_of(given: str | None) -> str:
    """Return the address of the dashboard: as given, or else as the environment has it for `ray job`. Raises JobError."""
    own = ("--address", given) if given else None
    found = [(name, os.environ[name]) for name in VARIABLES if os.environ.get(name, "").startswith("http")]
    for where, address in filter(None, (own, *found)):
        if _is_web(address):
            return address.rstrip("/")
        hint = " (the port of `ray.init`? Jobs are submitted to the dashboard)" if HOST_PORT.fullmatch(address) else ""
        raise JobError(f"{where}: required {EXAMPLE}, got {shorten(repr(without_secrets(address)))}{hint}")
    raise JobError(
        f"--address: required the dashboard of a Ray cluster, {EXAMPLE}; got none, nor {' or '.join(VARIABLES)}"
    )


def _is_web(address: str) -> bool:
    """Return True for http:// or https:// with a host."""
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:  # of a port that is no number, or brackets that don't close
        return False


def connect(address: str) -> Dashboard:
    """Return the dashboard at an address. Raises JobError where nothing answers within seconds, or no dashboard of Ray's."""
    try:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient
    except (ImportError, TypeError) as error:  # TypeError: of a class whose library is missing
        raise JobError(MISSING) from error

    for name in LOUD_LOGGERS:
        logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)

    class Client(JobSubmissionClient):
        """Ray's client, with an end to each wait."""

        patience_s = FIRST_S

        def _do_request(self, *arguments: Any, **options: Any) -> Any:
            options.setdefault("timeout", (CONNECT_S, self.patience_s))
            return super()._do_request(*arguments, **options)

    shown = without_secrets(address)
    where = f"--address {shown}: required the dashboard of a Ray cluster"
    with _variable(VARIABLES[0], address):  # which wins over what is given to the client
        try:
            client = Client(address)
        except AuthenticationError:
            client = _with_token(Client, address, where)
        except (ModuleNotFoundError, AttributeError) as error:
            raise JobError(MISSING) from error
        except RuntimeError as error:
            if "ray[default]" in str(error):
                raise JobError(MISSING) from error
            raise JobError(f"{where}, got {_reason(error)}") from error
        except (OSError, ValueError, LookupError, TypeError) as error:
            hint = LOOPBACK if (reason := _reason(error)) == NO_ANSWER else ""
            raise JobError(f"{where}, got {reason}{hint}") from error
    client.patience_s = ANSWER_S
    client._ssl_context = True  # type: ignore[assignment]  # aiohttp wants this for certificates that are checked, no longer None
    return Dashboard(client, address)


def _with_token(client: Any, address: str, where: str) -> Any:
    """Return a client that sends a token. Raises JobError when there is none, or another than the cluster's."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        got = f"RAY_AUTH_MODE={shorten(os.environ['RAY_AUTH_MODE'])}"
        raise JobError(f"{where} that lets this user in, got none: {NEEDED}; {got} keeps it back")
    try:
        headers = AuthenticationTokenLoader.instance().get_token_for_http_header(ignore_auth_mode=True)
    except AuthenticationError:
        headers = {}
    if not headers:
        raise JobError(f"{where} that lets this user in, got none: {NEEDED}")
    try:
        return client(address, headers=dict(headers))
    except AuthenticationError:
        raise JobError(f"{where} that lets this user in, got one that refuses the token: {NEEDED}") from None


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class Dashboard:
    """The head of a cluster, as its dashboard shows it. Methods raise RunError when it does not answer any more."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self.address = client, address

    def versions(self) -> tuple[str, str]:
        """Return the versions of Ray and of Python on the head; "" for what an old Ray does not tell."""
        try:
            python = self._read("/api/v0/cluster_metadata", lambda data: str(data["pythonVersion"]))
        except RunError:
            python = ""
        return str(self._client._server_ray_version or ""), python

    def nodes(self) -> list[dict[str, Any]]:
        """Return the living nodes: of each `node_id`, `is_head_node` and `resources_total`, as Ray's state API has them."""
        keys = ("node_id", "is_head_node", "resources_total")
        return self._read(
            f"/api/v0/nodes?detail=true&limit={NODES_MAX}",
            lambda data: [
                {key: node[key] for key in keys} for node in data["result"]["result"] if node["state"] == "ALIVE"
            ],
        )

    def submit(
        self, submission_id: str, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str]
    ) -> None:
        """Submit a job; what its runtime_env names of local files is uploaded first."""
        with self._faults():
            self._client.submit_job(
                submission_id=submission_id, entrypoint=entrypoint, runtime_env=runtime_env, metadata=metadata
            )

    def job(self, submission_id: str) -> dict[str, Any] | None:
        """Return what is known of a job; None where the cluster has none of this name."""
        with self._faults():
            answer = self._client._do_request("GET", f"/api/jobs/{submission_id}")
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return _checked(found)

    def jobs(self) -> list[dict[str, Any]]:
        """Return what is known of all jobs that were submitted."""
        with self._faults():
            answer = self._client._do_request("GET", "/api/jobs/")
            answer.raise_for_status()
            return [_checked(job) for job in answer.json() if job["submission_id"]]

    def stop(self, submission_id: str) -> bool:
        """Ask a job to stop. Returns False for one that has ended."""
        with self._faults():
            return bool(self._client.stop_job(submission_id))

    def delete(self, submission_id: str) -> None:
        """Take a job that has ended out of the list."""
        with self._faults():
            self._client.delete_job(submission_id)

    def log(self, submission_id: str) -> str:
        """Return all that a job has written."""
        with self._faults():
            return str(self._client.get_job_logs(submission_id))

    async def follow(self, submission_id: str) -> AsyncIterator[str]:
        """Yield what a job has written and what it writes, until it ends or the connection does.

        A connection may be lost without a word, so it also ends when nothing has come for QUIET_S.
        """
        from aiohttp import ClientError

        stream = aiter(self._client.tail_job_logs(submission_id))
        try:
            while True:
                yield await asyncio.wait_for(anext(stream), QUIET_S)
        except (StopAsyncIteration, TimeoutError):
            return
        except (ClientError, OSError, RuntimeError) as error:
            raise RunError(
                f"{without_secrets(self.address)}: required the log of a job, got {_reason(error)}"
            ) from error

    def _read(self, path: str, choose: Callable[[Any], Found]) -> Found:
        """Return what is chosen of the data behind a path of the state API."""
        with self._faults():
            answer = self._client._do_request("GET", path)
            answer.raise_for_status()
            return choose(answer.json()["data"])

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Raise RunError for an answer that is none; without what Ray's client says of tokens."""
        from ray.exceptions import AuthenticationError

        where = f"{without_secrets(self.address)}: required an answer of Ray's dashboard"
        try:
            yield
        except AuthenticationError:
            raise RunError(f"{where}, got a refusal: {NEEDED}") from None
        except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
            raise RunError(f"{where}, got {_reason(error)}") from error


def _checked(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job of an answer. Raises LookupError or TypeError for one without an id or a status."""
    if not isinstance(job, dict) or not (job.get("submission_id") or job.get("job_id")):
        raise TypeError("required a job with an id")
    return job | {"status": job["status"]}


def _reason(error: BaseException) -> str:
    """Return in a line what a request came to."""
    if tls := next((one for one in _chain(error) if isinstance(one, ssl.SSLError)), None):
        return f"no connection by TLS: {shorten(without_secrets(str(tls)))}"
    name = type(error).__name__
    if isinstance(error, ConnectionError) or "Connect" in name:
        return NO_ANSWER
    if "Timeout" in name:
        return "none in time"
    if isinstance(error, LookupError | TypeError) or "JSON" in name:
        return "something that answers, but not as Ray does"
    return f"{name}: {shorten(without_secrets(str(error)))}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it; libraries of HTTP keep some as an argument or as `reason`."""
    if error is not None:
        yield error
        inner = [*error.args, getattr(error, "reason", None)]
        yield from (deep for one in inner if isinstance(one, BaseException) for deep in _chain(one))
        yield from _chain(error.__cause__ or error.__context__)
