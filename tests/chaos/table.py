"""The table of a long run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from bench import Hit, Outcome

__all__ = ["table"]

HEAD = ("fault", "times", "lost", "twice", "differing", "noticed after, s", "lost, s")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a table in Markdown: a line a fault, the sums, and below it every problem.

    Frames that a scenario lost count for each of its faults, seconds for all of them in equal parts. Noticed: median and
    longest time.
    """
    hits: dict[str, list[Hit]] = defaultdict(list)
    frames: dict[str, Counter[str]] = defaultdict(Counter)
    lost_s: Counter[str] = Counter()
    for outcome in outcomes:
        for hit in outcome.hits:
            hits[hit.fault].append(hit)
            lost_s[hit.fault] += outcome.lost_s / len(outcome.hits)  # type: ignore[assignment]
        for fault in {hit.fault for hit in outcome.hits}:
            frames[fault].update(lost=outcome.lost, twice=outcome.twice, differing=outcome.differing)
    rows = [
        (
            fault,
            len(struck),
            *(frames[fault][name] for name in HEAD[2:5]),
            _noticed(struck),
            lost_s[fault] / len(struck),
        )
        for fault, struck in sorted(hits.items())
    ]
    sums = [sum(getattr(outcome, name) for outcome in outcomes) for name in HEAD[2:5]]
    lines = [HEAD, ("---",) * len(HEAD), *rows, ("all", sum(map(len, hits.values())), *sums, "", "")]
    text = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return "\n".join([text, "", _steps(outcomes), *_problems(outcomes)])


def _cell(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _noticed(hits: Sequence[Hit]) -> str:
    times = sorted(hit.noticed_s for hit in hits if hit.noticed_s is not None)
    return f"{times[len(times) // 2]:.1f}, at most {times[-1]:.1f}" if times else "–"


def _steps(outcomes: Sequence[Outcome]) -> str:
    labels = {hit.step for outcome in outcomes for hit in outcome.hits if hit.step not in ("", "frame", "clock")}
    return f"{len(outcomes)} scenarios. Faults came before {len(labels)} kinds of steps: {', '.join(sorted(labels))}."


def _problems(outcomes: Sequence[Outcome]) -> list[str]:
    found = [f"{outcome.number} {outcome.kind}: {problem}" for outcome in outcomes for problem in outcome.problems]
    return ["", f"{len(found)} problems:", *found] if found else []
