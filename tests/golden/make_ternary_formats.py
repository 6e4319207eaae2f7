#!/usr/bin/env python3
"""Makes the tests/golden/formats/*.bin of ternary formats that the gguf package does not know.

Each encoder places one weight at a time, following the published description of the format's layout (the docstrings say
which), so that it shares nothing with the block-wise decoders it is the test of. File format: see make_formats.py.
"""

import pathlib
import struct

import numpy as np

ROWS, COLS = 4, 512
HERE = pathlib.Path(__file__).resolve().parent / "formats"


def half(value):
    return np.float16(value).tobytes()


def fraction(digits):
    """A byte of base-3 digits, most significant first, as ceil(256 v / 3^5); fewer than five are filled with zeros."""
    v = 0
    for digit in list(digits) + [0] * (5 - len(digits)):
        v = 3 * v + int(digit)
    return -(-v * 256 // 243)


def q1_0(trits, scale):
    """llama.cpp Q1_0: fp16 d, then bit j % 8 of byte j / 8, 1 for +d."""
    out = bytearray(16)
    for j, t in enumerate(trits):
        out[j // 8] |= (t > 0) << (j % 8)
    return half(scale) + bytes(out)


def q2_0(trits, scale):
    """llama.cpp Q2_0 (groups of 64), PrismML's PQ2_0 and old Q2_0 (128): fp16 d, bits 2 (j % 4) of byte j / 4."""
    out = bytearray(len(trits) // 4)
    for j, t in enumerate(trits):
        out[j // 4] |= (int(t) + 1) << (2 * (j % 4))
    return half(scale) + bytes(out)


def ptq1_0(trits, scale):
    """PrismML's PTQ1_0: 16 bytes of 5 digits, 8 of 5, 2 of 4, fp16 d; digit n of byte m is element width * n + m."""
    out = bytearray()
    for base, width, count in [(0, 16, 5), (80, 8, 5), (120, 2, 4)]:
        for m in range(width):
            out.append(fraction([trits[base + width * n + m] + 1 for n in range(count)]))
    return bytes(out) + half(scale)


def stq1_0(trits, scale):
    """AngelSlim STQ1_0: 64 groups of 4 lanes 16 apart, one lane zero; slot nibble, sign bit, fp16 d."""
    slots, signs = bytearray(32), bytearray(8)
    for g in range(64):
        lanes = [int(trits[64 * (g // 16) + g % 16 + 16 * p]) for p in range(4)]
        zero = lanes.index(0)
        n = [lane for lane in lanes if lane != 0]
        assert len(n) == 3
        slot = zero << 2 | (n[1] != n[0]) | (n[2] != n[0]) << 1
        slots[g // 2] |= slot << (4 * (g % 2))
        signs[g // 8] |= (n[0] < 0) << (g % 8)
    return bytes(slots + signs) + half(scale)


def iq1_bn_row(trits, scale):
    """ik_llama.cpp IQ1_BN: fp16 row scale; per 64 weights 12 bytes of 5 trits and one of 4, the first trit least significant."""
    out = bytearray(half(scale))
    for block in np.asarray(trits).reshape(-1, 64):
        for i in range(4):
            for k in range(3):
                five = block[16 * i + 5 * k : 16 * i + 5 * k + 5]
                out.append(fraction([t + 1 for t in reversed(five)]))
        # Trit i of the last byte counts 3^i: the most significant of five is unused.
        out.append(fraction([0] + [block[16 * i + 15] + 1 for i in reversed(range(4))]))
    return bytes(out)


def iq2_bn_row(trits, scale):
    """ik_llama.cpp IQ2_BN: F32 row scale; per 64 weights byte j holds j, j + 16, j + 32, j + 48 from the low bits up."""
    out = bytearray(struct.pack("<f", scale))
    for block in np.asarray(trits).reshape(-1, 64):
        for j in range(16):
            out.append(sum((int(block[j + 16 * f]) + 1) << (2 * f) for f in range(4)))
    return bytes(out)


def iq2_bn_r4(trits, scales):
    """ik_llama.cpp IQ2_BN_R4: per four rows 4 F32 scales, then per 64 columns byte 4k + i + 16l of row k."""
    out = bytearray()
    for first in range(0, ROWS, 4):
        out += struct.pack("<4f", *scales[first : first + 4])
        for block in range(COLS // 64):
            codes = bytearray(64)
            for k in range(4):
                row = trits[first + k, 64 * block : 64 * block + 64]
                for element in range(64):
                    l, rest = divmod(element, 16)
                    field, i = divmod(rest, 4)
                    codes[4 * k + i + 16 * l] |= (int(row[element]) + 1) << (2 * field)
            out += codes
    return bytes(out)


def write(name, ggml_type, data, values):
    header = struct.pack("<4I", ggml_type, ROWS, COLS, len(data))
    (HERE / f"{name}.bin").write_bytes(header + data + values.astype(np.float32).tobytes())


def by_blocks(name, ggml_type, width, encode, trits, rng):
    scales = rng.uniform(0.01, 2, (ROWS, COLS // width)).astype(np.float16).astype(np.float32)
    data = b"".join(
        encode(trits[r, b * width : (b + 1) * width], scales[r, b])
        for r in range(ROWS)
        for b in range(COLS // width)
    )
    write(name, ggml_type, data, trits * np.repeat(scales, width, axis=1))


def main():
    rng = np.random.default_rng(20261124)
    trits = rng.integers(-1, 2, (ROWS, COLS))
    signs = rng.integers(0, 2, (ROWS, COLS)) * 2 - 1
    by_blocks("q1_0", 41, 128, q1_0, signs, rng)
    by_blocks("q2_0", 42, 64, q2_0, trits, rng)
    by_blocks("q2_0-128", 42, 128, q2_0, trits, rng)
    by_blocks("pq2_0", 142, 128, q2_0, trits, rng)
    by_blocks("ptq1_0", 143, 128, ptq1_0, trits, rng)
    three_of_four = signs.copy()
    for r in range(ROWS):
        for g in range(COLS // 4):
            column = 64 * (g // 16) + g % 16 + 16 * int(rng.integers(0, 4))
            three_of_four[r, column] = 0
    by_blocks("stq1_0", 43, 256, stq1_0, three_of_four, rng)
    scales = rng.uniform(0.01, 2, ROWS).astype(np.float16).astype(np.float32)
    values = trits * scales[:, None]
    write("iq1_bn", 134, b"".join(iq1_bn_row(trits[r], scales[r]) for r in range(ROWS)), values)
    write("iq2_bn", 135, b"".join(iq2_bn_row(trits[r], scales[r]) for r in range(ROWS)), values)
    write("iq2_bn_r4", 335, iq2_bn_r4(trits, scales), values)


if __name__ == "__main__":
    main()
