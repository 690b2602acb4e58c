"""A chain as an SPDX 3.0.1 document with its AI and Dataset profiles, in JSON-LD. The same chain gives the same bytes."""

from typing import Any

from rootstock.core.artifact import digest_json
from rootstock.sentinel.provenance.bom import references
from rootstock.sentinel.provenance.chain import Link
from rootstock.sentinel.provenance.licences import spdx

_DATA = ("data", "corpus", "source")
_CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
_TIME = "1970-01-01T00:00:00Z"
"""Fixed, so that the same chain gives the same document; nothing reads it as the time of the training."""


def as_spdx(root: Link, version: str) -> dict[str, Any]:
    """The document: a package for each link, and what each was trained on or grew from."""
    refs = references(root)
    links = {refs[id(link)]: link for link in root.every()}
    base = f"https://rootstock.invalid/spdx/{digest_json([sorted(refs.values())])[:32]}#"
    made = "_:creation"
    tool = {"type": "Tool", "spdxId": f"{base}tool", "name": f"rootstock {version}", "creationInfo": made}
    agent = {"type": "SoftwareAgent", "spdxId": f"{base}agent", "name": "rootstock", "creationInfo": made}
    creation: dict[str, Any] = {"type": "CreationInfo", "@id": made, "specVersion": "3.0.1", "created": _TIME}
    creation |= {"createdBy": [agent["spdxId"]], "createdUsing": [tool["spdxId"]]}
    packages = [_package(link, f"{base}{ref}", made) for ref, link in links.items()]
    between = [each for ref, link in links.items() for each in _relations(link, base, refs, made)]
    licences = [each for ref, link in links.items() if link.licence for each in _licence(link.licence, f"{base}{ref}", made)]
    elements = [agent, tool, *packages, *between, *licences]
    document = {
        "type": "SpdxDocument",
        "spdxId": f"{base}document",
        "creationInfo": made,
        "name": f"lineage of {root.name}",
        "profileConformance": ["core", "software", "ai", "dataset", "simpleLicensing"],
        "rootElement": [f"{base}{refs[id(root)]}"],
        "element": [each["spdxId"] for each in elements],
    }
    return {"@context": _CONTEXT, "@graph": [creation, document, *elements]}


def _package(link: Link, ref: str, made: str) -> dict[str, Any]:
    data = link.role in _DATA
    held: dict[str, Any] = {
        "type": "dataset_DatasetPackage" if data else "ai_AIPackage",
        "spdxId": ref,
        "creationInfo": made,
        "name": link.name,
        "comment": f"{link.role}; declared sha256 {link.declared}; {link.state}{f': {link.why}' if link.why else ''}",
        "software_primaryPurpose": "data" if data else "model",
    }
    if revision := link.facts.get("revision"):
        held["software_packageVersion"] = str(revision)
    if data:
        held["dataset_datasetType"] = ["noAssertion"]
    elif task := link.facts.get("task"):
        held["ai_domain"] = [str(task)]
    return held


def _relations(link: Link, base: str, refs: dict[int, str], made: str) -> list[dict[str, Any]]:
    kinds: dict[str, list[str]] = {}
    for each in link.grew_from:
        kinds.setdefault("trainedOn" if each.role in _DATA else "dependsOn", []).append(f"{base}{refs[id(each)]}")
    ref = f"{base}{refs[id(link)]}"
    return [_relation(ref, kind, sorted(set(ends)), made) for kind, ends in kinds.items()]


def _relation(start: str, kind: str, ends: list[str], made: str) -> dict[str, Any]:
    named = {"spdxId": f"{start}/{kind}", "creationInfo": made, "relationshipType": kind}
    return {"type": "Relationship", **named, "from": start, "to": ends}


def _licence(licence: str, ref: str, made: str) -> list[dict[str, Any]]:
    known = spdx(licence)
    if known is None:
        text = {"type": "simplelicensing_SimpleLicensingText", "simplelicensing_licenseText": licence}
    else:
        text = {"type": "simplelicensing_LicenseExpression", "simplelicensing_licenseExpression": known}
    element = {**text, "spdxId": f"{ref}/licence", "creationInfo": made}
    return [element, _relation(ref, "hasDeclaredLicense", [element["spdxId"]], made)]
