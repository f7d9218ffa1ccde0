"""Show a report of an output folder: as text for a terminal, or as one HTML page that opens from disk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from render.core import counted, printable
from render.mending.quality import Quality
from render.mending.report import Failed, NightReport

__all__ = ["page_of", "text_of"]

SHOWN_MAX = 50  # frames in quarantine, and events, that the text lists; the page has all
BARS = " ▁▂▃▄▅▆▇█"

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width"/>
<title>{{ name }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 0 0 2em }
td, th { text-align: left; padding: .2em 1em .2em 0; vertical-align: top }
td.text { white-space: pre-wrap; overflow-wrap: break-word; max-width: 45em }
td:first-child { white-space: nowrap; max-width: 25em } li { margin: .3em 0 } .bars { display: flex; height: 8em }
.bars div { flex: 1; margin-right: 2px; background: #47a; align-self: flex-end } .low { height: 4em }
.examples { display: flex; flex-wrap: wrap; gap: 1em } figure { margin: 0; width: 128px; overflow-wrap: break-word }
figcaption { font-size: 12px; max-height: 9em; overflow: hidden }
</style>
</head>
<body>
<h1>{{ name }}</h1>
<h2>What to do next</h2>
<ul>{% for step in report.next_steps %}<li>{{ step }}</li>{% endfor %}</ul>
<h2>Numbers</h2>
<table>{% for title, value in facts %}<tr><th>{{ title }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
{% if report.pace %}
<h2>Images a second</h2>
<div class="bars">{% for one in report.pace %}
<div style="height: {{ (100 * one.frames_per_s / fastest) | round(1) }}%" \
title="{{ one.since.isoformat(timespec='seconds') }}: {{ '%.2f' | format(one.frames_per_s) }} img/s"></div>{% endfor %}</div>
<p>{{ report.pace[0].since.isoformat(timespec='minutes') }} to \
{{ report.pace[-1].since.isoformat(timespec='minutes') }}, at most {{ '%.2f' | format(fastest) }} img/s</p>
{% endif %}
{% if quality %}
<h2>Pictures</h2>
<table>{% for title, value in quality_facts %}<tr><th>{{ title }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
{% for one in quality.histograms %}
<h3>{{ one.score }}</h3>
<div class="bars low">{% for count in one.counts %}
<div style="height: {{ (100 * count / (one.counts | max)) | round(1) }}%" title="{{ count }} frames"></div>{% endfor %}</div>
<p>{{ '%.4g' | format(one.low) }} to {{ '%.4g' | format(one.high) }}, mean {{ '%.4g' | format(one.mean) }}</p>
{% endfor %}
{% for word, lists in (("highest", quality.best), ("lowest", quality.worst)) %}{% for score, examples in lists if examples %}
<h3>{{ word }} {{ score }}</h3>
<div class="examples">{% for one in examples %}
<figure><img src="{{ one.picture }}" alt="{{ one.prompt }}"/><figcaption>{{ '%.4g' | format(one.value) }} · {{ one.walk }} \
{{ one.frame }}<br/>{{ one.prompt }}</figcaption></figure>{% endfor %}</div>
{% endfor %}{% endfor %}
{% endif %}
{% if report.damage %}
<h2>Damage</h2>
<ul>{% for one in report.damage %}<li>{{ one }}{% if one.frames %} ({{ one.frames }}){% endif %}</li>{% endfor %}</ul>
{% endif %}
{% for title, heads, rows in tables if rows %}
<h2>{{ title }}</h2>
<table><tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td class="text">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% endfor %}
</body>
</html>
"""


def page_of(report: NightReport, quality: Quality | None = None) -> str:
    """Return the report as one HTML page without scripts or other files, with what its pictures are like.

    All texts are escaped and without control characters; the page is well-formed XML as well.
    """
    from jinja2 import Environment, StrictUndefined  # here, since whoever renders has no use for it

    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_shown)
    fastest = max((one.frames_per_s for one in report.pace), default=0.0) or 1.0
    return environment.from_string(PAGE).render(
        name=report.out.absolute().name,
        report=report,
        facts=_facts(report),
        fastest=fastest,
        tables=[*_quality_tables(quality), *_tables(report)],
        quality=quality,
        quality_facts=_quality_facts(quality),
    )


def _quality_facts(quality: Quality | None) -> list[tuple[str, str]]:
    """Return the lines of the table of what the pictures are like."""
    if quality is None:
        return []
    facts = [("prompts", f"{quality.prompts:,} of {counted(quality.frames, 'frame')}")]
    if quality.measure:
        told = "mean distance of two pictures of one prompt (0: equal)"
        facts.append(("diversity", f"{quality.diversity:.3f}, {told}, by {quality.measure}"))
    else:
        scored = "not measured: `render score OUT --with clip`, or `phash`, gives what it needs"
        facts.append(("diversity", scored))
    if quality.near_groups:
        groups = counted(quality.near_groups, "group")
        facts.append(("near-duplicates", f"{counted(quality.near_frames, 'frame')} in {groups}"))
    facts += [(flag, counted(frames, "frame")) for flag, frames in quality.flags]
    return facts


def _quality_tables(quality: Quality | None) -> Iterator[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]:
    for one in quality.coverage if quality else ():
        yield f"Frames by {one.label}", (one.label, "frames"), [*one.counts]
    if quality:
        rows: list[tuple[object, ...]] = [
            (one.prompt, one.frames, f"{one.distance:.3f}") for one in quality.least_diverse
        ]
        yield "Prompts of least diversity", ("prompt", "frames", "distance"), rows


def _tables(report: NightReport) -> Iterator[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]:
    """Yield (title, heads of the columns, rows) of the page's tables."""
    heads: tuple[str, ...] = ("frame", "prompt", "error", "tries", "host", "memory")
    yield (
        "Frames in quarantine",
        heads,
        [
            (f"{one.walk} {one.frame}", one.prompt, one.line, one.tries, one.host, f"{one.memory_bytes / 1e9:.1f} GB")
            for one in report.failed
        ],
    )
    heads = ("unit", "frames", "seconds", "seconds a frame", "host")
    slowest = [(one.unit, one.frames, one.seconds, one.seconds / one.frames, one.host) for one in report.slowest]
    yield "Slowest units", heads, [(unit, n, f"{s:.1f}", f"{each:.2f}", host) for unit, n, s, each, host in slowest]
    yield "Events", ("time (UTC)", "event", "what"), [(_when(one), one["event"], _told(one)) for one in report.events]


def _shown(value: object) -> str:
    """Return a value as text for the page; signs that no page may have are written out."""
    return "\n".join(map(printable, str(value).split("\n")))


def text_of(report: NightReport) -> str:
    """Return the report for a terminal, without control characters from prompts or errors."""
    lines = [f"{title:<12}{value}" for title, value in _facts(report)]
    if report.pace:
        fastest = max(one.frames_per_s for one in report.pace)
        bars = "".join(BARS[round(8 * one.frames_per_s / fastest)] for one in report.pace) if fastest else ""
        lines.append(f"{'speed':<12}{bars}  at most {fastest:.2f} img/s, {report.pace[0].seconds:,.0f} s a bar")
    for one in report.slowest:
        lines.append(
            f"{'slow':<12}unit {one.unit}: {one.seconds / one.frames:.2f} s a frame on {one.host or 'unknown'}"
        )
    lines += [f"{'damage':<12}{one}" for one in report.damage[:SHOWN_MAX]]
    lines += [f"{'failed':<12}{_failed(one)}" for one in report.failed[:SHOWN_MAX]]
    if more := len(report.failed) - SHOWN_MAX:
        lines += [f"{'failed':<12}… and {more} more"] if more > 0 else []
    lines += [f"{one['event']:<12}{_when(one)} {_told(one)}".rstrip() for one in report.events[-SHOWN_MAX:]]
    lines += [f"{'next':<12}{step}" for step in report.next_steps]
    return "\n".join(map(printable, lines))


def _when(event: dict[str, Any]) -> str:
    return f"{event['at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _told(event: dict[str, Any]) -> str:
    """Return what an event says beside its time: why, where, or which worker. Why one is gone, its loss has said."""
    names = [str(event[name]) for name in ("worker", "card") if event.get(name)]
    if event["event"] == "gone":
        return " ".join(names)
    return " ".join([*names, str(event.get("reason") or event.get("text") or event.get("host") or "")]).strip()


def _facts(report: NightReport) -> list[tuple[str, str]]:
    return [
        ("output", str(report.out)),
        ("frames", f"{report.frames:,} committed, {report.missing:,} missing, {len(report.failed):,} in quarantine"),
        ("blank", f"{counted(report.blank, 'image')} of a single colour"),
        ("size", f"{report.size_bytes / 1e6:,.1f} MB"),
        ("work", f"{report.seconds:,.1f} s of units, summed over the workers"),
        ("batches", f"{report.fill:.1%} full, {report.waiting_s:,.1f} s without a frame to render"),
        ("hosts", ", ".join(f"{host} ({counted(frames, 'frame')})" for host, frames in report.hosts) or "none"),
    ]


def _failed(one: Failed) -> str:
    where = f"{one.walk} {one.frame} (row {one.row}): {one.line[:200]}"
    tries = counted(one.tries, "try", "tries")
    return f"{where}; {tries}, {one.host}, {one.memory_bytes / 1e9:.1f} GB; prompt {one.prompt[:100]!r}"
