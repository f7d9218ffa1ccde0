"""Measure `render view` on a large made-up store: how soon it shows images, how it scrolls, how much memory it takes.

`python tests/benchmarks/view.py` (from the root of a clone; needs playwright and a Chromium; a minute for the store and two
for the measurement).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from made_up import make_up
from playwright.sync_api import sync_playwright

STEPS = 40  # of the scroll
WINDOW = {"width": 1400, "height": 900}
SHOWN = """[...document.querySelectorAll('.page')].every(section => {
    const box = section.getBoundingClientRect();
    return box.bottom < 0 || box.top > innerHeight || section.childElementCount > 0;
}) && [...document.images].filter(image => {
    const box = image.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
}).every(image => image.complete && image.naturalWidth > 0)"""
WATCH = """() => { window.gaps = []; let before = performance.now();
    const tick = now => { window.gaps.push(now - before); before = now; requestAnimationFrame(tick); };
    requestAnimationFrame(tick); }"""


def until(condition: Callable[[], object], limit_s: float = 120) -> float:
    """Wait until a condition holds; returns the seconds."""
    begin = time.perf_counter()
    while not condition():
        if time.perf_counter() - begin > limit_s:
            raise TimeoutError(f"not in {limit_s} s")
        time.sleep(0.005)
    return time.perf_counter() - begin


def peak_mb(process: int) -> float:
    """Return the largest memory that a process has had."""
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


def measure(out: Path, browser: Any) -> dict[str, float]:
    """Look at an output as a person does, from the command to the last image."""
    found: dict[str, float] = {}
    begin = time.perf_counter()
    command = [sys.executable, "-m", "render", "view", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        found["address_s"] = time.perf_counter() - begin
        page = browser.new_page(viewport=WINDOW)
        page.goto(address.replace("/?", "/images?"))
        page.wait_for_selector("article.cell", state="attached")
        until(lambda: page.evaluate(SHOWN))
        found["first_images_s"] = time.perf_counter() - begin
        until(lambda: page.locator("#news[data-unread='0']").count())
        found["all_read_s"] = time.perf_counter() - begin
        page.reload()
        until(lambda: page.evaluate(SHOWN))
        found |= scroll(page)
        for name, path in {
            "sorted_s": "/images?s=prompt&d=1",
            "filtered_s": "/images?c=thing&o=is&v=rocket",
            "stacks_s": "/images?view=stacks",
            "table_s": "/images?view=table&x=thing&y=seed",
            "walks_s": "/walks",
        }.items():
            begin = time.perf_counter()
            page.goto(address.partition("/?")[0] + path)
            until(lambda: page.evaluate(SHOWN))
            found[name] = time.perf_counter() - begin
        found["peak_mb"] = peak_mb(server.pid)
        page.close()
        server.terminate()
    return found


def scroll(page: Any) -> dict[str, float]:
    """Scroll through the whole grid; returns how long images took, and how long the page stood still."""
    page.evaluate(WATCH)
    waits = []
    for step in range(1, STEPS + 1):
        page.evaluate(f"scrollTo(0, (document.documentElement.scrollHeight - innerHeight) * {step / STEPS})")
        waits.append(until(lambda: page.evaluate(SHOWN)))
    gaps, waits = sorted(page.evaluate("window.gaps")), sorted(waits)
    return {
        "jump_median_s": waits[len(waits) // 2],
        "jump_longest_s": waits[-1],
        "frame_99_percent_ms": gaps[int(0.99 * len(gaps))],
        "frame_longest_ms": gaps[-1],
        "images_in_document": page.locator("article.cell").count(),
    }


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--out", type=Path, help="a store that was made up before (default: a temporary one)")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with ExitStack() as held:
        out = options.out
        if out is None:
            out = Path(held.enter_context(tempfile.TemporaryDirectory())) / "out"
            make_up(out, options.frames)
        started = held.enter_context(sync_playwright())
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        print(json.dumps({name: round(value, 3) for name, value in measure(out, browser).items()}, indent=1))
        browser.close()


if __name__ == "__main__":
    main()
