"""The code in a run's card, carried out as a reader would: from the folder that holds model/."""

import contextlib
import io


def said(run):
    """What the first Python block of the card prints."""
    code = (run.path / "README.md").read_text().split("```python\n")[1].split("\n```")[0]
    out = io.StringIO()
    with contextlib.chdir(run.path), contextlib.redirect_stdout(out):
        exec(compile(code, "card", "exec"), {})
    return out.getvalue().strip()
