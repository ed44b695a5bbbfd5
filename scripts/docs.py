"""Writes the parts of the documentation that the program knows best.

``python -m scripts.docs`` rewrites ``docs/errors.md``, ``docs/reference/``, the schema of label
files and the help in ``README.md``; with ``--check`` it only says, by its exit code, whether they
are up to date.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from click.testing import CliRunner

from repack import errors
from repack.cli.main import repack
from repack.errors import RepackError, TargetError
from repack.label.schema import label_schema
from scripts import reference

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
_HELP: Final = re.compile(r"(<!-- help -->\n```\n).*?(```\n<!-- end -->)", re.DOTALL)


def main() -> int:
    """Write or check; 1 when a file was not up to date."""
    docs = ROOT / "docs"
    checklist = ROOT / "repack" / "shipped" / "oem_installation.md"
    wanted = {
        ROOT / "README.md": readme(),
        docs / "deployment" / "oem_installation.md": checklist.read_text("utf-8"),
        docs / "errors.md": error_page(),
        docs / "reference" / "commands.md": reference.commands_page(),
        docs / "reference" / "python.md": reference.python_page(),
        docs / "reference" / "label-keys.md": reference.label_page(),
        docs / "label.schema.json": json.dumps(label_schema(), indent=2, ensure_ascii=False) + "\n",
    }
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in stale:
        print(f"not up to date: {path.relative_to(ROOT)}; run python -m scripts.docs")
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], "utf-8", newline="\n")
    return 1 if stale and "--check" in sys.argv else 0


def readme() -> str:
    """README.md with the program's own help."""
    shown = CliRunner().invoke(repack, ["--help"], prog_name="repack", terminal_width=80).output
    text = (ROOT / "README.md").read_text("utf-8")
    return _HELP.sub(lambda found: found[1] + shown + found[2], text)


def error_page() -> str:
    """The table of all errors, from their classes."""
    classes = [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, RepackError) and "kind" in vars(found)  # bases are never raised
    ]
    target = [found for found in classes if issubclass(found, TargetError)]
    build = [found for found in classes if found not in target]
    return "\n".join(
        [
            "# Errors and exit codes",
            "",
            "Made from the classes in `repack/errors.py` by `python -m scripts.docs`.",
            "",
            "Every error says what is wrong, where, what was expected and got, and what to do.",
            "With `--json` the same stands on stdout, with the stable name in `error`.",
            "Exit code 0 is done, 130 is interrupted.",
            "",
            *_table(build),
            "",
            "## On the target",
            "",
            "Codes of trust and of the agent, after aktualizr-lite.",
            "",
            *_table(target),
            "",
        ]
    )


def _table(classes: Sequence[type[RepackError]]) -> list[str]:
    rows = ["| exit code | `error` | meaning |", "|---|---|---|"]
    for found in sorted(classes, key=lambda one: (one.exit_code, one.__name__)):
        first = (inspect.getdoc(found) or "").split("\n\n", maxsplit=1)[0].replace("\n", " ")
        rows.append(f"| {found.exit_code} | `{found.kind}` | {first} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
