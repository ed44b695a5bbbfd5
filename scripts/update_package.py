"""Builds, checks, lists and applies update packages; prints one JSON document.

    update_package.py build --output-dir D --package-id ID --version V --platform P --runtime R
        --payload FILE [--diff FILE | --diff-from OLD.tar] [--base-id ID@V]
        [--integrity-manifest FILE] [--metadata JSON] [--key KEY] [--key-id NAME]
    update_package.py verify --package-dir D [--key KEY] [--base-id ID@V]
    update_package.py scan --packages-dir D
    update_package.py apply --package-dir D --base OLD.tar --output NEW.tar [--key KEY]

KEY is hex:..., base64:..., env:NAME, file:PATH or bare base64; without --key the variable
BOT_CORE_UPDATE_HMAC_KEY serves, if it is set. The document has `status` (ok, error), `manifest`,
`packages` or `errors`, `warnings`, and `audit`, every check in order. Ends with 0, 6 (something is
not what it should be) or 2 (the command is).
"""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts it with an older one gets a sentence
    sys.exit("repack needs Python 3.11 or newer; this is " + sys.version.split()[0])

import argparse
import json
import os
from typing import TYPE_CHECKING, Any, Final, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    from repack.errors import IntegrityError, RepackError, UsageError
    from repack.update_package.audit import Audit
except ModuleNotFoundError as missing:
    hint = f"{missing}: run it with a Python that has repack's libraries (pip install .)"
    print(json.dumps({"status": "error", "errors": [hint], "warnings": [], "audit": []}, indent=1))
    sys.exit(2)

if TYPE_CHECKING:
    from repack.keys.shared_key import SharedKey
    from repack.progress import Progress

KEY_VARIABLE: Final = "BOT_CORE_UPDATE_HMAC_KEY"
_MAX_METADATA: Final = 1 << 20


class Parser(argparse.ArgumentParser):
    """Raises what is wrong with the command line, so that it comes out as JSON like all else."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, hint=f"see {self.prog} --help")


def parser() -> Parser:
    """The command line."""
    top = Parser(
        prog="update_package.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make a package of a payload")
    for name in ("output-dir", "payload"):
        build.add_argument(f"--{name}", type=Path, required=True)
    for name in ("package-id", "version", "platform", "runtime"):
        build.add_argument(f"--{name}", required=True)
    build.add_argument("--diff", type=Path, help="a patch, made elsewhere")
    build.add_argument("--diff-from", type=Path, help="the old payload: make the patch")
    build.add_argument("--base-id", help="what the patch starts from: ID@VERSION")
    build.add_argument("--integrity-manifest", type=Path, help="SHA-256 of the payload's files")
    build.add_argument("--metadata", default="{}", help="more fields of the manifest, JSON")
    build.add_argument("--key", help="the key that signs")
    build.add_argument("--key-id", help="the key's name in the manifest")
    verify = commands.add_parser("verify", help="check a package")
    verify.add_argument("--package-dir", type=Path, required=True)
    verify.add_argument("--key", help="the key that the signature must fit")
    verify.add_argument("--base-id", help="what is installed: ID@VERSION")
    scan = commands.add_parser("scan", help="list and check the packages of a folder")
    scan.add_argument("--packages-dir", type=Path, required=True)
    apply = commands.add_parser("apply", help="make the new payload from the old one")
    for name in ("package-dir", "base", "output"):
        apply.add_argument(f"--{name}", type=Path, required=True)
    apply.add_argument("--key", help="the key that the signature must fit")
    return top


def key_of(text: str | None, key_id: str | None = None) -> SharedKey | None:
    """The key that was named, else the one in the usual variable.

    Raises:
        KeyRefusedError: it is unset, empty or badly encoded.
    """
    from msgspec.structs import replace

    from repack.fs import atomic
    from repack.keys.shared_key import MAX_KEY_FILE, parse_key

    where = "--key" if text is not None else KEY_VARIABLE
    if text is None and not (text := os.environ.get(KEY_VARIABLE)):
        return None
    key = parse_key(text, where).resolve(
        os.environ, lambda path: atomic.read(Path(path), MAX_KEY_FILE), where
    )
    return replace(key, key_id=key_id) if key_id else key


def metadata_of(text: str) -> dict[str, Any]:
    """The fields of ``--metadata``.

    Raises:
        UsageError: it is no JSON object.
    """
    from repack.codec.canonical import loads

    try:
        fields = loads(text.encode(), "--metadata", _MAX_METADATA)
    except IntegrityError as error:
        raise UsageError("--metadata is no JSON", got=error.got or error.what) from error
    if not isinstance(fields, dict):
        raise UsageError("--metadata is no JSON object", got=text[:80])
    return fields


def run(options: argparse.Namespace, audit: Audit) -> dict[str, object]:
    """Run one command and return what it found. Raises as the library does."""
    from repack.update_package.build import BuildRequest, build_package
    from repack.update_package.verify import apply_package, scan_packages, verify_package

    if options.command == "scan":
        packages = scan_packages(options.packages_dir, audit)
        rows = [
            {"folder": p.folder, "manifest": json.loads(p.manifest.to_bytes())} for p in packages
        ]
        return {"packages": rows}
    key = key_of(options.key, getattr(options, "key_id", None))
    if key is not None and key.warning:
        audit.warnings.append(key.warning)
    if options.command == "verify":
        manifest = verify_package(options.package_dir, audit, key, options.base_id)
    elif options.command == "apply":
        manifest = apply_package(options.package_dir, options.base, options.output, audit, key)
    else:
        if options.key_id and key is None:
            raise UsageError("--key-id names a key, and there is none", hint="give --key as well")
        request = BuildRequest(
            package_id=options.package_id,
            version=options.version,
            platform=options.platform,
            runtime=options.runtime,
            payload=options.payload,
            patch=options.diff,
            old_payload=options.diff_from,
            base_id=options.base_id,
            integrity_list=options.integrity_manifest,
            metadata=metadata_of(options.metadata),
            key=key,
        )
        build_package(request, options.output_dir, audit.progress)
        # What was written is checked as whoever gets it will check it.
        manifest = verify_package(options.output_dir, audit, key, options.base_id)
    return {"manifest": json.loads(manifest.to_bytes())}


def bars() -> Progress:
    """Progress bars, for a terminal."""
    from repack.cli.shared.output import Bars

    return Bars()


def main(arguments: list[str]) -> int:
    """Run the command line; one JSON document goes to standard output, whatever happens."""
    audit = Audit(bars()) if sys.stderr.isatty() else Audit()
    code = 0
    try:
        result = run(parser().parse_args(arguments), audit)
    except RepackError as error:
        if error not in audit.errors:
            audit.errors.append(error)
        result, code = {}, audit.errors[0].exit_code
    print(json.dumps(audit.to_json() | result, indent=1, ensure_ascii=False))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
