"""A chain as a CycloneDX 1.6 bill of materials for machine learning, by hand: the Python library has no modelCard.

The same chain gives the same bytes: the serial number is drawn from it, and there is no time stamp. `hashes` holds digests of files only;
digests of several files together stand in properties, with what was declared and what was verified kept apart.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from rootstock.core.artifact import digest_json
from rootstock.sentinel.provenance.chain import Link
from rootstock.sentinel.provenance.licences import spdx

_DATA = ("data", "corpus", "source")
_KINDS = {**dict.fromkeys(_DATA, "data"), "tokenizer": "file"}
_OBJECTIVES = frozenset(
    [
        *("masked-lm", "next-sentence", "replaced-token", "causal-lm", "span-corruption", "denoising", "cbow", "bidirectional-lm"),
        *("contrastive-text", "contrastive-image", "contrastive-image-text"),
    ]
)
"""Tasks that make their labels from the data."""


def as_cyclonedx(root: Link, version: str, metrics: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document. metrics: name to value, or to value, lower and upper bound."""
    refs = references(root)
    links = list({refs[id(link)]: link for link in root.every()}.items())
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "rootstock", "version": version}]},
            "component": _component(root, refs, metrics or {}),
        },
        "components": [_component(link, refs, {}) for ref, link in links if link is not root],
        "dependencies": [{"ref": ref, "dependsOn": list(dict.fromkeys(refs[id(each)] for each in link.grew_from))} for ref, link in links],
    }
    serial = uuid5(NAMESPACE_URL, digest_json(content))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", **content}


def references(root: Link) -> dict[int, str]:
    """A name for each link that is the same wherever the same thing occurs in the chain."""
    return {
        id(each): f"{each.role.replace(' ', '-')}:{digest_json([each.role, each.name, each.declared or each.measured, each.state])[:16]}"
        for each in root.every()
    }


def _component(link: Link, refs: Mapping[int, str], metrics: Mapping[str, Any]) -> dict[str, Any]:
    kind = _KINDS.get(link.role, "machine-learning-model")
    made: dict[str, Any] = {"type": kind, "bom-ref": refs[id(link)], "name": link.name}
    if revision := link.facts.get("revision"):
        made["version"] = str(revision)
    if link.licence:
        known = spdx(link.licence)
        made["licenses"] = [{"license": {"id": known} if known else {"name": link.licence}}]
    if link.files:
        made["components"] = [
            {"type": "file", "bom-ref": f"{refs[id(link)]}/{name}", "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
            for name, digest in sorted(link.files.items())
        ]
    if kind == "machine-learning-model":
        made["modelCard"] = _card(link, refs, metrics)
    elif kind == "data":
        made["data"] = [{"type": "dataset", "name": link.name}]
    made["properties"] = [{"name": f"rootstock:{name}", "value": value} for name, value in _properties(link)]
    return made


def _card(link: Link, refs: Mapping[int, str], metrics: Mapping[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if task := link.facts.get("task"):
        parameters["task"] = str(task)
        parameters["approach"] = {"type": "self-supervised" if task in _OBJECTIVES else "supervised"}
    if architecture := link.facts.get("architecture"):
        parameters["modelArchitecture"] = str(architecture)
    if datasets := [{"ref": refs[id(each)]} for each in link.grew_from if each.role in _DATA]:
        parameters["datasets"] = datasets
    card: dict[str, Any] = {"modelParameters": parameters} if parameters else {}
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": [_metric(name, value) for name, value in metrics.items()]}
    return card


def _metric(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, list | tuple):
        bounds = {"lowerBound": str(value[1]), "upperBound": str(value[2])}
        return {"type": name, "value": str(value[0]), "confidenceInterval": bounds}
    return {"type": name, "value": str(value)}


def _properties(link: Link) -> list[tuple[str, str]]:
    verified = [("verified:state", link.state), ("verified:sha256", link.measured), ("verified:why", link.why)]
    declared = [("declared:sha256", link.declared)] + [
        (f"declared:{key}", value if isinstance(value, str) else json.dumps(value))
        for key, value in link.facts.items()
        if value is not None
    ]
    return [(name, value) for name, value in (("role", link.role), *declared, *verified) if value]
