"""What a check of a data directory finds: each finding names file and line, what is wrong and what mends it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from sigssl.data.io import write_text


class Finding(NamedTuple):
    """One fault.

    Attributes:
        kind: its short name, by which findings are grouped: `unsorted`, `missing file`, ...
        where: `FILE:LINE`.
        what: what is wrong, and what was expected.
        repair: what to do about it.
        level: an `error` makes utterances unusable or the directory ill-formed; a `warning` needs a decision at the most.
        ids: the utterances that cannot be used because of it.
    """

    kind: str
    where: str
    what: str
    repair: str
    level: Literal["error", "warning"] = "error"
    ids: tuple[str, ...] = ()


@dataclass
class Report:
    """What the check of a directory gave.

    Attributes:
        path: the directory.
        utterances: how many it has (before a repair).
        findings: in the order of the checks.
        facts: lines that describe the data: hours, rates, class histograms.
        min_good: share of usable utterances below which nothing should go on.
        repaired: what `--fix` did, one line each.
        left: the findings that are there after a repair.
    """

    path: Path
    utterances: int
    findings: list[Finding] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    min_good: float = 0.95
    repaired: list[str] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)

    @property
    def quarantined(self) -> dict[str, Finding]:
        """Utterances that cannot be used -> the first finding that says why."""
        made: dict[str, Finding] = {}
        for finding in self.findings:
            for id in finding.ids:
                made.setdefault(id, finding)
        return made

    @property
    def good(self) -> float:
        """The share of utterances that can be used; 0 where there is none."""
        return 1 - len(self.quarantined) / self.utterances if self.utterances else 0.0

    @property
    def exit_code(self) -> int:
        """0 sound (or mended, with nothing set aside); 1 faults that leave most usable; 2 fewer than `min_good` are usable."""
        if self.good < self.min_good:
            return 2
        open_findings = self.left if self.repaired else self.findings
        return int(bool(self.quarantined) or any(finding.level == "error" for finding in open_findings))

    def write_quarantine(self, path: Path | str) -> None:
        """Write the unusable utterances as `id TAB file TAB reason`, whole."""
        rows = [f"{id}\t{f.where}\t{f.kind}: {f.what}\n" for id, f in sorted(self.quarantined.items())]
        write_text(path, "id\tfile\treason\n" + "".join(rows))

    def text(self, most: int = 5) -> str:
        """The report for a terminal.

        Args:
            most: findings shown of each kind.
        """
        lines = [f"{self.path}: {self.utterances} utterances", *(f"  {fact}" for fact in self.facts)]
        total, shown = Counter(f.kind for f in self.findings), Counter[str]()
        for finding in self.findings:
            shown[finding.kind] += 1
            if shown[finding.kind] <= most:
                lines.append(f"{finding.level}: {finding.where}: {finding.kind}: {finding.what}. {finding.repair}.")
            if shown[finding.kind] == most + 1:
                lines.append(f"{finding.level}: ... and {total[finding.kind] - most} more of kind '{finding.kind}'")
        lines += [f"repaired: {line}" for line in self.repaired]
        if self.repaired:
            lines += [f"left: {f.where}: {f.kind}: {f.what}. {f.repair}." for f in self.left[:most] if f.level == "error"]
        aside = len(self.quarantined)
        if aside:
            lines.append(f"{aside} of {self.utterances} utterances set aside ({100 * self.good:.1f} % good).")
        if self.exit_code == 2:
            lines.append(f"Fewer than {100 * self.min_good:g} % are usable: stop, mend the source of these faults, then go on.")
        if not any(f.level == "error" for f in self.findings):
            lines.append(f"sound{f', with {len(self.findings)} warnings' if self.findings else ''}")
        return "\n".join(lines)
