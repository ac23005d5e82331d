"""Roles of HEVC's packets (ITU-T H.265)."""

from __future__ import annotations

from preprocess.video.packet_roles.nal import NalRoles, unescaped
from preprocess.video.packet_roles.reader import Bits, Role, UnexpectedError

_IDR = {19, 20}
_UNREFERENCED = {0, 2, 4, 6, 8}
_PICTURES = {*range(10), *range(16, 22)}
_VPS, _SPS, _PPS = 32, 33, 34
_HARMLESS = {35, 38, 39, 40, 62, 63}  # delimiter, filler, SEI, Dolby Vision's side data


class HevcRoles(NalRoles):
    """Reads the role of each packet of an HEVC stream."""

    _highest_layer = 0  # temporal sub-layer

    def _read_configuration(self, extradata: bytes) -> int:
        place = 23
        for _ in range(extradata[22]):
            count, place = int.from_bytes(extradata[place + 1 : place + 3], "big"), place + 3
            for _ in range(count):
                end = place + 2 + int.from_bytes(extradata[place : place + 2], "big")
                nal = memoryview(extradata)[place + 2 : end]
                if self._is_parameter_set(nal):
                    self._learn(nal)
                place = end
        return (extradata[21] & 3) + 1

    def _picture(self, nal: memoryview) -> tuple[Role, bool] | None:
        kind, layer, sub_layer = nal[0] >> 1, (nal[0] & 1) << 5 | nal[1] >> 3, (nal[1] & 7) - 1
        sets = {_VPS, _SPS, _PPS}
        if layer or kind not in _PICTURES | sets | _HARMLESS:
            raise UnexpectedError
        if kind not in _PICTURES:
            return None
        role = Role.MAY_BE_NEEDED
        if kind in _IDR:
            role = Role.STARTS_AFRESH
        elif kind in _UNREFERENCED and sub_layer == self._highest_layer:
            role = Role.UNREFERENCED
        return role, bool(nal[2] & 0x80)

    def _is_parameter_set(self, nal: memoryview) -> bool:
        return nal[0] >> 1 in (_VPS, _SPS, _PPS)

    def _set_id(self, content: bytes) -> tuple[int, int]:
        kind, bits = content[0] >> 1, Bits(unescaped(content[2:]))
        if kind == _PPS:
            return kind, bits.unsigned_golomb()
        if kind == _SPS:
            bits.number(4)
            self._highest_layer = bits.number(3)
        return kind, 0  # whatever its id: a second one is unexpected
