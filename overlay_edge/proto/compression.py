"""COMP payloads: zstd, inflated under a ceiling that holds while inflating.

``oap1.md`` section 2: at most 1 MiB, and at most ten times the compressed size.
"""

from overlay_edge.errors import PeerViolation
from overlay_edge.proto.frame import APP_E2E, COMP, MAX_FRAME_BYTES, Frame

MAX_INFLATED_BYTES = MAX_FRAME_BYTES
MAX_RATIO = 10
# A stream may ask for a window of up to 128 MiB before it yields a byte. Nothing that
# inflates to 1 MiB gains by more than 2 MiB, the window of the usual level when the size is
# not known beforehand.
MAX_WINDOW_LOG = 21


def inflate(frame: Frame) -> bytes:
    """Return the payload as the application sees it.

    An end-to-end payload (APP_E2E) is opaque and returned untouched.

    Raises:
        PeerViolation: ``RatioCap`` (413) over either ceiling, ``BadCompression`` (400) for
            anything but exactly one whole zstd frame. The envelope was sound, so the
            caller refuses the request and keeps the link.
    """
    if not frame.flags & COMP or frame.flags & APP_E2E:
        return frame.payload
    # Loaded by the first compressed frame: start-up does not pay for it.
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

    ceiling = min(MAX_INFLATED_BYTES, MAX_RATIO * len(frame.payload))
    inflater = ZstdDecompressor(options={DecompressionParameter.window_log_max: MAX_WINDOW_LOG})
    try:
        # One byte more than allowed is enough to know, and all that is ever produced.
        data = inflater.decompress(frame.payload, max_length=ceiling + 1)
    except ZstdError:
        raise PeerViolation(
            "BadCompression", "payload is not zstd, or its window is over 2 MiB"
        ) from None
    if len(data) > ceiling or (not inflater.eof and not inflater.needs_input):
        raise PeerViolation(
            "RatioCap",
            f"{len(frame.payload)} bytes inflate to more than {ceiling}",
            code=413,
            token="ratio_cap",
        )
    if not inflater.eof or inflater.unused_data:
        raise PeerViolation("BadCompression", "payload is not exactly one whole zstd frame")
    return data
