"""Roles of AV1's packets (AV1 bitstream specification)."""

from __future__ import annotations

from collections.abc import Iterator

from preprocess.video.packet_roles.reader import Bits, Role, RoleReader, UnexpectedError


class Av1Roles(RoleReader):
    """Reads the role of each packet of an AV1 stream."""

    _SEQUENCE, _DELIMITER, _FRAME_HEADER, _TILES, _METADATA, _FRAME, _REPEATED_HEADER = 1, 2, 3, 4, 5, 6, 7

    def __init__(self, extradata: bytes):
        self._sequence: bytes | None = None
        self._is_first = True
        for kind, payload in self._units(memoryview(extradata)[4:]):
            if kind == self._SEQUENCE:
                self._learn(payload)

    def _role(self, data: memoryview) -> Role:
        role = None
        for kind, payload in self._units(data):
            if kind == self._SEQUENCE:
                self._learn(payload)
            elif kind in (self._FRAME_HEADER, self._FRAME):
                bits = Bits(payload[:1])
                shows_existing, frame_type, is_shown = bits.number(1), bits.number(2), bits.number(1)
                is_key = not shows_existing and frame_type == 0 and is_shown
                # a key frame that comes behind another frame of its packet does not make the packet a fresh start
                role = role or (Role.STARTS_AFRESH if is_key else Role.MAY_BE_NEEDED)
            elif kind not in (self._DELIMITER, self._TILES, self._METADATA, self._REPEATED_HEADER):
                raise UnexpectedError
        self._is_first = False
        if role is None or self._sequence is None:
            raise UnexpectedError
        return role

    def _units(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Types and payloads of the open bitstream units (5.3)."""
        place = 0
        while place < len(data):
            kind, is_layered, has_size = data[place] >> 3 & 15, data[place] & 4, data[place] & 2
            if is_layered or not has_size:
                raise UnexpectedError
            size, shift, place = 0, 0, place + 1
            while True:  # leb128 (4.10.5)
                byte, place = data[place], place + 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            if place + size > len(data):
                raise UnexpectedError
            yield kind, data[place : place + size]
            place += size

    def _learn(self, sequence: memoryview) -> None:
        content = bytes(sequence)
        has_reduced_headers = content[0] & 8
        if has_reduced_headers or (self._sequence != content and not self._is_first):
            raise UnexpectedError
        self._sequence = content
