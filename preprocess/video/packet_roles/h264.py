"""Roles of H.264's packets (ITU-T H.264)."""

from __future__ import annotations

from preprocess.video.packet_roles.nal import NalRoles, unescaped
from preprocess.video.packet_roles.reader import Bits, Role, UnexpectedError

# Profiles whose sequence parameter set states the chroma format (7.3.2.1.1).
_CHROMA_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
_SLICE, _IDR, _SPS, _PPS = 1, 5, 7, 8
_SLICE_HEADER_BYTES = 24  # more than the fields that are read can take
_HARMLESS = {6, 9, 12}  # SEI, access unit delimiter, filler


class H264Roles(NalRoles):
    """Reads the role of each packet of an H.264 stream."""

    _frame_number_bits = 0
    _last_reference = -1  # its `frame_num`

    def _read_configuration(self, extradata: bytes) -> int:
        place = 5
        for mask in (0x1F, 0xFF):
            count, place = extradata[place] & mask, place + 1
            for _ in range(count):
                end = place + 2 + int.from_bytes(extradata[place : place + 2], "big")
                self._learn(memoryview(extradata)[place + 2 : end])
                place = end
        return (extradata[4] & 3) + 1

    def _picture(self, nal: memoryview) -> tuple[Role, bool] | None:
        kind, referenced = nal[0] & 0x1F, nal[0] & 0x60
        if nal[0] & 0x80 or kind not in {_SLICE, _IDR, _SPS, _PPS, *_HARMLESS}:
            raise UnexpectedError
        if kind not in (_SLICE, _IDR):
            return None
        bits = Bits(unescaped(bytes(nal[1:_SLICE_HEADER_BYTES])))
        starts_picture = bits.unsigned_golomb() == 0  # number of its first macroblock
        bits.unsigned_golomb()
        bits.unsigned_golomb()
        if starts_picture:
            self._follow(bits.number(self._frame_number_bits), kind == _IDR, bool(referenced))
        role = Role.MAY_BE_NEEDED if referenced else Role.UNREFERENCED
        return Role.STARTS_AFRESH if kind == _IDR else role, starts_picture

    def _follow(self, frame_number: int, is_idr: bool, is_referenced: bool) -> None:
        """Hold `frame_num` to its order (7.4.3): where a reference is lost, decoders conceal it, each in its way."""
        expected = 0 if is_idr else (self._last_reference + 1) % (1 << self._frame_number_bits)
        if frame_number != expected:
            raise UnexpectedError
        if is_referenced:
            self._last_reference = frame_number

    def _is_parameter_set(self, nal: memoryview) -> bool:
        return nal[0] & 0x1F in (_SPS, _PPS)

    def _set_id(self, content: bytes) -> tuple[int, int]:
        kind, bits = content[0] & 0x1F, Bits(unescaped(content[1:]))
        if kind == _PPS:
            return kind, bits.unsigned_golomb()
        self._frame_number_bits = _frame_number_bits(bits)
        return kind, 0  # whatever its id: a second one is unexpected


def _frame_number_bits(bits: Bits) -> int:
    """Bits of `frame_num` by a sequence parameter set (7.3.2.1.1) of whole frames without gaps."""
    profile = bits.number(8)
    bits.number(16)
    bits.unsigned_golomb()
    if profile in _CHROMA_PROFILES:
        chroma = bits.unsigned_golomb()
        if chroma == 3 and bits.number(1):  # colour planes coded apart
            raise UnexpectedError
        bits.unsigned_golomb()
        bits.unsigned_golomb()
        bits.number(1)
        if bits.number(1):  # scaling lists
            for place in range(12 if chroma == 3 else 8):
                if bits.number(1):
                    _pass_scaling_list(bits, 16 if place < 6 else 64)
    frame_number_bits = bits.unsigned_golomb() + 4
    order = bits.unsigned_golomb()
    if order == 0:
        bits.unsigned_golomb()
    elif order == 1:
        bits.number(1)
        bits.signed_golomb()
        bits.signed_golomb()
        for _ in range(bits.unsigned_golomb()):
            bits.signed_golomb()
    bits.unsigned_golomb()
    gaps_allowed = bits.number(1)
    bits.unsigned_golomb()
    bits.unsigned_golomb()
    whole_frames_only = bits.number(1)
    if gaps_allowed or not whole_frames_only:
        raise UnexpectedError
    return frame_number_bits


def _pass_scaling_list(bits: Bits, n_values: int) -> None:
    """Read over a scaling list (7.3.2.1.1.1)."""
    last, following = 8, 8
    for _ in range(n_values):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last
