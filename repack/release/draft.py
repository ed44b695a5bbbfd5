"""A release before it has a number: everything that decides whether there is anything new."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.channel.contents import ChannelContents
from repack.channel.install_plan import TARGET, TargetPolicy
from repack.channel.manifest import Artifact, Release
from repack.channel.scripts import InstallerPlan, PlatformPlan, installers, sync_scripts, verifier
from repack.codec.canonical import canonical
from repack.codec.decode import encode
from repack.conda.match_spec import spec_name
from repack.file_entry import FileEntry
from repack.label.label import package_names
from repack.names import Digest384
from repack.release.conversion import warn_of_old_conda
from repack.release.describe import describe
from repack.store.inspect import inspect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.advisories.document import Judgement
    from repack.archive.facts import Depth
    from repack.conda.record import Record
    from repack.label.label import Label
    from repack.names import RelPath
    from repack.release.context import BuildContext
    from repack.settings import Mode
    from repack.solve.solution import Solution
    from repack.trust.sign import Signing


class Draft(Struct, frozen=True):
    """Everything of a release that does not depend on its number or its moment.

    Attributes:
        label: the label it is made for.
        solution: the packages as the target gets them, with the lock to keep.
        contents: all packages but those that carry the number.
        signing: the keys that sign; other keys make another release.
        modes: per subdir how it is going to be proved.
        roots: per subdir the packages that the label itself names.
        texts: metadata files that do not depend on the number, by path in the channel.
        judgement: what the label's database of advisories says; None without one.
    """

    label: Label
    solution: Solution
    contents: ChannelContents
    signing: Signing
    modes: Mapping[str, Mode]
    roots: Mapping[str, tuple[Record, ...]]
    texts: Mapping[RelPath, bytes]
    judgement: Judgement | None = None

    @property
    def digest(self) -> str:
        """One SHA-256 over all of it: two drafts with the same digest are the same release."""
        records = {
            path: {**package.record.raw, "sha256": package.record.sha256}
            for path, package in self.contents.items.items()
        }
        document: dict[str, object] = {
            "label": self.label.name,
            "records": records,
            "roots": {subdir: [r.path for r in group] for subdir, group in self.roots.items()},
            "signers": list(self.signing.names),
            TARGET: TargetPolicy.of_label(self.label).to_json(),
            "texts": {path: hashlib.sha256(data).hexdigest() for path, data in self.texts.items()},
        }
        if self.label.bootstrap != "none":
            document["bootstrap"] = [self.label.bootstrap, *self.label.health_check]
        # It stands on the page, which is made anew with a release only.
        if self.label.description:
            document["description"] = self.label.description
        # Another policy judges the licences anew, and the report says so in another release.
        if policy := self.label.licences.in_words(strict=self.label.strict):
            document["policy"] = list(policy)
        # Another database is another release when it says something else of these packages.
        if self.judgement is not None:
            said = encode(replace(self.judgement, database=None))
            document["advisories"] = hashlib.sha256(canonical(said)).hexdigest()
        return hashlib.sha256(canonical(document)).hexdigest()

    def release(self, number: int, generated_at: str) -> Release:
        """This draft as release ``number``."""
        return Release(
            label=self.label.name,
            number=number,
            platforms=tuple(sorted(self.modes)),
            generated_at=generated_at,
            facts={
                "content": self.digest,
                "proof": dict(self.modes),
                TARGET: TargetPolicy.of_label(self.label).to_json(),
                **self._database(),
            },
        )

    def _database(self) -> dict[str, object]:
        """By which database of advisories the release was judged, for the manifest."""
        return {"advisories": encode(self.judgement.database)} if self.judgement else {}


def inspect_packages(
    solution: Solution, bundles: Sequence[Record], context: BuildContext
) -> ChannelContents:
    """What goes into the channel, every archive checked against its record.

    Raises:
        IntegrityError: an archive is not what its record says, one name has two contents, or
            packages would write out of the prefix.
    """
    # Upstream's are read to the last byte: where a link leads stands nowhere else, and nothing is
    # handed to a client that could be led out of its prefix.
    depths: list[tuple[Record, Depth]] = [(record, "whole") for record in solution.unique_records]
    depths += [(record, "info") for record in bundles]
    facts = inspect(depths, context.store, "sha384", context.progress)
    contents = ChannelContents.of(solution.records, facts).with_packages(bundles, facts)
    for subdir in contents.records_by_subdir:
        contents.checked(subdir)
    return contents


def compose_draft(
    solution: Solution, contents: ChannelContents, signing: Signing, context: BuildContext
) -> Draft:
    """Describe the packages in every file that does not depend on the release's number.

    Raises:
        ProofError: the label refuses a vulnerability of a package.
        UsageError: its database of advisories is missing.
        IntegrityError: it is none, or damaged.
    """
    label, roots = context.label, {}
    if context.archive_format == ".tar.bz2":
        warnings = (*solution.warnings, *warn_of_old_conda(contents))
        solution = replace(solution, warnings=warnings)
    for subdir, request in solution.requests.items():
        requested = {spec_name(spec) for spec in request.specs} | package_names(label)
        records = contents.records_by_subdir[subdir]
        roots[subdir] = tuple(record for record in records if record.name in requested)
    texts = {
        **describe(label.name, solution, contents),
        **installer_files(roots, contents, label),
        **verifier(),
        **sync_scripts("repack/"),
    }
    judgement = None
    if label.advisories.source:
        from repack.release.advisories import check_advisories, judge_packages

        judgement = judge_packages(contents, context)
        advice = check_advisories(judgement, contents, solution.requests, context)
        solution = replace(solution, warnings=(*solution.warnings, *advice))
    modes = context.proof_modes(solution.requests)
    return Draft(label, solution, contents, signing, modes, roots, texts, judgement)


def installer_files(
    requested: Mapping[str, tuple[Record, ...]], contents: ChannelContents, label: Label
) -> dict[RelPath, bytes]:
    """``install.sh``, ``install.cmd`` and what they read; they ask conda for ``requested``."""
    platforms = {
        subdir: PlatformPlan(
            specs=tuple(f"{r.name}={r.version}={r.build}" for r in requested[subdir]),
            packages=tuple(record.dist for record in records),
            reach=contents.reach(subdir),
            installed=contents.installed(subdir),
        )
        for subdir, records in contents.records_by_subdir.items()
    }
    return installers(InstallerPlan(label.name, label.package_format, label.add_pip, platforms))


def artifacts(contents: ChannelContents) -> tuple[Artifact, ...]:
    """The packages as the manifest lists them."""
    return tuple(
        Artifact(
            path=path,
            size=package.record.size,
            sha256=package.record.sha256,
            sha384=Digest384(package.facts.sha384) if package.facts.sha384 else None,
        )
        for path, package in contents.items.items()
    )


def file_entries(
    contents: ChannelContents, texts: Mapping[RelPath, bytes]
) -> tuple[FileEntry, ...]:
    """Every file of a channel, for the integrity list."""
    records = {path: package.record for path, package in contents.items.items()}
    packages = [FileEntry(path, record.size, record.sha256) for path, record in records.items()]
    return (*packages, *(FileEntry.of_bytes(path, data) for path, data in texts.items()))
