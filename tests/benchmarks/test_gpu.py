"""The benchmark for GPUs, on small models and this machine's CPU: that every measurement can be taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gpu
import pytest
from gpu_models import CASES
from gpu_steps import STEPS
from gpu_table import table
from stores import rendering_here

UNCOMPILED = [step for step in STEPS if "compiled" not in step]


@pytest.mark.slow
def test_every_measurement_is_taken_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second call measures nothing more."""
    arguments = ["--tiny", "--here", "--work", str(tmp_path), "--models", "sd15"]
    with rendering_here():
        gpu.main(arguments)
    text = (tmp_path / "results.json").read_text()
    results = json.loads(text)
    for model in ("sd15",):
        assert list(results["models"][model]) == UNCOMPILED
        taken: dict[str, Any] = {}
        for step, (found,) in results["models"][model].items():
            assert "error" not in found, found
            taken[step] = found
        for step in ("network", "stock, best batch", "stock, one at a time", "render run"):
            assert taken[step]["images_s"] > 0
        assert taken["render run"]["frames"] == taken["render run, mixed"]["frames"] == 4
        assert (taken["reproduce"]["same"], taken["reproduce"]["frames"]) == (4, 4)
        assert taken["network"]["tflops"] > 0
    said = capsys.readouterr().out
    assert "| stock, best batch |" in said
    assert "Failed:" not in said
    gpu.main([*arguments, "--table"])
    gpu.main(arguments)
    assert (tmp_path / "results.json").read_text() == text


def test_a_budget_that_is_spent_ends_the_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--tiny", "--here", "--work", str(tmp_path), "--budget", "0"])
    assert "the same command goes on" in capsys.readouterr().err


def test_what_fails_is_told_and_tried_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def fail(setting: object) -> dict[str, Any]:
        calls.append("network")
        raise MemoryError("no room")

    monkeypatch.setitem(STEPS, "network", fail)
    arguments = ["--tiny", "--here", "--work", str(tmp_path), "--models", "sd3", "--steps", "network", "--rounds", "2"]
    for more in ([], [], ["--again"]):
        gpu.main([*arguments, *more])
    assert len(calls) == 2
    assert "sd3: network: MemoryError: no room" in capsys.readouterr().out


def test_the_shares_are_those_of_the_numbers() -> None:
    """SD 1.5 as it was measured by hand: a run of 5.22 img/s, where network and decoder alone allow 1 / (1/8 + 0.0259)."""
    steps = {
        "network": [{"images_s": 7.8, "decode_ms": 25.9, "tflops": 300.0, "product_tflops": 750.0}, {"images_s": 8.2}],
        "render run": [{"images_s": 5.22, "inputs_s": 208.8}],
        "render run, mixed": [{"images_s": 6.0, "inputs_s": 200.0}],
        "stock, best batch": [{"error": "Traceback …\nRuntimeError: boom\n"}],
    }
    lines = table({"machine": {"device": "H200", "driver": ""}, "models": {"sd15": steps}}, CASES).splitlines()
    assert lines[0] == "device H200"
    assert "| run / (network and decoder alone) | 0.788 |" in lines
    assert "| mixed / homogeneous, inputs a second | 0.958 |" in lines
    assert "| share of a large product's rate, eager | 0.4 |" in lines
    assert "| network | 8 |" in lines
    assert "| stock, best batch |  |" in lines
    assert lines[-1] == "sd15: stock, best batch: RuntimeError: boom"
