"""Ray's own schema of cluster files, its refusals in the words of the other messages."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema

from minbert.errors import did_you_mean
from minbert.files.yaml_dialect import join, shorten
from trainables.machines.cluster_file import LOCAL, ClusterFile, Finding

_A = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def check_schema(file: ClusterFile) -> Iterator[Finding]:
    """Everything that Ray's schema refuses."""
    data = dict(file.data)
    if file.kind == LOCAL:
        data.pop("min_workers", None)  # Ray takes it away before it looks at its schema
    for error in jsonschema.Draft7Validator(_schema()).iter_errors(data):
        yield from _findings(error)


@functools.cache
def _schema() -> Mapping[str, Any]:
    spec = find_spec("ray")  # not imported: that takes a second, and reads the environment
    assert spec is not None and spec.submodule_search_locations
    (folder,) = spec.submodule_search_locations
    schema: Mapping[str, Any] = json.loads((Path(folder) / "autoscaler" / "ray-schema.json").read_text())
    return schema


def _findings(error: jsonschema.ValidationError) -> Iterator[Finding]:
    path = ".".join(str(part) for part in error.absolute_path)
    wanted: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            known = sorted(error.schema.get("properties", {}))
            for key in error.instance:
                if key not in known:
                    text = (
                        f"Ray knows no such key here{did_you_mean(key, known)}; it knows {', '.join(known)}"
                    )
                    yield Finding(join(path, str(key)), text)
        case "required":
            for key in wanted:
                if key not in error.instance:
                    yield Finding(join(path, key), "is missing")
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            must = " or ".join(_A.get(kind, kind) for kind in kinds)
            yield Finding(path, f"{shorten(error.instance)} is not allowed: it must be {must}")
        case "minimum":
            yield Finding(path, f"{shorten(error.instance)} is not allowed: at least {wanted} is")
        case "enum":
            allowed = ", ".join(str(each) for each in wanted)
            text = f"{shorten(error.instance)} is not allowed: the values are {allowed}"
            yield Finding(path, text + did_you_mean(error.instance, wanted))
        case _:
            yield Finding(path, f"Ray's schema refuses {shorten(error.instance)}: {error.message[:200]}")
