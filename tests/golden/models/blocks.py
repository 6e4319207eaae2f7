"""Weights as a GGUF file stores them: store(weights, type) gives the bytes and the values that they
stand for.

The `gguf` package encodes and decodes; what it cannot encode is encoded here (Q4_K, Q6_K: it
decodes them, so the values are its own) or is missing there altogether (I2_S, from the description
of the layout: 128 codes in 32 bytes).
"""

import sys
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))
import gguf_writer as w  # noqa: E402

GGUF_TYPE = {
    t: gguf.GGMLQuantizationType(t)
    for t in (w.F32, w.F16, w.BF16, w.Q4_0, w.Q8_0, w.Q4_K, w.Q6_K, w.TQ1_0, w.TQ2_0)
}
TERNARY = (w.I2_S, w.TQ1_0, w.TQ2_0)


def store(values, type_id):
    """values: float32 [rows, cols] or [n] -> (bytes, float32 values of the same shape as they will
    be read)."""
    values = np.ascontiguousarray(values, np.float32)
    kind = GGUF_TYPE[type_id]
    if type_id == w.Q4_K:
        raw = pack_q4_k(values.reshape(-1, 256))
    elif type_id == w.Q6_K:
        raw = pack_q6_k(values.reshape(-1, 256))
    else:
        raw = gguf.quants.quantize(values, kind)
    raw = np.ascontiguousarray(raw)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    shape = (*values.shape[:-1], values.shape[-1] // block * size)
    read = gguf.quants.dequantize(raw.view(np.uint8).reshape(shape), kind).reshape(values.shape)
    return raw.tobytes(), np.ascontiguousarray(read, np.float32)


def store_ternary(trits, scales, type_id):
    """trits: int8 [rows, cols] of -1, 0, 1; scales: float32, one number, or [rows, cols / 256] for
    TQ1_0 and TQ2_0."""
    if type_id == w.I2_S:
        return pack_i2_s(trits, float(scales))
    values = trits * np.repeat(np.broadcast_to(scales, (len(trits), trits.shape[1] // 256)), 256, 1)
    raw, read = store(values, type_id)
    assert np.array_equal(read, values.astype(np.float32)), (
        "scales must be halves; every block needs a non-zero"
    )
    return raw


def pack_i2_s(trits, scale):
    """128 elements in 32 bytes: byte p holds p, p+32, p+64, p+96 from the high bits down; codes 0,
    1, 2 = -1, 0, 1. Behind all rows the scale (float32) and 28 unused bytes."""
    codes = (trits.reshape(-1, 4, 32) + 1).astype(np.uint8)
    raw = codes[:, 0] << 6 | codes[:, 1] << 4 | codes[:, 2] << 2 | codes[:, 3]
    return raw.tobytes() + np.float32(scale).tobytes() + bytes(28)


def pack_q4_k(x):
    """Super-blocks of 8 x 32 with 6-bit scales and minimums: w = d * sc * q - dmin * m."""
    sub = x.reshape(-1, 8, 32)
    low = np.maximum(-sub.min(-1), 0)
    step = (sub.max(-1) + low) / 15
    d = (step.max(-1, keepdims=True) / 63).astype(np.float16)
    dmin = (low.max(-1, keepdims=True) / 63).astype(np.float16)
    sc = np.clip(np.round(step / d.astype(np.float32)), 0, 63).astype(np.uint8)
    m = np.clip(np.round(low / dmin.astype(np.float32)), 0, 63).astype(np.uint8)
    unit = np.maximum(d.astype(np.float32) * sc, 1e-12)[..., None]
    q = np.clip(np.round((sub + (dmin.astype(np.float32) * m)[..., None]) / unit), 0, 15).astype(
        np.uint8
    )
    scales = np.concatenate(
        [
            sc[:, :4] | sc[:, 4:] >> 4 << 6,
            m[:, :4] | m[:, 4:] >> 4 << 6,
            sc[:, 4:] & 15 | (m[:, 4:] & 15) << 4,
        ],
        -1,
    )
    q = q.reshape(-1, 4, 2, 32)
    qs = (q[:, :, 0] | q[:, :, 1] << 4).reshape(-1, 128)
    return np.concatenate([d.view(np.uint8), dmin.view(np.uint8), scales, qs], -1)


def pack_q6_k(x):
    """Super-blocks of 16 x 16 with signed 8-bit scales: w = d * sc * (q - 32)."""
    sub = x.reshape(-1, 16, 16)
    largest = np.take_along_axis(sub, np.abs(sub).argmax(-1)[..., None], -1)[..., 0]
    step = -largest / 32  # the largest takes code 0 = -32, so scales come in both signs
    d = (np.abs(step).max(-1, keepdims=True) / 127).astype(np.float16)
    sc = np.clip(np.round(step / d.astype(np.float32)), -128, 127).astype(np.int8)
    unit = d.astype(np.float32) * sc
    unit = np.where(unit == 0, 1e-12, unit)[..., None]
    q = (np.clip(np.round(sub / unit), -32, 31) + 32).astype(np.uint8)
    q = q.reshape(-1, 2, 4, 32)  # half, quarter, position
    ql = np.concatenate(
        [q[:, :, 0] & 15 | (q[:, :, 2] & 15) << 4, q[:, :, 1] & 15 | (q[:, :, 3] & 15) << 4], -1
    ).reshape(-1, 128)
    qh = (
        q[:, :, 0] >> 4 | q[:, :, 1] >> 4 << 2 | q[:, :, 2] >> 4 << 4 | q[:, :, 3] >> 4 << 6
    ).reshape(-1, 64)
    return np.concatenate([ql, qh, sc.view(np.uint8), d.view(np.uint8)], -1)
