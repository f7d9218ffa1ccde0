"""Show a report of an output folder: as text for a terminal, or as one HTML page that opens from disk."""

from __future__ import annotations

from typing import Any

from render.mending.report import Failed, NightReport

__all__ = ["page_of", "printable", "text_of"]

SHOWN_MAX = 50  # frames in quarantine, and events, that the text lists; the page has all
BARS = " ▁▂▃▄▅▆▇█"

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ name }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 0 0 2em }
td, th { text-align: left; padding: .2em 1em .2em 0; vertical-align: top }
td.text { white-space: pre-wrap; overflow-wrap: anywhere } li { margin: .3em 0 } .bars { display: flex; height: 8em }
.bars div { flex: 1; margin-right: 2px; background: #47a; align-self: flex-end }
</style>
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
{% if report.damage %}
<h2>Damage</h2>
<ul>{% for one in report.damage %}<li>{{ one }}{% if one.frames %} ({{ one.frames }}){% endif %}</li>{% endfor %}</ul>
{% endif %}
{% if report.failed %}
<h2>Frames in quarantine</h2>
<table><tr><th>frame<th>prompt<th>error<th>tries<th>host<th>memory</tr>
{% for one in report.failed %}<tr><td>{{ one.walk }} {{ one.frame }}<td class="text">{{ one.prompt }}\
<td class="text">{{ one.line }}<td>{{ one.tries }}<td>{{ one.host }}<td>{{ '%.1f' | format(one.memory_bytes / 1e9) }} GB</tr>
{% endfor %}</table>
{% endif %}
{% if report.slowest %}
<h2>Slowest units</h2>
<table><tr><th>unit<th>frames<th>seconds<th>seconds a frame<th>host</tr>
{% for one in report.slowest %}<tr><td>{{ one.unit }}<td>{{ one.frames }}<td>{{ '%.1f' | format(one.seconds) }}\
<td>{{ '%.2f' | format(one.seconds / one.frames) }}<td>{{ one.host }}</tr>
{% endfor %}</table>
{% endif %}
{% if report.events %}
<h2>Events</h2>
<table>{% for one in report.events %}<tr><td>{{ one.time }}<td>{{ one.event }}<td class="text">\
{{ told(one) }}</tr>
{% endfor %}</table>
{% endif %}
"""


def page_of(report: NightReport) -> str:
    """Return the report as one HTML page without scripts or other files; all texts are escaped."""
    from jinja2 import Environment, StrictUndefined  # here, since whoever renders has no use for it

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    fastest = max((one.frames_per_s for one in report.pace), default=0.0) or 1.0
    return template.render(
        name=report.out.absolute().name, report=report, facts=_facts(report), fastest=fastest, told=_told
    )


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
    lines += [f"{one['event']:<12}{one['time']} {_told(one)}".rstrip() for one in report.events[-SHOWN_MAX:]]
    lines += [f"{'next':<12}{step}" for step in report.next_steps]
    return "\n".join(map(printable, lines))


def _told(event: dict[str, Any]) -> str:
    """Return what an event says beside its time: why, where, or which worker."""
    names = [str(event[name]) for name in ("worker", "card") if event.get(name)]
    return " ".join([*names, str(event.get("reason") or event.get("text") or event.get("host") or "")]).strip()


def _facts(report: NightReport) -> list[tuple[str, str]]:
    return [
        ("output", str(report.out)),
        ("frames", f"{report.frames:,} committed, {report.missing:,} missing, {len(report.failed):,} in quarantine"),
        ("blank", f"{report.blank:,} images of a single colour"),
        ("size", f"{report.size_bytes / 1e6:,.1f} MB"),
        ("work", f"{report.seconds:,.1f} s of units, summed over the workers"),
        ("batches", f"{report.fill:.1%} full, {report.waiting_s:,.1f} s without a frame to render"),
        ("hosts", ", ".join(f"{host} ({frames:,} frames)" for host, frames in report.hosts) or "none"),
    ]


def _failed(one: Failed) -> str:
    where = f"{one.walk} {one.frame} (row {one.row}): {one.line[:200]}"
    return f"{where}; {one.tries} tries, {one.host}, {one.memory_bytes / 1e9:.1f} GB; prompt {one.prompt[:100]!r}"


def printable(line: str) -> str:
    """Return a line with its control characters written out: a terminal would obey them."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)
