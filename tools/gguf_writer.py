"""A small GGUF v3 writer (little-endian, standard library only) that streams: memory does not grow
with the file.

Used by the converters and generators of this folder and by the maker of the golden models, because
the `gguf` package knows no I2_S. Declare keys and tensors first, then write the data of the tensors
in the same order:

    with GgufWriter("out.gguf") as out:
        out.key("general.architecture", "llama")
        out.tensor("token_embd.weight", (64, 512), F32, 4 * 64 * 512)  # fastest dimension first
        out.data(chunk) ...                                      # as many calls as one likes

Values of keys: str, bool, int (u32; wrap in U64/I32/... for another width), float (f32), and lists
of one of these.
"""

import struct
from typing import NamedTuple

ALIGNMENT = 32

# Tensor types by their id in the file.
F32, F16, Q4_0, Q8_0, Q4_K, Q6_K, BF16, TQ1_0, TQ2_0, I2_S = 0, 1, 2, 8, 12, 14, 30, 34, 35, 36

_U32, _I32, _F32, _BOOL, _STRING, _ARRAY, _U64 = 4, 5, 6, 7, 8, 9, 10


class I32(NamedTuple):
    """An integer to be written as i32 instead of u32, or a list of such."""

    value: object


class U64(NamedTuple):
    value: object


class _Tensor(NamedTuple):
    name: str
    shape: tuple
    type_id: int
    size: int


def _string(text):
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
    return struct.pack("<Q", len(raw)) + raw


def _scalar_type(value, int_type):
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, int):
        return int_type
    if isinstance(value, float):
        return _F32
    if isinstance(value, (str, bytes)):
        return _STRING
    raise TypeError(f"no GGUF type for {value!r}")


def _scalar(value, type_id):
    if type_id == _STRING:
        return _string(value)
    formats = {_U32: "<I", _I32: "<i", _F32: "<f", _BOOL: "<?", _U64: "<Q"}
    return struct.pack(formats[type_id], value)


def _value(value):
    int_type = _U32
    if isinstance(value, I32):
        int_type, value = _I32, value.value
    elif isinstance(value, U64):
        int_type, value = _U64, value.value
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("an empty array has no type")
        type_id = _scalar_type(value[0], int_type)
        head = struct.pack("<IIQ", _ARRAY, type_id, len(value))
        return head + b"".join(_scalar(v, type_id) for v in value)
    type_id = _scalar_type(value, int_type)
    return struct.pack("<I", type_id) + _scalar(value, type_id)


class GgufWriter:
    def __init__(self, path):
        self._file = open(path, "wb")
        self._keys = []
        self._tensors = []
        self._started = False
        self._index = 0  # tensor being written
        self._written = 0  # bytes of it so far

    def key(self, name, value):
        assert not self._started, "keys come before the data"
        self._keys.append(_string(name) + _value(value))

    def keys(self, pairs):
        for name, value in pairs.items():
            self.key(name, value)

    def tensor(self, name, shape, type_id, size):
        assert not self._started, "tensors are declared before the data"
        self._tensors.append(_Tensor(name, tuple(shape), type_id, size))

    def data(self, chunk):
        """The next bytes of the tensor that is due; a chunk never spans two tensors."""
        if not self._started:
            self._write_head()
        due = self._tensors[self._index]
        self._file.write(chunk)
        self._written += memoryview(chunk).nbytes
        if self._written > due.size:
            raise ValueError(f"{due.name}: {self._written} bytes written, {due.size} declared")
        if self._written == due.size:
            self._file.write(bytes(-due.size % ALIGNMENT))
            self._index, self._written = self._index + 1, 0

    def _write_head(self):
        self._started = True
        head = [struct.pack("<4sIQQ", b"GGUF", 3, len(self._tensors), len(self._keys)), *self._keys]
        offset = 0
        for t in self._tensors:
            head.append(_string(t.name) + struct.pack(f"<I{len(t.shape)}Q", len(t.shape), *t.shape))
            head.append(struct.pack("<IQ", t.type_id, offset))
            offset += t.size + -t.size % ALIGNMENT
        head = b"".join(head)
        self._file.write(head + bytes(-len(head) % ALIGNMENT))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None and not self._started:
            self._write_head()
        self._file.close()
        if kind is None and self._index != len(self._tensors):
            raise ValueError(f"no data for {self._tensors[self._index].name}")
