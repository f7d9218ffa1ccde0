"""What `--with` may say: each form, and each fault."""

from __future__ import annotations

import pytest

from render.core.errors import JobError
from render.scoring.kinds import KINDS, parse_scores


@pytest.mark.parametrize(
    ("text", "name", "kind", "model"),
    [
        ("clip", "clip", "clip", "starter"),
        ("sharpness", "sharpness", "sharpness", ""),
        ("clip=openai/clip-vit-base-patch32", "clip", "clip", "openai/clip-vit-base-patch32"),
        ("large:clip=/models/a=b", "large", "clip", "/models/a=b"),
        ("edges:sharpness", "edges", "sharpness", ""),
    ],
)
def test_each_form(text: str, name: str, kind: str, model: str) -> None:
    (score,) = parse_scores([text])
    assert (score.name, score.kind, score.model) == (name, kind, model)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "--with: required one or more of clip, .*, got none"),
        (["blur"], "--with blur: required one of clip, .*, got 'blur'"),
        (["../a:clip"], "--with ../a:clip: required a name of letters, digits and _, got '../a'"),
        (["_a:clip"], "required a name of letters"),
        (["sharpness=x"], "required sharpness alone, which has no model, got 'x'"),
        (["nsfw"], "--with nsfw: required nsfw=MODEL, a folder or a hub id, got no model"),
        (["clip", "clip=a/b"], "required each name once, got 'clip' twice"),
        (["blur", "nsfw"], "(?s)blur.*nsfw"),
    ],
)
def test_each_fault(texts: list[str], message: str) -> None:
    with pytest.raises(JobError, match=message):
        parse_scores(texts)


def test_names_of_columns_follow_from_the_score() -> None:
    assert KINDS["clip"].schema("large").names == ["key", "large_score", "large_embedding"]
    assert KINDS["sharpness"].schema("edges").names == ["key", "edges"]
