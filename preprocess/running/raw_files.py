"""A raw file is believed only while it holds the bytes that were indexed: what every stage asks before it reads one.

What became of a video is written into a row for good. So a row may tell of a file that is broken by itself, but not of
a disc that is away, or of a file that somebody has changed since: of those the job tells, and fails.

The bytes themselves are compared, in every stage, not times, which copying, touching and the clocks of file servers
change as they like. Decoding reads the whole file anyway, so this costs no second reading from the disc, and less
than a hundredth of the CPU time.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from preprocess.running.cli import UserError
from preprocess.video.outcomes import OK
from preprocess.video.probe import ProbeError

R = TypeVar("R")

_CHECKSUM_BYTES = 16
# What the system says when it cannot get at a file, whatever is in it. The index has read the whole file without it, so
# it is no fault of the content.
_REFUSALS = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ENXIO, errno.ENODEV),
    *(errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
)


class FileState(NamedTuple):
    """What the system says of a file; another state may mean other bytes."""

    n_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int


def file_state(path: Path) -> FileState:
    """State of a file, or of what a link leads to.

    Raises:
        OSError: It cannot be reached.
    """
    status = os.stat(path)
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def file_checksum(path: Path) -> str:
    """BLAKE2b of a file's bytes as 32 hexadecimal digits, as `b2sum --length 128` prints it.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=_CHECKSUM_BYTES)).hexdigest()


@dataclass(frozen=True)
class RawFiles:
    """The raw files that a job reads, to be compared with the index. Small, as every worker gets a copy.

    A row without size and checksum, such as that of a file which is in no index, has nothing to be compared with: its
    file is read as it is.

    Attributes:
        root: Raw folder of the data set.
        paths: Of the files that the index has seen, relative to the root.
        are_masks: Whether these are the mask videos (`mask_path`), not the videos themselves (`path`).
    """

    root: Path
    paths: tuple[str, ...]
    are_masks: bool = False

    @classmethod
    def of_videos(cls, videos: list[dict], root: Path) -> RawFiles:
        """The usable videos and images among rows of `schemas.INDEX`."""
        return cls(root, tuple(row["path"] for row in videos if row["status"] == OK))

    @classmethod
    def of_masks(cls, videos: list[dict], root: Path) -> RawFiles:
        """The mask videos of rows of `schemas.INDEX`, as far as there were any when they were indexed."""
        return cls(root, tuple(row["mask_path"] for row in videos if row["mask_checksum"]), are_masks=True)

    def path_of(self, video: dict) -> Path:
        """The file that a row of the index stands for."""
        return self.root / video[self._column]

    def check(self, video: dict) -> FileState | None:
        """Compare a file with its row of the index.

        Args:
            video: Row of `schemas.INDEX`.

        Returns:
            The state of the file before its bytes were read; None when the row has nothing to be compared with.

        Raises:
            UserError: The file, or the whole root, cannot be reached, or the file has other bytes.
        """
        n_bytes, checksum = self._indexed(video)
        if n_bytes is None and checksum is None:
            return None
        path = self.path_of(video)
        try:
            state = file_state(path)
            # before it is opened: reading what is no file may take for ever
            if n_bytes is not None and state.n_bytes != n_bytes:
                raise self._changed(video, f"it has {state.n_bytes:,} bytes, the index says {n_bytes:,}")
            found = file_checksum(path)
        except OSError as error:
            raise self._away(video, error) from error
        if checksum is not None and found != checksum:
            raise self._changed(video, f"its bytes have the checksum {found}, the index says {checksum}")
        return state

    @contextmanager
    def reading(self, video: dict) -> Iterator[Path]:
        """Compare a file with its row of the index, give its path to be read, and see that it stayed as it was.

        Args:
            video: Row of `schemas.INDEX`.

        Raises:
            UserError: As `check`, before the file is read or after; or the system gave an error while it was read.
            ProbeError: As it was raised in the block.
        """
        state = self.check(video)
        try:
            yield self.path_of(video)
        except ProbeError as error:
            if state is not None:
                cause = error.__cause__
                if getattr(cause, "errno", None) in _REFUSALS:
                    raise self._away(video, cause) from error
                self._check_again(video, state)
            raise
        if state is not None:
            self._check_again(video, state)

    def believe(self, video: dict, results: Iterator[R]) -> Iterator[R]:
        """Pass on what a worker made of a file; that it was lost is believed only of the file that was indexed.

        A worker that is ended, over a disc that no longer answers for one, has not compared it itself.

        Args:
            video: Row of `schemas.INDEX`.
            results: Its results, as `map_videos` gives them.

        Raises:
            UserError: As `check`.
            ProbeError: As the results raise it.
        """
        try:
            yield from results
        except ProbeError:
            self.check(video)
            raise

    @property
    def _column(self) -> str:
        return "mask_path" if self.are_masks else "path"

    def _indexed(self, video: dict) -> tuple[int | None, str | None]:
        """Size in bytes, and checksum; None where the index does not say."""
        return (None, video["mask_checksum"]) if self.are_masks else (video["n_bytes"], video["checksum"])

    def _check_again(self, video: dict, before: FileState) -> None:
        """`check` a file unless it is in the state that it was in."""
        if _state_or_none(self.path_of(video)) != before:
            self.check(video)

    def _changed(self, video: dict, how: str) -> UserError:
        return UserError(
            f"data set {video['dataset']!r}: {video[self._column]} has changed since it was indexed: {how}. Put the "
            f"former file back, or index again by `{index_command(video['dataset'])}`; then give the same command again"
        )

    def _away(self, video: dict, error: BaseException | None) -> UserError:
        why = getattr(error, "strerror", None) or error
        try:
            os.scandir(self.root).close()
        except OSError as root_error:
            return UserError(
                f"data set {video['dataset']!r}: its root {str(self.root)!r} cannot be reached "
                f"({root_error.strerror}): is the disc mounted? Then give the same command again; if the collection "
                "has moved, set `root`"
            )
        n_away = sum(_state_or_none(self.root / path) is None for path in self.paths)
        return UserError(
            f"data set {video['dataset']!r}: {video[self._column]} was there when it was indexed, and now cannot be "
            f"read ({why}); {n_away:,} of {len(self.paths):,} such files of shard {video['shard']} are gone from "
            f"{str(self.root)!r}. Is the disc mounted? Then give the same command again. If the file is gone for good, "
            f"index again by `{index_command(video['dataset'])}`, which makes it a row `missing`"
        )


def index_command(dataset: str) -> str:
    """The command that looks at the raw folder of a data set again."""
    return f"snakemake --cores 1 index_videos_{dataset}"


def _state_or_none(path: Path) -> FileState | None:
    try:
        return file_state(path)
    except OSError:
        return None
