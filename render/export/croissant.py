"""Write Croissant metadata, the JSON-LD by which data sets are found: https://docs.mlcommons.org/croissant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

__all__ = ["croissant"]

CONTEXT: dict[str, Any] = {  # of Croissant 1.0, as its specification writes it
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
ENCODINGS = {  # ending of a pattern → media type
    ".parquet": "application/x-parquet",
    ".tar": "application/x-tar",
    ".csv": "text/csv",
    ".jsonl": "application/jsonlines",
}


def croissant(
    name: str,
    description: str,
    license_id: str,
    published: str,
    files: Sequence[tuple[str, str]],
    schema: pa.Schema | None,
) -> str:
    """Return the metadata of a dataset as JSON: its files (split, pattern), and of Parquet files their columns.

    `published` is a date in ISO 8601. `schema` has the columns beside the picture; None for files whose records Croissant
    can't describe.
    """
    sets = [(split, pattern, f"files-{split}") for split, pattern in files]
    found: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": "1.0.0",
        "datePublished": published,
        **({"license": license_id} if license_id else {}),
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": own,
                "name": own,
                "description": f"Files of the split {split}.",
                "encodingFormat": _encoding(pattern),
                "includes": pattern,
            }
            for split, pattern, own in sets
        ],
        "recordSet": [_records(split, own, schema) for split, _, own in sets] if schema is not None else [],
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def _encoding(pattern: str) -> str:
    return next((kind for ending, kind in ENCODINGS.items() if pattern.endswith(ending)), "application/octet-stream")


def _records(split: str, files: str, schema: pa.Schema) -> dict[str, Any]:
    """Return the record set of a split."""
    flat = [field for field in schema if not pa.types.is_nested(field.type)]
    fields = [_field(split, files, "image", "sc:ImageObject", transform={"jsonPath": "bytes"})]
    fields += [_field(split, files, field.name, _kind(field.type)) for field in flat]
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"Images of the split {split}.",
        "field": fields,
    }


def _field(split: str, files: str, column: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{split}/{column}",
        "name": f"{split}/{column}",
        "description": f"Column {column}.",
        "dataType": kind,
        "source": {"fileSet": {"@id": files}, "extract": {"column": column}, **more},
    }


def _kind(kind: pa.DataType) -> str:
    """Return the data type of schema.org for a column's."""
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "sc:Float"
    return "sc:Date" if pa.types.is_date(kind) or pa.types.is_timestamp(kind) else "sc:Text"
