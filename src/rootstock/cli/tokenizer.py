"""Tokenizers: learn one, and look at one."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

app = Typer(help="Learn a tokenizer from texts, and see what one does.", no_args_is_help=True)


@app.command()
def train(
    corpus: Annotated[list[str], Argument(help="Built corpora, or sources of text: files, folders, stdlib-docs.")],
    out: Annotated[Path, Option(help="Folder to write.")],
    kind: Annotated[str | None, Option(help="wordpiece (the default), bpe or unigram.")] = None,
    size: Annotated[int | None, Option(help="Tokens in all, special ones included: 8192 if not given.")] = None,
    family: Annotated[str | None, Option(help="Whose special tokens: bert, gpt, t5 or llama; else what suits the kind.")] = None,
    case: Annotated[str | None, Option(help="keep (the default) or lower.")] = None,
    digits: Annotated[str | None, Option(help="together (the default) or apart.")] = None,
    normalization: Annotated[str | None, Option(help="Unicode form: nfc (the default), nfkc or none.")] = None,
    least: Annotated[int | None, Option(help="Occurrences that a pair needs to be merged: 2 if not given.")] = None,
    coverage: Annotated[float | None, Option(help="Share of all characters that the alphabet covers: 1 if not given.")] = None,
    length: Annotated[int | None, Option(help="Most tokens that the model takes: 512 if not given.")] = None,
    text: Annotated[str | None, Option(help="Column or field of the text.")] = None,
    languages: Annotated[str | None, Option(help="Codes of the languages to learn from, such as en,de [all].")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a tokenizer that lies there.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn a tokenizer and save it as a folder that transformers loads."""
    given = locals()
    from rootstock.cli import _start, console
    from rootstock.corpus import families, tokenizer

    settings = families.TokenizerSettings.build({key: given[key] for key in families.NAMES if given[key] is not None}, "").resolved()
    tokenizer.check_place(out, overwrite=overwrite)
    seen = tokenizer.reading(corpus, text, _start.codes(languages) or ())
    facts = tokenizer.save(tokenizer.train(seen, settings), settings, out, trained_on=seen.facts(), overwrite=overwrite)
    console.show(facts, tokenizer.told(out, facts), as_json=as_json)


@app.command("show")
def show_(
    folder: Annotated[Path, Argument(help="Folder of a tokenizer.")],
    text: Annotated[str | None, Argument(help="A text to cut.")] = None,
    file: Annotated[str | None, Option(help="A corpus or source of text to report on instead.")] = None,
    column: Annotated[str | None, Option("--text", help="Column or field of the text.")] = None,
    texts: Annotated[int | None, Option(help="Report on the first so many texts of each language.", min=1)] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the tokens, ids and places of a text, or report how well the tokenizer fits a corpus."""
    from rootstock.cli.console import show
    from rootstock.core.errors import UsageError
    from rootstock.corpus import fertility, tokenizer

    if (text is None) == (file is None):
        raise UsageError(f"found {'neither a text nor' if file is None else 'a text and'} --file", wanted="one of the two")
    loaded = tokenizer.load(folder)
    if text is not None:
        return show(found := tokenizer.cut(loaded, text), tokenizer.as_text(found), as_json=as_json)
    show(told := fertility.report_on(loaded, str(file), text=column, most=texts), fertility.as_text(told), as_json=as_json)
