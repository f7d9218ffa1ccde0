"""Show the status of an output folder: lines for a terminal, and plain values for programs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from render.core import counted, printable
from render.mending.status import Status
from render.store import Holder

__all__ = ["facts_of", "line_of", "lines_of"]

SHOWN_MAX = 12  # hosts that are listed


def facts_of(status: Status) -> dict[str, Any]:
    """Return the status as JSON has it: times in ISO 8601, paths and URLs as texts."""
    fields = asdict(status)
    more = {"is_going_on": status.is_going_on, "missing": status.missing, "next_steps": list(status.next_steps)}
    plain: dict[str, Any] = _plain(fields | more)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def lines_of(status: Status) -> list[tuple[str, str]]:
    """Return (title, text) for each line, without control characters from names or errors."""
    lines = [
        ("output", str(status.out)),
        ("state", _state(status)),
        ("frames", _frames(status)),
        ("size", f"{status.size_bytes / 1e6:,.1f} MB"),
    ]
    if status.speed is not None or status.speed_now is not None:
        lines.append(("speed", _speed(status)))
    if status.fill is not None or status.fill_now is not None:
        fills = [f"{status.fill:.1%} full" if status.fill is not None else ""]
        fills += [f"{status.fill_now:.1%} in the last minutes" if status.fill_now is not None else ""]
        lines.append(("batches", ", ".join(filter(None, fills))))
    if status.is_going_on and status.state != "preparing":
        lines += [("workers", text) for text in _workers(status)]
    if status.in_hand:
        lines.append(("in hand", _in_hand(status)))
    if status.faults:
        lines.append(("faults", f"{status.faults:,} in this run; the last: {status.fault}"))
    if status.damaged:
        lines.append(("damage", f"{counted(status.damaged, 'record')} can't be used"))
    lines += [("next", step) for step in status.next_steps]
    return [(title, printable(text)) for title, text in lines]


def line_of(status: Status) -> str:
    """Return the status on one line, for a log."""
    parts = [_state_word(status), _frames(status)]
    if status.speed_now is not None:
        parts.append(_speed(status))
    if status.is_going_on and status.workers:
        parts.append(counted(len(status.workers), "worker"))
    if status.faults:
        parts.append(counted(status.faults, "fault"))
    return printable(f"{status.at.isoformat(timespec='seconds')} {', '.join(parts)}")


def _state_word(status: Status) -> str:
    return f"{status.state} ({status.stage})" if status.stage else status.state


def _state(status: Status) -> str:
    """Return what goes on, who does it and since when, or how the last run ended."""
    holder, words = status.holder, [_state_word(status)]
    if status.state == "stopped":
        words.append(status.reason)
    if status.state == "died":
        words.append("the last run ended without a word (killed, or its machine is lost)")
    if status.state == "new":
        words.append("nothing was rendered yet")
    if holder is not None:
        words.append(_holder(holder))
    if status.heard_s is not None and (status.is_going_on or status.state == "died"):
        words.append(f"last heard of {duration(status.heard_s)} ago")
    return ": ".join([words[0], ", ".join(words[1:])]) if words[1:] else words[0]


def _holder(holder: Holder) -> str:
    dead = {False: " (dead)", None: " (on another machine: log and lock tell its life)", True: ""}[holder.lives]
    return f"{holder}{dead}"


def _frames(status: Status) -> str:
    of = "" if status.planned is None else f" of {status.planned:,}"
    share = f" ({100 * status.frames // status.planned} %)" if status.planned else ""
    more = [(status.quarantined, "in quarantine"), (status.blank, "blank")]
    return ", ".join([f"{status.frames:,}{of} frames{share}", *(f"{count:,} {what}" for count, what in more if count)])


def _speed(status: Status) -> str:
    words = []
    if status.speed_now is not None:
        words.append(f"{status.speed_now:.2f} img/s now")
    if status.speed is not None:
        words.append(f"{status.speed:.2f} img/s on average")
    if status.left_s is not None:
        words.append(f"about {duration(status.left_s)} left")
    return ", ".join(words)


def _workers(status: Status) -> list[str]:
    """Return a line for each kind of card on each host."""
    starting = {one.worker for one in status.in_hand if one.is_starting}
    texts = [f"{count:,} on {host}: {card}" for host, card, count in status.hosts]
    if len(texts) > SHOWN_MAX:
        texts = [
            *texts[:SHOWN_MAX],
            f"… and on {len(texts) - SHOWN_MAX:,} more kinds of hosts and cards: {len(status.workers):,} in all",
        ]
    if starting:
        texts.append(f"{len(starting):,} starting")
    return texts or ["none is up yet"]


def _in_hand(status: Status) -> str:
    oldest = status.in_hand[0]
    units, workers = ({getattr(one, name) for one in status.in_hand} for name in ("unit", "worker"))
    since = duration((status.at - oldest.since).total_seconds())
    hands = f"{counted(len(units), 'unit')} of {counted(len(workers), 'worker')}"
    return f"{hands}; the oldest: {oldest.unit}, with {oldest.worker} for {since}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it.

    >>> duration(42.3), duration(200), duration(9000), duration(200_000)
    ('42 s', '3 min', '2.5 h', '2.3 days')
    """
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
