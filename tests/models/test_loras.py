"""The libraries that load LoRAs, told before the night where they do not fit each other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import diffusers.utils.constants
import pytest
import transformers.integrations.peft
from lora_files import make_lora
from packaging.version import Version
from pipelines import make_pipeline
from test_imports import loaded_by

import render.models.loras
from render import ModelError, plan_job
from render.models.loras import check_lora_libraries

PretendVersion = Callable[[str, str], None]


@pytest.fixture
def pretend_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendVersion:
    """Metadata of another version of a library, found before its own."""

    def pretend(library: str, number: str) -> None:
        folder = tmp_path / "metadata" / f"{library}-{number}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {number}\n")
        monkeypatch.setattr(sys, "path", [str(folder.parent), *sys.path])

    return pretend


def test_the_installed_libraries_fit() -> None:
    check_lora_libraries()


def test_what_the_libraries_want_is_read_as_they_have_it() -> None:
    assert render.models.loras._oldest_peft("transformers") == transformers.integrations.peft.MIN_PEFT_VERSION
    assert render.models.loras._oldest_peft("diffusers") == diffusers.utils.constants.MIN_PEFT_VERSION


def test_a_check_loads_no_heavy_library() -> None:
    loaded = loaded_by("from render.models.loras import check_lora_libraries; check_lora_libraries()")
    assert not loaded & {"torch", "transformers", "diffusers", "peft"}


def test_a_plan_with_loras_wants_libraries_that_fit(tmp_path: Path, pretend_version: PretendVersion) -> None:
    folder = make_pipeline("sd", tmp_path / "sd")
    file = make_lora("sd", folder, tmp_path / "style.safetensors")
    (tmp_path / "one.csv").write_text("prompt\na red fox\n")
    job = (f"model.id={folder}", f"output={tmp_path / 'out'}")
    with_lora = (*job, f"model.loras=[{{path: {file}}}]")
    assert plan_job(tmp_path / "one.csv", *with_lora).counts.frames == 1

    oldest = max(map(Version, filter(None, map(render.models.loras._oldest_peft, ("transformers", "diffusers")))))
    pretend_version("peft", "0.1")
    wanted = rf"required peft {oldest} or newer, as transformers {version('transformers')} asks for, got 0\.1"
    with pytest.raises(ModelError, match=rf'{wanted}: .* pip install .*"peft[<>=.,0-9]+" installs versions that fit'):
        plan_job(tmp_path / "one.csv", *with_lora)
    assert plan_job(tmp_path / "one.csv", *job).counts.frames == 1  # nobody else needs them


def test_loras_want_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.models.loras, "_version", {"transformers": "5", "diffusers": "0.42"}.get)
    with pytest.raises(ModelError, match=r"required peft .*, got none"):
        check_lora_libraries()


def test_a_library_that_does_not_say_is_taken(tmp_path: Path, pretend_version: PretendVersion) -> None:
    for library in ("transformers", "diffusers"):
        pretend_version(library, "99")
    pretend_version("peft", "0.1")
    check_lora_libraries()
