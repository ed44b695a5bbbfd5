"""What each package may import, which modules are pure, and where each foreign library enters."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "repack"

# Single files that everybody may import. They import each other and nothing else of repack.
GROUND = frozenset(
    {
        "display",
        "errors",
        "file_entry",
        "host",
        "names",
        "progress",
        "settings",
        "structs",
        "timestamps",
        "urls",
        "version",
    }
)

# Package -> what it may import beside the ground and itself, and why it stands where it does. A word
# more in this table is a decision: docs/architecture.md has the reasons at length.
ALLOWED: dict[str, tuple[str, str]] = {
    "codec": (
        "",
        "Everything here is pure. Bounds on size and depth are checked before anything is parsed.",
    ),
    "fs": (
        "codec",
        "What is written appears whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder.",
    ),
    "conda": (
        "codec fs",
        "A record is upstream's, field for field; nothing here reads one from an archive.",
    ),
    "archive": (
        "codec conda fs",
        "An archive that two readers understand differently is refused. Formats: CEP 34 and CEP 35.",
    ),
    "prefix": (
        "archive conda fs",
        "Whatever runs in a prefix runs without network.",
    ),
    "upstream": (
        "codec fs",
        "The only package that opens a connection. No error text holds a secret.",
    ),
    "keys": (
        "codec fs",
        "A key's identifier is computed from the key wherever it is read. No key is ever shown.",
    ),
    "store": (
        "archive codec conda fs upstream",
        "An archive has one content for ever; it is hashed before it counts as there.",
    ),
    "inputs": (
        "archive codec conda fs prefix",
        "Foreign files are data: read whole, bounded, every mistake named with its place.",
    ),
    "license": (
        "codec fs keys",
        "The verdict is a function of documents and a moment; the clock of the machine is not believed backwards.",
    ),
    "old_conda": (
        "archive codec conda fs store",
        "Each change to a record is listed.",
    ),
    "advisories": (
        "codec conda fs",
        "What cannot be mapped or compared is unknown or affected, never clean. Nobody is asked.",
    ),
    "label": (
        "advisories archive codec conda fs inputs",
        "Every mistake of a file is told at once, each with its line.",
    ),
    "solve": (
        "codec conda fs inputs label store upstream wheels",
        "Solved for the target profile alone, never for the machine that builds.",
    ),
    "channel": (
        "archive codec conda fs keys label store",
        "Packages before the metadata that names them, removals last; at any instant a reader finds what the repodata names.",
    ),
    "trust": (
        "channel codec fs keys",
        "Source: the TUF specification. Signatures are checked before what they cover is parsed.",
    ),
    "prove": (
        "archive channel conda fs label prefix solve store wheels",
        "Nothing is published that was not proved.",
    ),
    "bundle": (
        "archive channel codec conda fs keys label",
        "The same folder gives the same bytes.",
    ),
    "verify": (
        "archive channel codec conda fs keys trust",
        "One comparison of a folder with its list serves everybody.",
    ),
    "report": (
        "advisories archive channel codec conda fs label solve trust",
        "Every text that comes from a package is shortened, cleaned and escaped.",
    ),
    "watch": (
        "channel codec conda fs label release report solve",
        "Nobody but the label's own channels is asked.",
    ),
    "fleet": (
        "channel codec fs label release report store",
        "What happens to one label of a run stays with it.",
    ),
    "wheels": (
        "archive codec conda fs inputs prefix store upstream",
        "A wheel is a package once per content and target; the same wheel gives the same bytes.",
    ),
    "update_package": (
        "archive channel codec fs keys",
        "Every check is written down in order, passed or not.",
    ),
    "receipt": (
        "codec conda fs keys",
        "A receipt is believed by the device's key, taken over once, and a number that only rises.",
    ),
    "agent": (
        "advisories archive channel codec conda fs prefix receipt trust",
        "It imports neither solver nor network nor store. What it does can be done again after a power cut.",
    ),
    "provenance": (
        "channel codec fs keys solve verify",
        "A statement is signed by a key of its own.",
    ),
    "sync": (
        "channel codec conda fs keys label verify",
        "The destination serves the old or the new release at any instant.",
    ),
    "delta": (
        "archive channel codec conda fs keys store verify",
        "A package that was rebuilt from a patch has upstream's bytes, or the delta is refused.",
    ),
    "release": (
        "advisories archive bundle channel codec conda fs keys label old_conda prefix prove report solve store trust upstream wheels",
        "Read ``line.py`` from top to bottom: one step a line.",
    ),
    "medium": (
        "archive bundle channel codec conda delta fs keys label license provenance store sync trust upstream",
        "A medium holds whole releases only.",
    ),
    "support": (
        "codec conda fs prefix store upstream",
        "What leaves the machine is searched for secrets first.",
    ),
}
# The programs that people start; they may import everything.
TOP = frozenset({"__init__", "__main__", "cli", "plugin"})
# What commands share stands in cli/shared/; main finds the commands.
SHARED_BY_COMMANDS = frozenset({"main", "shared"})
# Runs alone on a target, with nothing of repack.
ALONE = frozenset({"shipped"})

# The agent runs without solver, network and templates, so nothing that it loads may load them.
NOT_ON_TARGETS = frozenset({"solve", "release", "upstream", "store", "sync", "report"})

DOORS: dict[str, set[str]] = {
    "conda": {"plugin.py"},
    "http": set(),  # requests and urllib3 stand above it
    "requests": {
        "upstream/session.py",
        "upstream/errors.py",
        "upstream/client.py",
        "upstream/response.py",
    },
    "urllib3": {"upstream/session.py", "upstream/errors.py"},
    "requests_kerberos": {"upstream/session.py"},
    "truststore": {"upstream/session.py"},
    "keyring": {"upstream/credentials.py"},
    "rattler": {
        "conda/rattler.py",
        "conda/match_spec.py",
        "conda/subdir.py",
        "solve/solver.py",
        "solve/lockfile.py",
        "prefix/link.py",
    },
    "tuf": {
        "trust/metadata.py",
        "trust/editor.py",
        "trust/ceremony.py",
        "trust/disclosure.py",
        "trust/client.py",
    },
    "securesystemslib": {
        "trust/editor.py",
        "provenance/statement.py",
        "keys/keyring.py",
        "keys/private_key.py",
    },
    "backports": {"codec/zstd.py"},
    "compression": {"codec/zstd.py"},
    "zstandard": set(),  # the tests' judge of what zstd makes
    "jinja2": {"report/html.py"},
    "license_expression": {"conda/spdx.py"},
    "squarify": {"report/charts.py"},
    "cyclonedx": set(),  # the tests' judge of what report/sbom.py writes
    "cryptography": {
        "receipt/device_key.py",
        "keys/private_key.py",
        "license/encryption.py",
        "keys/signed_json.py",
    },
}

# Bytes in, verdict out: no disk, no clock, no environment. What is pure stays pure.
WORLD = frozenset({"os", "pathlib", "time", "socket", "subprocess", "shutil", "tempfile"})
PURE = frozenset(
    [
        "advisories/document.py",
        "advisories/judge.py",
        "advisories/openvex.py",
        "advisories/osv.py",
        "advisories/policy.py",
        "advisories/severity.py",
        "agent/settings.py",
        "agent/state.py",
        "archive/facts.py",
        "archive/installed_paths.py",
        "archive/members.py",
        "archive/package.py",
        "archive/path_length.py",
        "archive/scan.py",
        "archive/tar_reader.py",
        "bundle/archive.py",
        "bundle/package.py",
        "channel/contents.py",
        "channel/install_plan.py",
        "channel/integrity.py",
        "channel/layout.py",
        "channel/manifest.py",
        "channel/patch_instructions.py",
        "codec/canonical.py",
        "codec/decode.py",
        "codec/document.py",
        "codec/schema.py",
        "codec/tree.py",
        "conda/dependencies.py",
        "conda/match_spec.py",
        "conda/record.py",
        "conda/repodata.py",
        "conda/spdx.py",
        "conda/virtual_packages.py",
        "delta/manifest.py",
        "delta/patch_format.py",
        "delta/selection.py",
        "display.py",
        "file_entry.py",
        "inputs/conda_info.py",
        "inputs/conda_lock.py",
        "inputs/environment_yml.py",
        "inputs/explicit.py",
        "inputs/pins.py",
        "inputs/pixi_lock.py",
        "inputs/prefix_record.py",
        "inputs/source.py",
        "keys/keyset.py",
        "keys/shared_key.py",
        "keys/signed_json.py",
        "label/advisories.py",
        "label/agent.py",
        "label/channels.py",
        "label/label.py",
        "label/on_target.py",
        "label/reader.py",
        "label/schema.py",
        "label/variables.py",
        "license/encryption.py",
        "license/fingerprint.py",
        "license/ledger.py",
        "license/license.py",
        "license/recovery_report.py",
        "license/smbios.py",
        "medium/contents.py",
        "names.py",
        "old_conda/match_spec.py",
        "old_conda/records.py",
        "progress.py",
        "provenance/statement.py",
        "release/draft.py",
        "release/outcome.py",
        "report/changes.py",
        "report/charts.py",
        "report/compose.py",
        "report/document.py",
        "report/sbom.py",
        "solve/solution.py",
        "support/redact.py",
        "sync/plan.py",
        "timestamps.py",
        "trust/ceremony.py",
        "trust/editor.py",
        "trust/metadata.py",
        "trust/selection.py",
        "trust/summary.py",
        "verify/consistency.py",
        "verify/verdict.py",
    ]
)

FILES = sorted(ROOT.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def package_of(dotted: str) -> str:
    """`repack.fs.atomic` -> `fs`; `repack.urls` -> `urls`; `repack` -> `__init__`."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def imports(file: Path) -> frozenset[str]:
    """Dotted names of all that `file` imports, wherever in it."""
    dotted: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}: relative import"
            module = node.module or ""
            dotted |= {
                f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module
                for alias in node.names
            }
    return frozenset(dotted)


def is_module(dotted: str) -> bool:
    path = ROOT.parent / dotted.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def own_imports(file: Path) -> set[str]:
    return {dotted for dotted in imports(file) if dotted.split(".")[0] == "repack"}


def imported_when_loaded(file: Path) -> set[str]:
    """Modules of repack that importing `file` imports: not in functions, not for type checkers."""
    dotted: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                dotted.add(full if is_module(full) else str(node.module))
    return {name for name in dotted if name.split(".")[0] == "repack"}


def file_of(dotted: str) -> Path:
    path = ROOT.parent / dotted.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_the_table_has_every_package():
    packages = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/__init__.py")}
    assert packages == set(ALLOWED) | {"cli"} | ALONE
    assert {path.stem for path in ROOT.glob("*.py")} == GROUND | (TOP - {"cli"})


def test_no_arrow_points_up_and_no_circle():
    """The table alone decides this: below a package stands only what may not import it."""
    below: dict[str, set[str]] = {
        name: set(allowed.split()) for name, (allowed, _) in ALLOWED.items()
    }
    order: list[str] = []
    while below:
        ready = sorted(name for name, needs in below.items() if not needs - set(order))
        assert ready, f"a circle among {sorted(below)}"
        order += ready
        below = {name: needs for name, needs in below.items() if name not in ready}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_are_in_the_table(file):
    package = package_of(
        f"repack.{file.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}"
    )
    for dotted in own_imports(file):
        other = package_of(dotted)
        if other in (package, "__init__") or package in TOP:
            continue
        allowed = set(ALLOWED[package][0].split()) if package in ALLOWED else set()
        assert package not in ALONE, f"{name_of(file)} travels alone and imports {dotted}"
        assert other in allowed | GROUND, (
            f"{name_of(file)} imports {dotted}: {ALLOWED.get(package)}"
        )


@pytest.mark.parametrize("file", sorted(ROOT.glob("cli/*.py")), ids=name_of)
def test_commands_do_not_import_each_other(file):
    commands = {path.stem for path in ROOT.glob("cli/*.py")} - SHARED_BY_COMMANDS - {file.stem}
    others = {d.split(".")[2] for d in own_imports(file) if d.count(".") > 1 and ".cli." in d}
    assert not others & commands


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_private_names_stay_in_their_package(file):
    package = file.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("repack."):
            private = [
                a.name for a in node.names if a.name.startswith("_") and a.name != "__version__"
            ]
            assert not private or package_of(node.module) == package, f"{name_of(file)}: {private}"


def test_the_agent_loads_no_solver_and_no_network():
    reached: set[str] = set()
    waiting = [f"repack.agent.{path.stem}" for path in (ROOT / "agent").glob("*.py")]
    while waiting:
        module = waiting.pop()
        if module not in reached and file_of(module).is_file():
            reached.add(module)
            waiting += imported_when_loaded(file_of(module))
    assert not {m for m in reached if package_of(m) in NOT_ON_TARGETS}


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_do_not_touch_the_world(name):
    assert not {dotted.split(".")[0] for dotted in imports(ROOT / name)} & WORLD


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_one_library_one_door(file):
    for dotted in imports(file):
        library = dotted.split(".")[0]
        assert library not in DOORS or name_of(file) in DOORS[library], (
            f"{dotted} in {name_of(file)}"
        )


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_modules_stay_small(file):
    # The tree of errors is one thing, however many it has; the shipped verifier is one file alone.
    limit = {"errors.py": 600, "shipped/verify.py": 850}.get(name_of(file), 400)
    assert len(file.read_text(encoding="utf-8").splitlines()) <= limit


def test_folders_stay_small():
    for folder in {file.parent for file in FILES}:
        assert len(list(folder.glob("*.py"))) <= 30, folder


def test_the_page_shows_the_table():
    from tests import architecture

    text = architecture.PAGE.read_text(encoding="utf-8")
    assert architecture.section() in text, "write it anew: python -m tests.architecture"


def test_the_picture_shows_every_package():
    from tests import architecture

    assert {name for layer in architecture.layers() for name in layer} == set(ALLOWED)
    for package, name in architecture.arrows():
        assert name in ALLOWED[package][0].split()
