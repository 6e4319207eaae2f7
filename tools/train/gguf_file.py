"""Encoders and a reader of GGUF v3 files, for the types the default model uses. Needs numpy only.

The writer is tools/gguf_writer.py. Tensor types: F32, Q8_0, TQ2_0 and I2_S. Shapes here are
numpy's, (rows, columns); the file lists them the other way round.
"""

import pathlib
import struct
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from gguf_writer import ALIGNMENT, F32, I2_S, Q8_0, TQ2_0  # noqa: E402

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def encode_f32(values):
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def encode_q8_0(values):
    """Blocks of 32: a float16 step, then 32 int8."""
    blocks = np.asarray(values, dtype=np.float32).reshape(-1, 32)
    step = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype("<f2")
    inverse = np.divide(1, step, where=step != 0, out=np.zeros_like(step), dtype=np.float32)
    levels = np.clip(np.rint(blocks * inverse), -127, 127).astype(np.int8)
    return np.concatenate([step.view(np.uint8), levels.view(np.uint8)], axis=1).tobytes()


def encode_i2_s(trits, scale):
    """128 trits in 32 bytes, the first 32 in the bytes' top bit pairs; then the float32 scale."""
    codes = (trits.astype(np.int8) + 1).astype(np.uint8).reshape(-1, 4, 32)
    packed = codes[:, 0] << 6 | codes[:, 1] << 4 | codes[:, 2] << 2 | codes[:, 3]
    return packed.tobytes() + struct.pack("<f", scale) + bytes(28)


def encode_tq2_0(trits, scale):
    """256 trits in 64 bytes, each half's first 32 in the low bit pairs; a float16 scale a block."""
    codes = (trits.astype(np.int8) + 1).astype(np.uint8).reshape(-1, 2, 4, 32)
    packed = codes[:, :, 0] | codes[:, :, 1] << 2 | codes[:, :, 2] << 4 | codes[:, :, 3] << 6
    packed = packed.reshape(-1, 64)
    scales = np.full((len(packed), 1), scale, dtype="<f2")
    return np.concatenate([packed, scales.view(np.uint8)], axis=1).tobytes()


def decode(kind, raw, shape):
    """What the file says: float32 values, or (int8 trits, scale) for the ternary types."""
    count = int(np.prod(shape))
    raw = np.frombuffer(raw, dtype=np.uint8)
    if kind == F32:
        return raw[: 4 * count].view("<f4").reshape(shape)
    if kind == Q8_0:
        blocks = raw[: count // 32 * 34].reshape(-1, 34)
        step = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
        return (np.ascontiguousarray(blocks[:, 2:]).view(np.int8) * step).reshape(shape)
    if kind == I2_S:
        packed = raw[: count // 4].reshape(-1, 1, 32)
        codes = packed >> np.array([[6], [4], [2], [0]], dtype=np.uint8) & 3
        scale = raw[count // 4 : count // 4 + 4].view("<f4")[0]
    elif kind == TQ2_0:
        blocks = raw[: count // 256 * 66].reshape(-1, 66)
        packed = blocks[:, :64].reshape(-1, 2, 1, 32)
        codes = packed >> np.array([[0], [2], [4], [6]], dtype=np.uint8) & 3
        scale = np.float32(np.ascontiguousarray(blocks[0, 64:]).view("<f2")[0])
    else:
        raise ValueError(f"tensor type {kind} is not one that this reader knows")
    return codes.astype(np.int8).reshape(shape) - np.int8(1), scale


def tensor_bytes(kind, shape):
    count = int(np.prod(shape))
    return {F32: 4 * count, Q8_0: count // 32 * 34, TQ2_0: count // 256 * 66,
            I2_S: count // 4 + 32}[kind]


class _Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value[0]

    def value(self, kind):
        if kind == STRING:
            length = self.take("Q")
            self.at += length
            return bytes(self.data[self.at - length : self.at]).decode("utf-8")
        if kind == ARRAY:
            element, count = self.take("I"), self.take("Q")
            return [self.value(element) for _ in range(count)]
        return self.take({UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "?"}[kind])


def read(path):
    """(metadata as a dict, tensors as a dict of decode()'s results) of a file of export_gguf.py."""
    with open(path, "rb") as file:
        data = file.read()
    cursor = _Cursor(data)
    if cursor.take("4s") != b"GGUF" or cursor.take("I") != 3:
        raise ValueError(f"{path} is no GGUF v3 file")
    tensor_count, key_count = cursor.take("Q"), cursor.take("Q")
    metadata = {}
    for _ in range(key_count):
        key = cursor.value(STRING)
        metadata[key] = cursor.value(cursor.take("I"))
    infos = []
    for _ in range(tensor_count):
        name = cursor.value(STRING)
        shape = tuple(cursor.take("Q") for _ in range(cursor.take("I")))[::-1]
        infos.append((name, shape, cursor.take("I"), cursor.take("Q")))
    base = -(-cursor.at // ALIGNMENT) * ALIGNMENT
    tensors = {}
    for name, shape, kind, offset in infos:
        start = base + offset
        tensors[name] = decode(kind, data[start : start + tensor_bytes(kind, shape)], shape)
    return metadata, tensors
