"""Streams of NAL units, in which H.264 and HEVC lie."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from preprocess.video.packet_roles.reader import Role, RoleReader, UnexpectedError

_START_CODE = re.compile(rb"\x00\x00\x01")


class NalRoles(RoleReader):
    """Roles in streams of NAL units. The parameter sets must be known by the first packet, and stay."""

    def __init__(self, extradata: bytes):
        self._known: dict[tuple[int, int], bytes] = {}  # (NAL type, id) -> parameter set
        self._is_first = True
        # extradata of MP4 and Matroska begin with a version and give NAL units a length, others have start codes
        self._length_bytes = 0
        if extradata[:1] == b"\1":
            self._length_bytes = self._read_configuration(extradata)
        else:
            for nal in self._nals(memoryview(extradata)):
                self._learn(nal)

    def _role(self, data: memoryview) -> Role:
        pictures: list[Role] = []
        for nal in self._nals(data):
            picture = self._picture(nal)
            if picture is not None:
                # the first slice of a picture has its first bit set, further slices do not: one picture a packet
                role, starts_picture = picture
                if starts_picture == bool(pictures):
                    raise UnexpectedError
                pictures.append(role)
            elif self._is_parameter_set(nal):
                self._learn(nal)
        self._is_first = False
        if len(set(pictures)) != 1 or not self._known:
            raise UnexpectedError
        return pictures[0]

    def _nals(self, data: memoryview) -> Iterator[memoryview]:
        if not self._length_bytes:
            starts = [match.end() for match in _START_CODE.finditer(data)]
            if data and (not starts or any(data[: starts[0] - 3])):
                raise UnexpectedError
            for begin, following in itertools.pairwise([*starts, len(data) + 3]):
                yield data[begin : following - 3]
            return
        place = 0
        while place < len(data):
            begin = place + self._length_bytes
            place = begin + int.from_bytes(data[place:begin], "big")
            if place > len(data):
                raise UnexpectedError
            yield data[begin:place]

    def _learn(self, nal: memoryview) -> None:
        # zeros at the end belong to the next start code
        content = bytes(nal).rstrip(b"\0")
        key = self._set_id(content)
        if self._is_first:  # what stands in the first packet takes the place of what stands in the header
            self._known[key] = content
        elif self._known.get(key) != content:
            raise UnexpectedError

    def _read_configuration(self, extradata: bytes) -> int:
        """Learn the parameter sets of a decoder configuration record; returns the bytes of a NAL unit's length."""
        raise NotImplementedError

    def _picture(self, nal: memoryview) -> tuple[Role, bool] | None:
        """Role of a slice, and whether it is the first of its picture; None for other NAL units."""
        raise NotImplementedError

    def _is_parameter_set(self, nal: memoryview) -> bool:
        raise NotImplementedError

    def _set_id(self, content: bytes) -> tuple[int, int]:
        """Type and id of a parameter set that is to be followed."""
        raise NotImplementedError


def unescaped(payload: bytes) -> bytes:
    """Without the bytes that keep start codes out of NAL units (ITU-T H.264, 7.4.1.1)."""
    return payload.replace(b"\0\0\3", b"\0\0")
