"""The Jobs API of a Ray cluster, by Ray's own client: the one module that knows it.

Nothing here connects to Ray as a driver does: all is HTTP with the dashboard of the head. A token goes into a header and
nowhere else, and only to a dashboard that has asked for one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from render.core import JobError, RunError, shorten, without_secrets

__all__ = ["Dashboard", "address_of", "connect"]

CONNECT_S, ANSWER_S, FIRST_S = 3.05, 60.0, 8.0  # patience with the network, with an answer, and with the very first one
VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # that Ray's own `ray job` reads, in this order
EXAMPLE = "http://HEAD:8265"
NODES_MAX = 10_000  # of the state API's answer
TALKATIVE = ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging")
MISSING = "required the Jobs client of Ray (pip install 'nightrender[cluster]'), got Ray without it"
NEEDED = (
    "the head asks for a token. Ray reads it from the environment variable RAY_AUTH_TOKEN, from the file that"
    " RAY_AUTH_TOKEN_PATH names, or from ~/.ray/auth_token; `ray get-auth-token` on the head shows it"
)


def address_of(given: str | None) -> str:
    """Return the address of the dashboard: as given, or else as the environment has it for `ray job`. Raises JobError."""
    own = ("--address", given) if given else None
    found = [(name, os.environ[name]) for name in VARIABLES if os.environ.get(name, "").startswith("http")]
    for where, address in filter(None, (own, *found)):
        if address.startswith(("http://", "https://")):
            return address.rstrip("/")
        hint = " (the port of `ray.init`? Jobs are submitted to the dashboard)" if ":" in address else ""
        raise JobError(f"{where}: required {EXAMPLE}, got {shorten(repr(without_secrets(address)))}{hint}")
    raise JobError(
        f"--address: required the dashboard of a Ray cluster, {EXAMPLE}; got none, nor {' or '.join(VARIABLES)}"
    )


def connect(address: str) -> Dashboard:
    """Return the dashboard at an address. Raises JobError where nothing answers within seconds, or no dashboard of Ray's."""
    try:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient
    except (ImportError, TypeError) as error:  # TypeError: of a class whose library is missing
        raise JobError(MISSING) from error

    for name in TALKATIVE:
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
            raise JobError(f"{where}, got {_reason(error)}") from error
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
            python = str(self._read("/api/v0/cluster_metadata").get("pythonVersion", ""))
        except RunError:
            python = ""
        return str(self._client._server_ray_version or ""), python

    def nodes(self) -> list[dict[str, Any]]:
        """Return the living nodes, as Ray's state API has them."""
        found = self._read(f"/api/v0/nodes?detail=true&limit={NODES_MAX}")
        return [node for node in found["result"]["result"] if node["state"] == "ALIVE"]

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
            return found

    def jobs(self) -> list[dict[str, Any]]:
        """Return what is known of all jobs that were submitted."""
        with self._faults():
            answer = self._client._do_request("GET", "/api/jobs/")
            answer.raise_for_status()
            return [job for job in answer.json() if job.get("submission_id")]

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
        """Yield what a job has written and what it writes, until it ends or the connection does."""
        from aiohttp import ClientError

        try:
            async for text in self._client.tail_job_logs(submission_id):
                yield text
        except (ClientError, OSError, RuntimeError) as error:
            raise RunError(
                f"{without_secrets(self.address)}: required the log of a job, got {_reason(error)}"
            ) from error

    def _read(self, path: str) -> dict[str, Any]:
        with self._faults():
            answer = self._client._do_request("GET", path)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()["data"]
            return found

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


def _reason(error: Exception) -> str:
    """Return in a line what a request came to."""
    text = without_secrets(str(error))
    name = type(error).__name__
    if isinstance(error, ConnectionError) or "Connect" in name:
        return "no answer there"
    if "Timeout" in name:
        return "none in time"
    if isinstance(error, ValueError) or "JSON" in name:
        return "something that answers, but not as Ray does"
    return f"{name}: {shorten(text)}"
