"""What the readers of all codecs share: roles, bits, and that anything unexpected makes a packet unknown."""

from __future__ import annotations

import enum

import av


class Role(enum.IntEnum):
    """What the other packets of a file need of one."""

    UNKNOWN = 0
    STARTS_AFRESH = 1
    """Neither it nor any packet after it in the file needs one before it."""
    MAY_BE_NEEDED = 2
    UNREFERENCED = 3
    """No other packet needs it."""


class UnexpectedError(Exception):
    """Something in a stream that the readers do not follow."""


class RoleReader:
    """What the readers share: anything unexpected makes a packet unknown."""

    def __call__(self, packet: av.Packet) -> Role:
        if packet.is_corrupt or packet.has_sidedata("new_extradata"):  # damaged, or of another stream joined on
            return Role.UNKNOWN
        try:
            return self._role(memoryview(packet))
        except (UnexpectedError, IndexError):
            return Role.UNKNOWN

    def _role(self, data: memoryview) -> Role:
        raise NotImplementedError


class Bits:
    """Reads numbers from a bitstream, first bit first."""

    def __init__(self, content: bytes | memoryview):
        self._bits = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def number(self, n_bits: int) -> int:
        """The next `n_bits` as a whole number."""
        if n_bits > self._left:
            raise UnexpectedError
        self._left -= n_bits
        return self._bits >> self._left & ((1 << n_bits) - 1)

    def unsigned_golomb(self) -> int:
        """The next unsigned Exp-Golomb code (ITU-T H.264, 9.1)."""
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)

    def signed_golomb(self) -> int:
        """The next signed Exp-Golomb code (9.1.1)."""
        code = self.unsigned_golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)
