"""Linear Resize by a whole factor, and ConvTranspose, as a convolution with one kernel per phase.

Output position ``t`` of an upsampling by ``s`` lies in phase ``t mod s``; all positions of one phase see the
input through the same taps. So one ordinary convolution with ``s * s`` times the output channels computes
every phase, and DepthToSpace (mode CRD: phases fastest within a channel) interleaves them.
"""

from dataclasses import dataclass
from math import gcd

import numpy as np

from dybitq.records.geometry.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polyphase:
    """A convolution in front of a DepthToSpace.

    Attributes:
        kernels: int64 (interpolation) or uint8 codes (transposed convolution),
            ``[out * s * s, in / group, kh, kw]``; output channels outermost, then row and column phase.
        window: its geometry.
        block: s.
        divisor: what the sums have to be divided by (interpolation).
        crop: how many rows and columns to cut off: top, left, bottom, right.
    """

    kernels: np.ndarray
    window: Window
    block: int
    divisor: int = 1
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)


def interpolation_kernels(channels: int, factor: int, *, half_pixel: bool) -> Polyphase:
    """Kernels of a linear Resize; the input has to be padded by one repeated pixel on every side.

    With pixel centres aligned, phase p lies ``(2p + 1) / 2s - 1/2`` behind a pixel, otherwise ``p / s``.
    """
    unit = 2 * factor if half_pixel else factor
    taps = np.zeros((factor, 3), np.int64)
    for phase in range(factor):
        place = 2 * phase + 1 - factor if half_pixel else phase  # in units of 1 / unit, behind the pixel
        taps[phase, 1] = unit - abs(place)
        taps[phase, 2 if place > 0 else 0] = abs(place)
    common = gcd(unit, *(int(t) for t in taps.reshape(-1)))
    taps, unit = taps // common, unit // common
    kernel = np.einsum("ia,jb->ijab", taps, taps).reshape(factor * factor, 1, 3, 3)
    window = Window(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), group=channels)
    return Polyphase(
        kernels=np.tile(kernel, (channels, 1, 1, 1)), window=window, block=factor, divisor=unit * unit
    )


def transposed_kernels(
    codes: np.ndarray, zero_code: int, window: Window, output_padding: tuple[int, ...]
) -> Polyphase:
    """Kernels of a ConvTranspose of pictures with one stride and no dilation.

    Args:
        codes: uint8 ``[in, out/group, kh, kw]``.
        zero_code: the code of weight 0, for taps that a phase does not have.
        window: geometry of the ConvTranspose.
        output_padding: rows and columns added at the end of the output.
    """
    stride, group = window.strides[0], window.group
    inputs, out = codes.shape[0], codes.shape[1]
    taps = tuple(-(-k // stride) for k in window.kernel)
    full = np.full((inputs, out, taps[0] * stride, taps[1] * stride), zero_code, np.uint8)
    full[:, :, : codes.shape[2], : codes.shape[3]] = codes
    # tap j = phase + stride * m of input i reaches output stride * (i + m) + phase: m runs backwards in x
    phases = full.reshape(inputs, out, taps[0], stride, taps[1], stride)[:, :, ::-1, :, ::-1, :]
    grouped = phases.reshape(group, inputs // group, out, taps[0], stride, taps[1], stride)
    kernels = grouped.transpose(0, 2, 4, 6, 1, 3, 5).reshape(-1, inputs // group, *taps)
    ends = [
        stride * t - k + window.pads[2 + a] - extra
        for a, (t, k, extra) in enumerate(zip(taps, window.kernel, output_padding, strict=True))
    ]
    more = [max(0, stride - 1 - end) // stride for end in ends]  # rows that only the bias reaches
    pads = (taps[0] - 1, taps[1] - 1, taps[0] - 1 + more[0], taps[1] - 1 + more[1])
    crop = (window.pads[0], window.pads[1], ends[0] + stride * more[0], ends[1] + stride * more[1])
    shape = Window(kernel=taps, strides=(1, 1), dilations=(1, 1), pads=pads, group=group)
    return Polyphase(kernels=kernels, window=shape, block=stride, crop=crop)
