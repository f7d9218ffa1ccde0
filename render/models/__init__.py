"""Models: find, check, describe and load diffusers models.

`resolve_model` finds a model (the embedded one, a folder, a hub id) and reads from its JSON files what planning needs: its
family, sizes, schedulers, defaults and token limits. A family is the code of one architecture (`families/`); `load_family`
loads its pipeline for rendering.

Promises: a `Model` is complete and safe to load (safetensors only, components of diffusers and transformers only). Its
fingerprint is the hash of everything that its pixels depend on. Nothing here loads torch or diffusers before `load_family`.

May be touched: model folders (read only), the Hugging Face cache and, for downloads, the hub.
Its doors are the names in `__all__`.
"""

from __future__ import annotations

from render.models.digests import known_sha256
from render.models.families import Conditioning, Family, Loading, SamplingDefaults, load_family
from render.models.families.parts import Autoencoder, copy_to, text_encoders
from render.models.model import Changes, Model, resolve_model
from render.models.terms import ModelTerms, model_terms
from render.models.weighted import encode_prompt

__all__ = [
    "Autoencoder",
    "Changes",
    "Conditioning",
    "Family",
    "Loading",
    "Model",
    "ModelTerms",
    "SamplingDefaults",
    "copy_to",
    "encode_prompt",
    "known_sha256",
    "load_family",
    "model_terms",
    "resolve_model",
    "text_encoders",
]
