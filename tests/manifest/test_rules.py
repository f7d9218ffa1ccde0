"""Rules of the models that a manifest names, row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from manifest_tables import DEFAULTS, SCHEDULERS, THREE, errors_of_three

from render.core.errors import ManifestError
from render.core.vocabulary import FLOW_SCHEDULERS
from render.manifest.read import read_manifest
from render.models.families import SamplingDefaults

NEAREST = "(nearest: flow-euler)"

pytest_plugins = ["manifest_tables"]


def test_every_row_is_judged_by_the_rules_of_its_model(path: Path) -> None:
    """One content is right in one row and wrong in the next; the rest of a row of no known model is read, too."""
    text = (
        "prompt,model,width,scheduler,true_guidance,steps\n"
        "a,main,24,euler,1,\n"
        "a,flow,24,euler,1.0,0\n"
        "a,flux,48,flow-unipc,4,\n"
        "a,main,48,flow-unipc,4,\n"
        "a,Flux,24,euler,4,0\n"
        "a,flow,320,flow_eulr,-1,\n"
    )
    flow = ", ".join(FLOW_SCHEDULERS)
    sides = "a multiple of 16, 32 … 256 pixels with model 'flow'"
    off = "1 or nothing (this model's guidance is in column `guidance`)"
    assert errors_of_three(path, text) == [
        f"row 2, column 'width': required {sides}; got '24'",
        "row 2, column 'steps': required an integer, 1 … 998 with model 'flow'; got '0'",
        f"row 2, column 'scheduler': required one of {flow} with model 'flow'; got 'euler', which does not fit a model of "
        "flow matching (nearest: flow-euler)",
        f"row 4, column 'scheduler': required one of {SCHEDULERS}; got 'flow-unipc', which is for models of flow matching "
        "(nearest: unipc)",
        f"row 4, column 'true_guidance': required {off}; got '4'",
        "row 5, column 'model': required a model of the job (main, flow, flux); got 'Flux' (nearest: flux)",
        "row 5, column 'steps': required an integer, 1 … 998; got '0'",
        f"row 6, column 'width': required {sides}; got '320'",
        f"row 6, column 'scheduler': required one of {flow} with model 'flow'; got 'flow_eulr' (nearest: flow-euler, "
        "flow-heun)",
        f"row 6, column 'true_guidance': required {off} with model 'flow'; got '-1'",
    ]


def test_a_default_is_judged_by_every_model_that_takes_it(path: Path) -> None:
    path.write_text("prompt,model,width\na,flow,32\na,main,32\na,flux,32\na,flow,32\n")
    models = {name: replace(rules, defaults=SamplingDefaults(8, 64, 4, 1.0, "euler")) for name, rules in THREE.items()}
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, models)
    misfit = "got 'euler', the job's default with model {!r}, which does not fit a model of flow matching " + NEAREST
    assert [line.split("; ")[1] for line in str(caught.value).split("\n")[1:]] == [
        misfit.format("flow"),
        misfit.format("flux"),
    ]
