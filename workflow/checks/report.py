"""What checks have found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# What may be wrong with a file.
MISSING = "missing"  # absent, though a file that was made from it is there
DAMAGED = "damaged"  # not the bytes that were written, or not readable
STALE = "stale"  # made by another version, with other settings, or for another place
OUTDATED = "outdated"  # the next run makes it again
DISAGREES = "disagrees"  # its rows are not those of the files that it was made from


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a file.

    Attributes:
        file: Path of the file.
        problem: `missing`, `damaged`, `stale`, `outdated` or `disagrees`.
        message: What, in words.
    """

    file: str
    problem: str
    message: str


@dataclass
class CheckReport:
    """What checks have found.

    Attributes:
        findings: What is wrong.
        n_files: Files looked at.
        without_checksum: Those of them that were written before files had checksums.
        notes: What is not wrong and still worth a word.
    """

    findings: list[Finding] = field(default_factory=list)
    n_files: int = 0
    without_checksum: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: CheckReport) -> None:
        """Take up what another check found."""
        self.findings += other.findings
        self.n_files += other.n_files
        self.without_checksum += other.without_checksum
        self.notes += other.notes

    def find(self, path: Path, problem: str, message: str) -> None:
        """Note that something is wrong with a file."""
        self.findings.append(Finding(str(path), problem, message))

    def is_sound(self, path: Path) -> bool:
        """Whether nothing was found wrong with a file so far."""
        return all(finding.file != str(path) for finding in self.findings)
