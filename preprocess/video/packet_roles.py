"""Which packets of a video the others need, read from the bitstream, so that the rest is never decoded.

Two facts of a packet save work without changing a pixel. It may hold a picture that no other one refers to; and
it may be one at which the decoder starts afresh, so that nothing after it in the file needs anything before it.
Flags of the container say neither for sure: a key frame in its sense may be a recovery point (open groups of
pictures, intra refresh), after which frames that the file shows later still need earlier ones. The bitstream
does say it:

- H.264 (ITU-T H.264, 7.4.1): pictures with `nal_ref_idc` 0 are unreferenced; IDR pictures start afresh. Numbers
  of frames tell whether a reference is lost.
- HEVC (ITU-T H.265, 7.4.2.2): sub-layer non-reference pictures of the highest temporal sub-layer are unreferenced;
  IDR pictures start afresh, CRA and BLA pictures are not trusted to.
- VP9 (bitstream specification, 7.2) and AV1 (7.6.3): shown key frames replace every reference and every probability;
  whether a picture is referenced depends on state that this module does not follow.

What is not plainly one of these, down to a second parameter set or an interlaced stream, is `Role.UNKNOWN`, and one
unknown packet means that the file is to be decoded whole.
"""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Callable, Iterator

import av
from av.video.codeccontext import VideoCodecContext

_START_CODE = re.compile(rb"\x00\x00\x01")
# Profiles whose sequence parameter set states the chroma format (ITU-T H.264, 7.3.2.1.1).
_H264_CHROMA_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
_H264_SLICE, _H264_IDR, _H264_SPS, _H264_PPS = 1, 5, 7, 8
_SLICE_HEADER_BYTES = 24  # more than the fields that are read can take
_H264_HARMLESS = {6, 9, 12}  # SEI, access unit delimiter, filler
_HEVC_IDR = {19, 20}
_HEVC_UNREFERENCED = {0, 2, 4, 6, 8}
_HEVC_PICTURES = {*range(10), *range(16, 22)}
_HEVC_VPS, _HEVC_SPS, _HEVC_PPS = 32, 33, 34
_HEVC_HARMLESS = {35, 38, 39, 40, 62, 63}  # delimiter, filler, SEI, Dolby Vision's side data


class Role(enum.IntEnum):
    """What the other packets of a file need of one."""

    UNKNOWN = 0
    STARTS_AFRESH = 1
    """Neither it nor any packet after it in the file needs one before it."""
    MAY_BE_NEEDED = 2
    UNREFERENCED = 3
    """No other packet needs it."""


def role_reader(codec: VideoCodecContext) -> Callable[[av.Packet], Role] | None:
    """A function that tells the role of each packet of a stream, to be called in the order of the file.

    Returns:
        None for codecs of which nothing is known.
    """
    readers = {"h264": _H264Roles, "hevc": _HevcRoles, "vp9": _Vp9Roles, "av1": _Av1Roles}
    reader = readers.get(codec.codec.canonical_name)
    if reader is None:
        return None
    try:
        return reader(codec.extradata or b"")
    except (_UnexpectedError, IndexError):
        return None


class _UnexpectedError(Exception):
    """Something in a stream that this module does not follow."""


class _Reader:
    """What the readers share: anything unexpected makes a packet unknown."""

    def __call__(self, packet: av.Packet) -> Role:
        if packet.is_corrupt or packet.has_sidedata("new_extradata"):  # damaged, or of another stream joined on
            return Role.UNKNOWN
        try:
            return self._role(memoryview(packet))
        except (_UnexpectedError, IndexError):
            return Role.UNKNOWN

    def _role(self, data: memoryview) -> Role:
        raise NotImplementedError


class _NalRoles(_Reader):
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
        pictures = []
        for nal in self._nals(data):
            picture = self._picture(nal)
            if picture is not None:
                # the first slice of a picture has its first bit set, further slices do not: one picture a packet
                role, starts_picture = picture
                if starts_picture == bool(pictures):
                    raise _UnexpectedError
                pictures.append(role)
            elif self._is_parameter_set(nal):
                self._learn(nal)
        self._is_first = False
        if len(set(pictures)) != 1 or not self._known:
            raise _UnexpectedError
        return pictures[0]

    def _nals(self, data: memoryview) -> Iterator[memoryview]:
        if not self._length_bytes:
            starts = [match.end() for match in _START_CODE.finditer(data)]
            if data and (not starts or any(data[: starts[0] - 3])):
                raise _UnexpectedError
            for begin, following in itertools.pairwise([*starts, len(data) + 3]):
                yield data[begin : following - 3]
            return
        place = 0
        while place < len(data):
            begin = place + self._length_bytes
            place = begin + int.from_bytes(data[place:begin], "big")
            if place > len(data):
                raise _UnexpectedError
            yield data[begin:place]

    def _learn(self, nal: memoryview) -> None:
        # zeros at the end belong to the next start code
        content = bytes(nal).rstrip(b"\0")
        key = self._set_id(content)
        if self._is_first:  # what stands in the first packet takes the place of what stands in the header
            self._known[key] = content
        elif self._known.get(key) != content:
            raise _UnexpectedError

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


def _unescaped(payload: bytes) -> bytes:
    """Without the bytes that keep start codes out of NAL units (ITU-T H.264, 7.4.1.1)."""
    return payload.replace(b"\0\0\3", b"\0\0")


class _H264Roles(_NalRoles):
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
        if nal[0] & 0x80 or kind not in {_H264_SLICE, _H264_IDR, _H264_SPS, _H264_PPS, *_H264_HARMLESS}:
            raise _UnexpectedError
        if kind not in (_H264_SLICE, _H264_IDR):
            return None
        bits = _Bits(_unescaped(bytes(nal[1:_SLICE_HEADER_BYTES])))
        starts_picture = bits.unsigned_golomb() == 0  # number of its first macroblock
        bits.unsigned_golomb()
        bits.unsigned_golomb()
        if starts_picture:
            self._follow(bits.number(self._frame_number_bits), kind == _H264_IDR, bool(referenced))
        role = Role.MAY_BE_NEEDED if referenced else Role.UNREFERENCED
        return Role.STARTS_AFRESH if kind == _H264_IDR else role, starts_picture

    def _follow(self, frame_number: int, is_idr: bool, is_referenced: bool) -> None:
        """Hold `frame_num` to its order (7.4.3): where a reference is lost, decoders conceal it, each in its way."""
        expected = 0 if is_idr else (self._last_reference + 1) % (1 << self._frame_number_bits)
        if frame_number != expected:
            raise _UnexpectedError
        if is_referenced:
            self._last_reference = frame_number

    def _is_parameter_set(self, nal: memoryview) -> bool:
        return nal[0] & 0x1F in (_H264_SPS, _H264_PPS)

    def _set_id(self, content: bytes) -> tuple[int, int]:
        kind, bits = content[0] & 0x1F, _Bits(_unescaped(content[1:]))
        if kind == _H264_PPS:
            return kind, bits.unsigned_golomb()
        self._frame_number_bits = _h264_frame_number_bits(bits)
        return kind, 0  # whatever its id: a second one is unexpected


def _h264_frame_number_bits(bits: _Bits) -> int:
    """Bits of `frame_num` by an H.264 sequence parameter set (7.3.2.1.1) of whole frames without gaps."""
    profile = bits.number(8)
    bits.number(16)
    bits.unsigned_golomb()
    if profile in _H264_CHROMA_PROFILES:
        chroma = bits.unsigned_golomb()
        if chroma == 3 and bits.number(1):  # colour planes coded apart
            raise _UnexpectedError
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
        raise _UnexpectedError
    return frame_number_bits


def _pass_scaling_list(bits: _Bits, n_values: int) -> None:
    """Read over a scaling list (ITU-T H.264, 7.3.2.1.1.1)."""
    last, following = 8, 8
    for _ in range(n_values):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last


class _HevcRoles(_NalRoles):
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
        sets = {_HEVC_VPS, _HEVC_SPS, _HEVC_PPS}
        if layer or kind not in _HEVC_PICTURES | sets | _HEVC_HARMLESS:
            raise _UnexpectedError
        if kind not in _HEVC_PICTURES:
            return None
        role = Role.MAY_BE_NEEDED
        if kind in _HEVC_IDR:
            role = Role.STARTS_AFRESH
        elif kind in _HEVC_UNREFERENCED and sub_layer == self._highest_layer:
            role = Role.UNREFERENCED
        return role, bool(nal[2] & 0x80)

    def _is_parameter_set(self, nal: memoryview) -> bool:
        return nal[0] >> 1 in (_HEVC_VPS, _HEVC_SPS, _HEVC_PPS)

    def _set_id(self, content: bytes) -> tuple[int, int]:
        kind, bits = content[0] >> 1, _Bits(_unescaped(content[2:]))
        if kind == _HEVC_PPS:
            return kind, bits.unsigned_golomb()
        if kind == _HEVC_SPS:
            bits.number(4)
            self._highest_layer = bits.number(3)
        return kind, 0  # whatever its id: a second one is unexpected


class _Vp9Roles(_Reader):
    def __init__(self, extradata: bytes):
        pass  # VP9 has its headers in the frames

    def _role(self, data: memoryview) -> Role:
        bits = _Bits(data[:5])
        if bits.number(2) != 2:  # frame marker
            raise _UnexpectedError
        profile = bits.number(1) | bits.number(1) << 1
        if profile == 3:
            bits.number(1)
        shows_existing, is_inter = bits.number(1), bits.number(1)
        if shows_existing or is_inter:
            return Role.MAY_BE_NEEDED
        bits.number(2)
        if bits.number(24) != 0x498342:  # sync code
            raise _UnexpectedError
        return Role.STARTS_AFRESH


class _Av1Roles(_Reader):
    _SEQUENCE, _DELIMITER, _FRAME_HEADER, _TILES, _METADATA, _FRAME, _REPEATED_HEADER = 1, 2, 3, 4, 5, 6, 7

    def __init__(self, extradata: bytes):
        self._sequence = None
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
                bits = _Bits(payload[:1])
                shows_existing, frame_type, is_shown = bits.number(1), bits.number(2), bits.number(1)
                is_key = not shows_existing and frame_type == 0 and is_shown
                # a key frame that comes behind another frame of its packet does not make the packet a fresh start
                role = role or (Role.STARTS_AFRESH if is_key else Role.MAY_BE_NEEDED)
            elif kind not in (self._DELIMITER, self._TILES, self._METADATA, self._REPEATED_HEADER):
                raise _UnexpectedError
        self._is_first = False
        if role is None or self._sequence is None:
            raise _UnexpectedError
        return role

    def _units(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Types and payloads of the open bitstream units (5.3)."""
        place = 0
        while place < len(data):
            kind, is_layered, has_size = data[place] >> 3 & 15, data[place] & 4, data[place] & 2
            if is_layered or not has_size:
                raise _UnexpectedError
            size, shift, place = 0, 0, place + 1
            while True:  # leb128 (4.10.5)
                byte, place = data[place], place + 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            if place + size > len(data):
                raise _UnexpectedError
            yield kind, data[place : place + size]
            place += size

    def _learn(self, sequence: memoryview) -> None:
        content = bytes(sequence)
        has_reduced_headers = content[0] & 8
        if has_reduced_headers or (self._sequence != content and not self._is_first):
            raise _UnexpectedError
        self._sequence = content


class _Bits:
    """Reads numbers from a bitstream, first bit first."""

    def __init__(self, content: bytes | memoryview):
        self._bits = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def number(self, n_bits: int) -> int:
        if n_bits > self._left:
            raise _UnexpectedError
        self._left -= n_bits
        return self._bits >> self._left & ((1 << n_bits) - 1)

    def unsigned_golomb(self) -> int:
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)

    def signed_golomb(self) -> int:
        code = self.unsigned_golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)
