"""The bounds of a fuzzed case: only InputError comes out, its lines are short, and it takes little time.

The suite runs some hundreds of cases, each test 100. Many more, 10,000 a test, for about an hour on two cores:

    FUZZ_CASES=10000 pytest tests/fuzz --timeout 7200
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

from render.core.errors import InputError

__all__ = ["fuzzed", "only_input_errors"]

SECONDS_MAX = 5.0
LINE_MAX = 1300  # characters

CASES = os.environ.get("FUZZ_CASES")

fuzzed = settings(
    max_examples=int(CASES or "100"),
    derandomize=CASES is None,
    deadline=None,  # measured here: another process may take the CPU
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def only_input_errors() -> Iterator[None]:
    """Let InputError pass; fail on other exceptions, on lines that are too long, and after SECONDS_MAX of CPU time."""
    begin, text = time.process_time(), ""
    try:
        yield
    except InputError as error:
        text = str(error)
    assert max(map(len, text.splitlines()), default=0) < LINE_MAX
    assert time.process_time() - begin < SECONDS_MAX
