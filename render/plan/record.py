"""The plan of a job as its output folder records it, with the rows that were added later. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from render.core import Group, Target

__all__ = ["Extension", "Plan"]


@dataclass(frozen=True, slots=True)
class Extension:
    """The plan of rows that were added to a begun output; their units follow those before, with sizes of their own."""

    after_row: int  # the row of the manifest that they begin behind
    rows: int  # of the manifest's table; under a sweep each counts once for every point
    units: int
    batch_rows: dict[Group, int]
    unit_frames: dict[Group, int]
    table: str = ""  # path of the further table that they are of; "" for more rows of the table before
    frames: int = 0  # of its units; 0 in plans that do not say


@dataclass(frozen=True, slots=True)
class Plan:
    """The choices that are fixed before the first frame; with the manifest they give every unit. `to_dict` suits JSON."""

    fingerprint: dict[str, str]  # what the pixels and the store's content depend on
    targets: dict[str, Target]  # the models by their names in the job, in the order in which they render
    units: int
    batch_rows: dict[Group, int]  # batch size, counted in network inputs; at most, if `measure_rows`
    unit_frames: dict[Group, int]
    threads: int = 1  # torch's CPU threads of a worker
    compile: bool = False  # the networks are compiled
    measure_rows: bool = False  # workers choose the batch size by measurement, `batch_rows` at most
    rows: int = 0  # of the manifest's table, without those of extensions
    extensions: tuple[Extension, ...] = ()  # in their order
    frames: int = 0  # of its units, without those of extensions; 0 in plans that do not say
    has_splits: bool = False  # the output began with other splits than train: its shards have a column `split`

    @property
    def all_units(self) -> int:
        """Number of units, those of extensions included."""
        return self.units + sum(part.units for part in self.extensions)

    @property
    def all_rows(self) -> int:
        """Number of the manifest's rows, those of extensions included."""
        return self.rows + sum(part.rows for part in self.extensions)

    def to_dict(self) -> dict[str, object]:
        """Return the plan as JSON has it: the sizes group by group."""
        return {**_to_json(self), "extensions": [_to_json(part) for part in self.extensions]}

    @property
    def all_frames(self) -> int | None:
        """Number of frames, those of extensions included; None in plans that do not say."""
        counts = [self.frames, *(part.frames for part in self.extensions)]
        return sum(counts) if all(counts) else None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Plan:
        """Return the plan of `to_dict`. Raises AttributeError, KeyError or TypeError for another version's."""
        targets = {name: Target(**target) for name, target in fields["targets"].items()}
        extensions = tuple(Extension(**_from_json(part)) for part in fields["extensions"])
        plan = cls(**{**_from_json(fields), "targets": targets, "extensions": extensions})
        if not isinstance(plan.fingerprint["manifest"], str) or not isinstance(
            plan.all_rows + plan.all_units + (plan.all_frames or 0), int
        ):
            raise TypeError("required a fingerprint of the manifest and numbers of rows and units")
        return plan


def _to_json(part: Plan | Extension) -> dict[str, Any]:
    """Return the fields with a list of groups in place of the two mappings by group."""
    groups = [
        {
            "model": model,
            "width": width,
            "height": height,
            "batch_rows": rows,
            "unit_frames": part.unit_frames[model, width, height],
        }
        for (model, width, height), rows in part.batch_rows.items()
    ]
    fields = {name: value for name, value in asdict(part).items() if name not in ("batch_rows", "unit_frames")}
    return {**fields, "groups": groups}


def _from_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    groups = {(one["model"], one["width"], one["height"]): one for one in fields["groups"]}
    sizes = {name: {group: one[name] for group, one in groups.items()} for name in ("batch_rows", "unit_frames")}
    return {**{name: value for name, value in fields.items() if name != "groups"}, **sizes}
