#!/usr/bin/env python3
"""Makes tests/golden/formats/*.bin: bytes of each weight format, and what they stand for.

The values come from the numpy implementation in the `gguf` package (pip install gguf), which is independent of this
project. Run it from anywhere; the same bytes come out every time.

A file, little-endian: uint32 type id, rows, cols, size; `size` bytes of tensor data; rows * cols float32 values, row-major.
tests/support/golden_format.h reads it.
"""

import pathlib
import struct

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type, quants

ROWS, COLS = 3, 512
HERE = pathlib.Path(__file__).resolve().parent / "formats"


def write(name, ggml_type, data, values):
    assert values.shape == (ROWS, COLS) and values.dtype == np.float32
    data = np.ascontiguousarray(data).tobytes()
    header = struct.pack("<4I", ggml_type, ROWS, COLS, len(data))
    (HERE / f"{name}.bin").write_bytes(header + data + values.tobytes())


def random_blocks(rng, ggml_type, half_offsets):
    """Blocks of random bytes, every code and sub-scale among them, with sane fp16 values at the given offsets."""
    weights, size = GGML_QUANT_SIZES[ggml_type]
    blocks = rng.integers(0, 256, (ROWS, COLS // weights, size), dtype=np.uint8)
    for offset in half_offsets:
        scales = rng.normal(0, 0.01, blocks.shape[:2]).astype(np.float16)
        blocks[..., offset : offset + 2] = scales[..., None].view(np.uint8)
    return blocks.reshape(ROWS, -1)


def random_golden(rng, ggml_type, half_offsets):
    data = random_blocks(rng, ggml_type, half_offsets)
    if ggml_type == Type.MXFP4:  # an exponent a block: all of them, but for those whose weights overflow a float
        data = data.reshape(-1, 17)
        data[:, 0] = np.linspace(0, 252, len(data)).astype(np.uint8)
        data = data.reshape(ROWS, -1)
    values = quants.dequantize(data, ggml_type).astype(np.float32)
    write(ggml_type.name.lower(), ggml_type, data, values)


def encode_goldens(rng, types):
    """encode_<type>.bin: what the numpy encoders make of ordinary weights, with the corners of each type among them."""
    values = rng.normal(0, 0.02, (ROWS, COLS)).astype(np.float32)
    values[1, :256] = 0  # blocks of zeros
    values[1, 256:288] = np.linspace(-1, 1, 32)  # ties of the ternary types
    values[2, :6] = [0.5, -0.5, 3e-6, -1e-7, 2.0**-25, 65519.0]
    for ggml_type in types:
        data = quants.quantize(values, ggml_type).view(np.uint8)
        write(f"encode_{ggml_type.name.lower()}", ggml_type, data, values)


def main():
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(20261123)
    for ggml_type, half_offsets in [
        (Type.Q8_0, [0]),
        (Type.Q4_0, [0]),
        (Type.Q4_K, [0, 2]),
        (Type.Q6_K, [208]),
    ]:
        random_golden(rng, ggml_type, half_offsets)

    encode_goldens(np.random.default_rng(20261124), [Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.TQ1_0, Type.TQ2_0])
    rng_2 = np.random.default_rng(20261125)
    for ggml_type, half_offsets in [
        (Type.Q4_1, [0, 2]),
        (Type.Q5_0, [0]),
        (Type.Q5_1, [0, 2]),
        (Type.Q2_K, [80, 82]),
        (Type.Q3_K, [108]),
        (Type.Q5_K, [0, 2]),
        (Type.IQ4_NL, [0]),
        (Type.MXFP4, []),
    ]:
        random_golden(rng_2, ggml_type, half_offsets)
    encode_goldens(np.random.default_rng(20261126), [Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.MXFP4])

    values = rng.normal(0, 0.02, (ROWS, COLS)).astype(np.float32)
    # Zeros, subnormal halves, the largest half.
    values[0, :6] = [0.0, -0.0, 2.0**-24, -(2.0**-15), 65504.0, -65504.0]
    write("f32", Type.F32, values, values)
    half = values.astype(np.float16)
    write("f16", Type.F16, half, half.astype(np.float32))
    data = quants.quantize(values, Type.BF16)
    write("bf16", Type.BF16, data, quants.dequantize(data, Type.BF16).astype(np.float32))

    trits = rng.integers(-1, 2, (ROWS, COLS // 256, 256)).astype(np.float32)
    trits[..., 0] = 1  # a block's scale is its largest magnitude
    trits[1, 0] = 0  # a block of zeros has scale 0
    scales = rng.uniform(0.5, 2, (ROWS, COLS // 256, 1)).astype(np.float16).astype(np.float32)
    values = (trits * scales).reshape(ROWS, COLS)
    for ggml_type in [Type.TQ1_0, Type.TQ2_0]:
        data = quants.quantize(values, ggml_type)
        back = quants.dequantize(data, ggml_type).astype(np.float32)
        assert np.array_equal(back, values)
        write(ggml_type.name.lower(), ggml_type, data, back)


if __name__ == "__main__":
    main()
