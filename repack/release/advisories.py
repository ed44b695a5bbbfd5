"""What is known of vulnerabilities in a release's packages, and whether the label refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repack.advisories.database import open_database
from repack.advisories.judge import Request, Subject, judge
from repack.display import shown
from repack.errors import ProofError
from repack.label.label import package_names
from repack.release.checks import chains_by_subdir, shortest_chain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.advisories.document import Finding, Judgement
    from repack.channel.contents import ChannelContents
    from repack.release.context import BuildContext
    from repack.solve.solution import SolveRequest


def judge_packages(contents: ChannelContents, context: BuildContext) -> Judgement:
    """Hold all packages but the label's own against the label's database.

    Raises:
        UsageError: there is no database.
        IntegrityError: it is none, or damaged.
    """
    label = context.label
    own, policy = package_names(label), label.advisories
    subjects = [
        Subject.of_fields(path, item.record.raw)
        for path, item in contents.items.items()
        if item.record.name not in own
    ]
    database = open_database(Path(policy.source), context.store.root / "advisories")
    advisories = database.about({key for subject in subjects for key in subject.keys})
    request = Request(database.info, policy, context.settings.now.date())
    return judge(subjects, advisories, request)


def check_advisories(
    judgement: Judgement,
    contents: ChannelContents,
    requests: Mapping[str, SolveRequest],
    context: BuildContext,
) -> tuple[str, ...]:
    """What a release engineer should know, a line each.

    Raises:
        ProofError: a vulnerability is denied, or the label is ``strict`` and there is anything to
            know.
    """
    label = context.label
    denied = [f for f in judgement.open if label.strict or label.advisories.denies(f.severity)]
    if denied:
        raise ProofError(
            f"the label refuses known vulnerabilities of its packages: {len(denied)}",
            where=f"label {label.name}",
            got="".join(f"\n    {line}" for line in _denials(denied[:20], contents, requests)),
            hint="take the fixed versions; or give a reason and a last day in `advisories.accept`",
        )
    lines = [f"advisories: {line}" for line in judgement.ended]
    age_fault = judgement.database.age_fault(context.settings.now, label.advisories.max_age)
    lines += [f"advisories: {age_fault}"] if age_fault else []
    if lines and label.strict:
        raise ProofError(
            "the label is strict, and its database of advisories is no basis",
            where=f"label {label.name}",
            got="".join(f"\n    {line}" for line in lines),
            hint="bring a newer database, and remove what is not accepted any more",
        )
    if judgement.findings:
        lines.append(f"advisories: {judgement.summary()}; repack report {label.name} --advisories")
    return tuple(lines)


def _denials(
    findings: list[Finding], contents: ChannelContents, requests: Mapping[str, SolveRequest]
) -> list[str]:
    chains = chains_by_subdir(contents, requests)
    rows = []
    for finding in findings:
        way = " -> ".join(shortest_chain(finding.name, chains))
        rows.append(shown(f"{finding.line}; {finding.package}; {way}", 400))
    return rows
