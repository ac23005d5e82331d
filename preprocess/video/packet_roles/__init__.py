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

from collections.abc import Callable

import av
from av.video.codeccontext import VideoCodecContext

from preprocess.video.packet_roles.av1 import Av1Roles
from preprocess.video.packet_roles.h264 import H264Roles
from preprocess.video.packet_roles.hevc import HevcRoles
from preprocess.video.packet_roles.reader import Role, UnexpectedError
from preprocess.video.packet_roles.vp9 import Vp9Roles

__all__ = ["Role", "role_reader"]


def role_reader(codec: VideoCodecContext) -> Callable[[av.Packet], Role] | None:
    """A function that tells the role of each packet of a stream, to be called in the order of the file.

    Returns:
        None for codecs of which nothing is known.
    """
    readers = {"h264": H264Roles, "hevc": HevcRoles, "vp9": Vp9Roles, "av1": Av1Roles}
    reader = readers.get(codec.codec.canonical_name)
    if reader is None:
        return None
    try:
        return reader(codec.extradata or b"")
    except (UnexpectedError, IndexError):
        return None
