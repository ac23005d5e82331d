"""Roles of VP9's packets (VP9 bitstream specification)."""

from __future__ import annotations

from preprocess.video.packet_roles.reader import Bits, Role, RoleReader, UnexpectedError


class Vp9Roles(RoleReader):
    """Reads the role of each packet of a VP9 stream."""

    def __init__(self, extradata: bytes):
        pass  # VP9 has its headers in the frames

    def _role(self, data: memoryview) -> Role:
        bits = Bits(data[:5])
        if bits.number(2) != 2:  # frame marker
            raise UnexpectedError
        profile = bits.number(1) | bits.number(1) << 1
        if profile == 3:
            bits.number(1)
        shows_existing, is_inter = bits.number(1), bits.number(1)
        if shows_existing or is_inter:
            return Role.MAY_BE_NEEDED
        bits.number(2)
        if bits.number(24) != 0x498342:  # sync code
            raise UnexpectedError
        return Role.STARTS_AFRESH
