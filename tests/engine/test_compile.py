"""Compiled networks: which parts, how often, and with what bits.

Most tests trace the networks as the compiler does, and then run them as they are: writing and compiling C++ takes a minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
import torch._dynamo
from pipelines import make_pipeline
from torch import Tensor, nn
from torch._dynamo.utils import counters

from render.core.errors import ModelError
from render.core.recipe import Recipe
from render.core.user_cache import user_cache
from render.engine.compile import CompiledParts, blocks_of, compile_options
from render.engine.denoise import pack_rows
from render.engine.renderer import Renderer
from render.models.model import Model, resolve_model

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch's own
ROWS = 4
MakeModel = Callable[[str], Model]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    made: dict[str, Model] = {}

    def make(variant: str) -> Model:
        if variant not in made:
            folder = make_pipeline(variant, tmp_path_factory.mktemp("models") / variant)
            made[variant] = resolve_model(str(folder), None, Path.cwd())
        return made[variant]

    return make


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Have `torch.compile` trace networks and run what it traced uncompiled; forget all traces afterwards."""
    compile, config = torch.compile, torch._dynamo.config
    monkeypatch.setattr(
        torch, "compile", lambda call, dynamic, options: compile(call, dynamic=dynamic, backend="eager")
    )
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "own"))
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(
        recompile_limit=config.recompile_limit, fail_on_recompile_limit_hit=config.fail_on_recompile_limit_hit
    ):
        yield
    torch._dynamo.reset()


def transformer(kind: str, model: Model) -> nn.Module:
    network: nn.Module = getattr(diffusers, kind).from_pretrained(model.path / "transformer")
    return network


@pytest.mark.parametrize(
    ("variant", "kind", "blocks"),
    [
        ("sd3", "SD3Transformer2DModel", ["JointTransformerBlock"] * 2),  # diffusers names none
        ("flux-dev", "FluxTransformer2DModel", ["FluxTransformerBlock"] * 2 + ["FluxSingleTransformerBlock"] * 2),
        ("pixart", "PixArtTransformer2DModel", ["BasicTransformerBlock"] * 2),
    ],
)
def test_the_blocks_of_a_transformer(make_model: MakeModel, variant: str, kind: str, blocks: list[str]) -> None:
    network = transformer(kind, make_model(variant))
    assert [type(block).__name__ for block in blocks_of(network)] == blocks


def test_blocks_inside_blocks_are_theirs() -> None:
    def block() -> nn.Module:
        return nn.Sequential(nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)]))

    layers = nn.ModuleList([block(), block(), block()])
    others = nn.ModuleList([nn.ReLU(), nn.ReLU()])
    network = nn.ModuleDict({"layers": layers, "mixed": nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])})
    assert blocks_of(network) == list(layers)
    network["layers_2"] = others
    assert blocks_of(network) == [*layers, *others]


def test_a_transformer_without_blocks_is_refused() -> None:
    pipeline = SimpleNamespace(components={"transformer": nn.Linear(1, 1)})
    with pytest.raises(ModelError, match=r"workers\.compile: required a network with repeated blocks, got Linear"):
        CompiledParts(pipeline, torch.device("cpu"))


def test_options_are_those_of_the_compiler() -> None:
    """It refuses names that it does not know."""
    for device in ("cpu", "cuda"):
        torch.compile(nn.Linear(1, 1), options=compile_options(torch.device(device)))
    assert compile_options(torch.device("cuda")) == {"deterministic": True, "layout_optimization": False}


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "graphs"), [("sd", 2), ("sdxl", 2), ("sd3", 3), ("flux-dev", 4)])
def test_every_part_is_traced_once_for_a_shape(
    make_model: MakeModel, make_recipe: Callable[..., Recipe], traced: None, variant: str, graphs: int
) -> None:
    """The decoder and the UNet, or a block of each kind and layout of inputs. Frames of any kind find them."""
    model = make_model(variant)
    renderer = Renderer(model, "cpu", "float32", threads=1, compiles=True)
    batches = renderer.tuner.batches(64, 64, ROWS, 1)
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]
    scheduler = model.sampling.scheduler
    embedded = 3.5 if model.facts.guidance_embeds else None
    recipes = [
        make_recipe(
            steps=steps, guidance=scale, scheduler=scheduler, model=model.fingerprint, embedded_guidance=embedded
        )
        for steps, scale in ((1, 3.0), (2, 1.0), (3, 4.0))
    ]
    renderer.prepare(recipes)
    waiting = iter([(n, renderer.start(recipe)) for n, recipe in enumerate(recipes)])
    with torch._dynamo.config.patch(error_on_recompile=True):
        done = dict(pack_rows(lambda _: next(waiting, None), lambda rows: renderer.run(rows, batches.network), ROWS))
        for latents in done.values():
            assert isinstance(latents, Tensor), latents
            renderer.decode([latents], False, batches.decoder)
            renderer.decode([latents], True, batches.decoder)  # not compiled: its tiles have other shapes
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.slow
def test_row_threads_find_what_another_thread_compiled(make_model: MakeModel, traced: None) -> None:
    """Parts of a batch run on threads of their own, with a thread count of their own, which the compiler guards."""
    renderer = Renderer(make_model("sd3"), "cpu", "float32", threads=2, compiles=True)
    batches = renderer.tuner.batches(64, 64, ROWS, 1)
    graphs = counters["stats"]["unique_graphs"]
    rows = renderer._sample_rows(64, 64)
    with torch._dynamo.config.patch(error_on_recompile=True):
        together = renderer.run(rows, batches.network)
        (alone,) = renderer.run(rows[1:2], batches.network)
    assert torch.equal(alone, together[1])
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.slow
def test_a_shape_over_the_limit_is_an_error_not_other_bits(
    make_model: MakeModel, traced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("render.engine.compile.SHAPES_MAX", 2)
    renderer = Renderer(make_model("sd3"), "cpu", "float32", threads=1, compiles=True)  # its blocks are of two kinds
    renderer.tuner.batches(64, 64, 1, 1)
    with pytest.raises(Exception, match="recompile"):
        renderer.tuner.batches(64, 64, 2, 1)


class Doubling(nn.Module):
    """A network of our own: calls of torch's own modules alone are not compiled."""

    def forward(self, latents: Tensor) -> Tensor:
        return 2 * latents


def test_the_limit_holds_in_every_thread(traced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's settings are a thread's own from 2.13 on; a worker loads in one thread, denoises and decodes in two others."""
    monkeypatch.setattr("render.engine.compile.SHAPES_MAX", 2)
    unet = Doubling()
    vae = SimpleNamespace(decode=lambda latents: latents + 1)
    CompiledParts(SimpleNamespace(components={"unet": unet}, vae=vae), torch.device("cpu"))
    for call in (unet, vae.decode):
        with ThreadPoolExecutor(1) as other:
            results = [other.submit(call, torch.zeros(size, 1)) for size in (1, 2, 3)]
            assert [len(result.result()) for result in results[:2]] == [1, 2]
            with pytest.raises(Exception, match="recompile"):
                results[2].result()


def test_inside_eager_the_network_is_not_compiled(make_model: MakeModel, traced: None) -> None:
    from render.models import Loading, load_family

    model = make_model("sd3")
    pipeline = load_family(model.family, Loading(model.path, torch.device("cpu"), torch.float32)).pipeline
    blocks: Sequence[Any] = pipeline.transformer.transformer_blocks
    parts = CompiledParts(pipeline, torch.device("cpu"))
    compiled = [block._compiled_call_impl for block in blocks]
    assert all(compiled)
    with parts.eager():
        assert [block._compiled_call_impl for block in blocks] == [None] * len(blocks)
    assert [block._compiled_call_impl for block in blocks] == compiled


def test_the_compiler_s_cache_is_the_user_s(
    make_model: MakeModel, traced: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kept between runs, and shared by the workers of a machine. One that the user has set stays."""
    pipeline = SimpleNamespace(components={"unet": nn.Linear(1, 1)}, vae=SimpleNamespace(decode=abs))
    CompiledParts(pipeline, torch.device("cpu"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "own")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    CompiledParts(pipeline, torch.device("cpu"))
    assert (
        os.environ["TORCHINDUCTOR_CACHE_DIR"]
        == str(user_cache("inductor"))
        == str(tmp_path / "nightrender" / "inductor")
    )
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # for monkeypatch to take it away again
