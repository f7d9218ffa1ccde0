"""Errors of a whole table, told together."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifest_tables import DEFAULTS, INTEGER, MODELS, SCHEDULERS, errors

from render.core.errors import ManifestError
from render.manifest.read import read_manifest

pytest_plugins = ["manifest_tables"]


def test_all_errors_at_once(path: Path) -> None:
    text = (
        "walk,prompt,seed,frames,easing,width,guidance,scheduler,imags\n"
        "a,dog,1,24,smoth,64,7.5,ddim,x\n"
        "a,,-1,0,linear,65,-2,dimm,x\n"
        "b,cat,18446744073709551616,1,,,inf,,x\n"
        "a,cow,,,,128,,Euler Karras,x\n"
        ",hen,,7,,,,,x\n"
    )
    assert errors(path, text) == [
        "column 'imags': required the name images, if that is meant, or in the job columns: {imags: images}; "
        "got 'imags' (is it a label? The job can say so: labels: [imags])",
        "row 1, column 'easing': required one of linear, smooth, ease-in, ease-out, onsets; got 'smoth' (nearest: smooth)",
        "row 2, column 'prompt': required a text; got ''",
        f"row 2, column 'seed': required {INTEGER['seed']}; got '-1' (leave it empty: each still gets its own)",
        f"row 2, column 'frames': required {INTEGER['frames']}; got '0'",
        f"row 2, column 'width': required {INTEGER['width']}; got '65'",
        "row 2, column 'guidance': required a finite number of at least 0; got '-2'",
        f"row 2, column 'scheduler': required one of {SCHEDULERS}; got 'dimm' (nearest: ddim)",
        f"row 3, column 'seed': required {INTEGER['seed']}; got '18446744073709551616'",
        "row 3, column 'guidance': required a finite number of at least 0; got 'inf'",
        f"row 4, column 'scheduler': required one of {SCHEDULERS}; got 'Euler Karras' (nearest: euler)",
        "row 4, column 'walk': required the keyframes of a walk on consecutive rows (its first is row 1); got 'a'",
        "row 5, column 'frames': required 1 or an empty cell on a row without a walk; got 7",
    ]


def test_a_hundred_errors_are_told_and_all_are_counted(path: Path) -> None:
    path.write_text("prompt,steps\n" + "p,1\n" * 50 + ",0\n" * 2000 + "x\n" * 3000)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, MODELS)
    heading, *lines, last = str(caught.value).split("\n")
    assert (heading, len(lines), last) == (f"{path}: 7000 errors", 100, "… and 6900 more")
    assert [line.removeprefix(f"{path}: ")[:26] for line in lines[:3]] == [
        "row 51, column 'prompt': r",
        "row 51, column 'steps': re",
        "row 52, column 'prompt': r",
    ]
