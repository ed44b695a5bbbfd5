"""What a label says beside its packages, in words, and how that differs from the release before.

The build, the preview and the page take these words from here, so that none says less than another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.display import shown
from repack.report.document import SettingChange
from repack.urls import redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from repack.label.label import Label
    from repack.report.document import ReportBundle
    from repack.solve.solution import SolveRequest
    from repack.trust.sign import Signing

_MOST_FILES: Final = 1000
_NOTHING: Final = "none"


def describe_settings(
    label: Label,
    requests: Mapping[str, SolveRequest],
    signing: Signing | None,
    modes: Mapping[str, str],
    bundles: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """Every setting that a release shows, by its name for people; no text holds a secret.

    Args:
        signing: None where keys would be made first.
        modes: per subdir how it is proved.
        bundles: per bundle the SHA-256 of its files by path.
    """
    secrets = label.secrets | (signing.secrets if signing is not None else frozenset())
    signers = ("new development keys",) if signing is None else signing.names

    def words(text: str) -> str:
        return shown(redact_text(text, secrets), 300) or _NOTHING

    settings = {
        "description": words(label.description),
        "channels": ", ".join(map(redact_url, label.channels)),
        "health check": words(" ".join(label.health_check)),
        "after an installation": label.after_install,
        "after bundles alone": label.after_bundles or label.after_install,
        "licence policy": "; ".join(label.licences.in_words(strict=label.strict)) or _NOTHING,
        "device licence": label.license,
        "signing": ", ".join(signers) or "unsigned",
    }
    for subdir, request in sorted(requests.items()):
        packages = request.profile.virtual_packages
        conda = f", conda {request.profile.conda}" if request.profile.conda else ""
        settings[f"target profile of {subdir}"] = words(
            ", ".join(f"{p.name} {p.build if 'arch' in p.name else p.version}" for p in packages)
            + conda
        )
        settings[f"constraints of {subdir}"] = words(", ".join(request.constraints))
        settings[f"proof of {subdir}"] = modes[subdir]
    for name, files in sorted(bundles.items()):
        for path in sorted(files)[:_MOST_FILES]:
            settings[f"bundle {name}: {path}"] = files[path][:16]
    return settings


def files_of_bundles(bundles: Sequence[ReportBundle]) -> dict[str, dict[str, str]]:
    """The files of bundles, for :func:`describe_settings`."""
    return {b.name: {file.path: file.sha256 for file in b.files} for b in bundles}


def compare_settings(
    before: Mapping[str, str], after: Mapping[str, str]
) -> tuple[SettingChange, ...]:
    """What differs; nothing where the release before did not keep its settings."""
    return tuple(_compare(before, after)) if before else ()


def _compare(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[SettingChange]:
    for name in dict.fromkeys((*after, *before)):
        old, new = before.get(name, _NOTHING), after.get(name, _NOTHING)
        if old != new:
            yield SettingChange(name, old, new)
