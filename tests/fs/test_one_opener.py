"""Files and folders are opened, listed, written and removed in `fs/` alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "repack"

# By what Python has to touch files; each of them follows links, waits for pipes, or takes a folder
# that it cannot read for an empty one.
METHODS = frozenset(
    [
        "read_bytes",
        "read_text",
        "write_bytes",
        "write_text",
        "iterdir",
        "glob",
        "rglob",
        "scandir",
        "listdir",
        "fwalk",
        "rmtree",
        "copytree",
        "copyfile",
        "copy2",
        "mkdir",
        "makedirs",
        "renames",
        "hardlink_to",
        "symlink_to",
        "rmdir",
        "touch",
        "chmod",
        "lchmod",
        "utime",
        "mkstemp",
        "mkdtemp",
        "NamedTemporaryFile",
        "truncate",
    ]
)
OF_OS = frozenset(
    [
        "open",
        "link",
        "symlink",
        "unlink",
        "remove",
        "rename",
        "replace",
        "walk",
        "mkfifo",
        "readlink",
    ]
)
DOORS = {"atomic", "beneath", "links"}

# File -> what it may call, and why nobody else's links can be there.
ALLOWED: dict[str, tuple[str, str]] = {
    "agent/environment.py": ("scandir", "follows no link; litter counts here, unlike in walk()"),
    "agent/advisories.py": ("copytree", "the target's own state, copied to be tried"),
    "agent/status.py": ("copytree", "the target's own state, copied to be tried; refuses pipes"),
    "bundle/folder.py": ("scandir", "judges each entry itself, links and pipes included"),
    "channel/scripts.py": ("read_bytes", "a file of this package"),
    "conda/pypi_names.py": ("read_text", "a file of this package"),
    "conda/rattler.py": ("write_bytes", "a temporary folder of its own"),
    "keys/keyring.py": ("chmod", "its user's own folder of keys"),
    "label/agent.py": ("iterdir read_bytes", "files of this package"),
    "medium/oem_bundle.py": ("read_text", "a file of this package"),
    "medium/top.py": ("read_bytes", "a file of this package"),
    "prefix/link_by_conda.py": ("mkdir write_text", "a temporary folder of its own"),
    "host.py": ("read_text", "the kernel's own file"),
    "prefix/compare.py": ("scandir", "judges each entry itself, links included"),
    "prefix/relocatable.py": (
        "open read_bytes readlink scandir",
        "the prefix being proved; links are packed as links",
    ),
    "prefix/sandbox.py": (
        "copy2 readlink read_text replace scandir",
        "the prefix being proved, and a file of this package",
    ),
    "store/unpacked.py": ("readlink scandir", "compares each entry itself, links included"),
    "report/render.py": ("read_bytes", "a file of this package"),
    "report/html.py": ("read_text", "a file of this package"),
    "solve/lockfile.py": ("read_bytes", "a temporary folder of its own"),
    "solve/solver.py": ("mkdir write_bytes", "a temporary folder of its own"),
    "store/partial.py": ("truncate", "an open file"),
    "sync/copy.py": ("truncate", "an open file"),
    "sync/rsync.py": ("write_bytes", "a temporary folder of its own"),
    "trust/client.py": ("mkdir read_bytes rglob", "a temporary folder, with python-tuf's own link"),
    "wheels/choose.py": ("write_text", "a temporary folder of its own"),
}
FILES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in {"fs", "shipped"}  # those stand alone, Python 3.6
)


def calls_in(file: Path) -> set[str]:
    """What `file` calls to touch files, but by the doors."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            found.add("open")
        if not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, node.func.value
        module = owner.id if isinstance(owner, ast.Name) else ""
        if module in DOORS:
            continue
        if (
            name in METHODS
            or (module == "os" and name in OF_OS)
            or (
                (name == "open" and is_mode(node))
                or name in {"unlink", "readlink"}
                or (name in {"rename", "replace"} and len(node.args) == 1 and not node.keywords)
            )
        ):
            found.add(name)
    return found


def is_mode(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    mode = first.value if isinstance(first, ast.Constant) else None
    if first is None:
        return not call.keywords  # tarfile.open(fileobj=…) opens no path
    return isinstance(mode, str) and set(mode) <= set("rwxab+t")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nobody_else_touches_files(file):
    allowed = ALLOWED.get(file.relative_to(ROOT).as_posix(), ("", ""))[0].split()
    assert calls_in(file) - set(allowed) == set(), "use repack.fs.beneath or repack.fs.atomic"


def test_no_exception_is_left_over():
    for name, (allowed, reason) in ALLOWED.items():
        assert reason
        assert set(allowed.split()) == calls_in(ROOT / name) & set(allowed.split()), name


@pytest.mark.parametrize(
    "text",
    [
        "path.read_bytes()", "path.open('rb')", "open(path)", "path.open()", "os.open(p, 0)",
        "os.walk(p)", "path.glob('*')", "shutil.rmtree(p)", "path.rename(q)", "path.replace(q)",
        "os.replace(a, b)", "path.unlink()", "(a / b).mkdir(parents=True)",
    ],
)  # fmt: skip
def test_the_check_sees(text, tmp_path):
    (tmp_path / "module.py").write_text(text)
    assert calls_in(tmp_path / "module.py")
