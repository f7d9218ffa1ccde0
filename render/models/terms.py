"""Read what a model says of its licence and of what it makes, from the files that its folder has. No network."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from render.starter import PIPELINE

__all__ = ["ModelTerms", "model_terms"]

TEXTS = (
    "README.md",
    "LICENSE.md",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
)  # the later ones are asked for what outputs may be
TEXT_BYTES = 200_000
OUTPUTS = re.compile(r"\boutputs?\b|\bgenerated (?:images|pictures|content)\b|\bpictures\b", re.IGNORECASE)
TERMS = re.compile(
    r"\b(?:rights?|claims?|own(?:s|ed|ership)?|licen[cs]\w*|accountable|responsib\w+|restrict\w+|prohibit\w*)\b"
)
SENTENCES, SENTENCE_MAX = 2, 300


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """The terms of a model, in its own words; "" for what it does not say."""

    licence: str = ""  # the key `license` of its model card, such as apache-2.0
    link: str = ""  # to the licence's text
    outputs: str = ""  # sentences on what it makes


def model_terms(model_id: str, revision: str = "") -> ModelTerms:
    """Return the terms of a model by its id in a store: `starter`, a folder's path, or a hub id that was downloaded."""
    texts = [text for name in TEXTS if (text := _text(model_id, revision, name))]
    if not texts:
        return ModelTerms()
    header = _header(texts[0])
    licence = header.get("license_name") or header.get("license") or ""
    found = [sentence for text in texts for sentence in _sentences(text)]
    return ModelTerms(str(licence), str(header.get("license_link") or ""), " ".join(found[:SENTENCES]))


def _text(model_id: str, revision: str, name: str) -> str:
    """Return a text file of a model; "" when there is none on this machine."""
    folder = PIPELINE if model_id == "starter" else Path(model_id)
    with suppress(OSError, ValueError):
        path = folder / name if folder.is_dir() else _cached(model_id, revision, name)
        if path is not None and path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                return file.read(TEXT_BYTES)
    return ""


def _cached(model_id: str, revision: str, name: str) -> Path | None:
    """Return a hub model's file where it was downloaded already."""
    if "://" in model_id or model_id.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model_id, name, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def _header(text: str) -> dict[str, object]:
    """Return the YAML header of a model card; {} for a text without one."""
    match = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    with suppress(yaml.YAMLError):
        found = yaml.safe_load(match[1]) if match else None
        return found if isinstance(found, dict) else {}
    return {}


def _sentences(text: str) -> list[str]:
    """Return the sentences that say what holds for what a model makes."""
    body = re.sub(r"\A---\s*\n.*?\n---\s*\n", "", text, flags=re.DOTALL)
    sentences = re.split(r"(?<=[.!?])\s+|\n\s*\n|\n\s*[-*#>|]", body)
    plain = [" ".join(sentence.split()) for sentence in sentences]
    return [
        sentence[:SENTENCE_MAX] + ("…" if len(sentence) > SENTENCE_MAX else "")
        for sentence in plain
        if OUTPUTS.search(sentence) and TERMS.search(sentence)
    ]
