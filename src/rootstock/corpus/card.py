"""The corpus's README: where it came from, what was removed, and under which licences."""

from collections.abc import Mapping
from typing import Any

from rootstock.corpus import funnel

_NOT_STATED = "not stated"


def render(record: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """A data card in the ecosystem's format, from the funnel and the manifest."""
    kept = record["kept"]
    languages = [each for each in kept["languages"] if each]
    front = [
        "---",
        *(["language:"] if languages else []),
        *(f"- {each}" for each in languages),
        "task_categories:",
        "- text-generation",
        "- fill-mask",
        "---",
    ]
    rows = [
        f"| {source['reference']} | {source['format']} | {source['licence'] or _NOT_STATED} | `{source['digest'][:16]}…` |"
        for source in manifest["sources"]
    ]
    steps = [
        f"| {line['name']} | {line['documents']:,} | {sum(line['dropped'].values()):,} | {sum(line['changed'].values()):,} |"
        for line in record["steps"]
    ]
    return "\n".join(
        [
            *front,
            "",
            "# Corpus",
            "",
            f"{kept['documents']:,} documents, {kept['characters']:,} characters, in {funnel.shards(kept)} of Parquet with the columns id, "
            "text, language and source (the row of the table below, from 0).",
            "",
            "| source | format | licence | digest |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "| step | documents in | dropped | changes |",
            "| --- | ---: | ---: | ---: |",
            *steps,
            "",
            "Every rule with its count and examples is in funnel.json.",
            "",
        ]
    )
