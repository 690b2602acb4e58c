"""Licences along a chain: what one forbids, the ones above it must not permit. No legal advice: it finds what a person should read.

A licence is told by its SPDX id or by the hub's name for it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rootstock.core.errors import UnknownName, UsageError
from rootstock.sentinel.provenance.chain import Link

SPDX = {
    each.lower(): each
    for each in (
        *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0", "PDDL-1.0", "AFL-3.0", "Artistic-2.0"),
        *("CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0"),
        *("CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0"),
        *("GPL-2.0-only", "GPL-3.0-only", "LGPL-3.0-only", "AGPL-3.0-only", "MPL-2.0", "ODbL-1.0", "ODC-By-1.0", "CDLA-Permissive-2.0"),
    )
}
"""Ids of SPDX by their lower case."""
_ALIASES = {"gpl-3.0": "GPL-3.0-only", "agpl-3.0": "AGPL-3.0-only", "lgpl-3.0": "LGPL-3.0-only", "gpl-2.0": "GPL-2.0-only"}
_OWN_TERMS = re.compile(r"^(llama|gemma|.*rail|deepseek|tongyi|qwen|bigscience|apple-|intel-research|fair-|c-uda|h-research)", re.I)
_UNKNOWN = ("", "unknown", "other", "none", "null")
_KEYS = {"allow", "deny", "unknown"}


@dataclass(frozen=True)
class Policy:
    """allow: only these, where it holds any. deny: none of these. unknown: whether a licence that is not stated is an issue."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    unknown: bool = False


@dataclass
class Judged:
    """issues: against the policy, or against what a licence below forbids. notes: to be read by a person."""

    issues: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def spdx(licence: str) -> str | None:
    """The SPDX id of a licence; None where it has none."""
    return _ALIASES.get(licence.lower()) or SPDX.get(licence.lower())


def kind(licence: str | None) -> str:
    """unknown, non-commercial, no-derivatives, share-alike, own-terms, permissive, or unlisted."""
    said = (licence or "").strip().lower()
    if said in _UNKNOWN:
        return "unknown"
    if re.search(r"\bnc\b|non-?commercial", said):
        return "non-commercial"
    if re.search(r"\bnd\b", said):
        return "no-derivatives"
    if re.search(r"\bsa\b|^(a|l)?gpl|^odbl|^mpl", said):
        return "share-alike"
    if _OWN_TERMS.match(said):
        return "own-terms"
    return "permissive" if spdx(said) else "unlisted"


def policy(path: Path | None) -> Policy:
    """A policy from YAML with allow, deny and unknown (refuse or warn); the plain one without a file. Raises UsageError for a wrong one."""
    if path is None:
        return Policy()
    try:
        held: Any = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the policy {path} can't be read: {' '.join(str(error).split())}", wanted="a YAML file") from None
    if not isinstance(held, dict):
        raise UsageError(f"the policy {path} is no mapping", wanted="allow, deny, unknown")
    if strange := sorted(set(map(str, held)) - _KEYS):
        raise UnknownName(f"key of the policy {path}", strange[0], _KEYS)
    if held.get("unknown", "warn") not in ("warn", "refuse"):
        raise UsageError(f"the policy {path} has unknown: {held['unknown']!r}", wanted="warn or refuse")
    allow, deny = (frozenset(str(each).lower() for each in held.get(key) or ()) for key in ("allow", "deny"))
    return Policy(allow, deny, held.get("unknown") == "refuse")


def judge(root: Link, chosen: Policy, *, declared: str | None = None) -> Judged:
    """Hold every licence of a chain against the policy and against what the model above is declared to permit.

    declared: the licence that the model is to be shared under; without it, that of its card.
    """
    result, above = Judged(), declared or root.licence
    for link in root.every():
        said = (link.licence or "").lower()
        if said and (said in chosen.deny or (chosen.allow and kind(said) != "unknown" and said not in chosen.allow)):
            result.issues.append(f"Denied licence: {link.role} {link.name} is under {link.licence}, which the policy does not take")
        if link is not root:
            for text in _conflict(link, above):
                result.issues.append(text)
    unread, own = _named(root, "unknown"), _named(root, "own-terms")
    if unread:
        (result.issues if chosen.unknown else result.notes).append(f"Unknown licence: {', '.join(unread)}")
    if own:
        result.notes.append(f"Terms of their own, to be read: {', '.join(own)}")
    return result


def _named(root: Link, wanted: str) -> list[str]:
    """Links of a kind of licence, each once. An architecture and a tokenizer come with something that has one."""
    links = [each for each in root.every() if kind(each.licence) == wanted and each.role not in ("architecture", "tokenizer")]
    return list(dict.fromkeys(f"{each.role} {each.name.rsplit('/', 1)[-1]}" for each in links))


def _conflict(link: Link, above: str | None) -> Iterator[str]:
    """What a licence below forbids and the one above permits."""
    below, upper = kind(link.licence), kind(above)
    where = f"{link.role} {link.name} is under {link.licence}, and the model above it under {above}"
    if below == "non-commercial" and upper in ("permissive", "share-alike", "own-terms"):
        yield f"Non-commercial: {where}, which permits commercial use"
    if below == "no-derivatives" or (below == "non-commercial" and re.search(r"\bnd\b", (link.licence or "").lower())):
        yield f"No derivatives: {where}; a trained model is one"
    if below == "share-alike" and upper == "permissive" and link.role not in ("data", "corpus", "source"):
        yield f"Share alike: {where}, which lets others close it"


def as_json(judged: Judged) -> Mapping[str, list[str]]:
    """For machines."""
    return {"issues": judged.issues, "notes": judged.notes}
