"""Print what the living nodes of a Ray cluster have, as one line of JSON: `python -m render.cluster.cluster_facts ADDRESS`.

This is a process of its own: where a cluster is gone, Ray's library ends the process that asks it.
"""

from __future__ import annotations

import json
import logging
import os
import sys

import ray

__all__ = ["main"]

TOKEN = "does it ask for a token? RAY_AUTH_MODE=token sends the one of RAY_AUTH_TOKEN or ~/.ray/auth_token"


def main(address: str) -> int:
    """Print {"CPU": cores, "GPU": cards, "memory": bytes}; or the reason, on stderr, why no cluster can be asked."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        has = ray.cluster_resources()  # type: ignore[no-untyped-call]
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        hint = f"; {TOKEN}" if isinstance(error, ConnectionError) and "RAY_AUTH_MODE" not in os.environ else ""
        print(f"{type(error).__name__}: {lines[0]}{hint}", file=sys.stderr)
        return 1
    print(json.dumps({name: has.get(name, 0.0) for name in ("CPU", "GPU", "memory")}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
