#!/usr/bin/env python3
"""Are the golden bytes of tests/golden/formats those that the programs which define the formats write for the same weights?

    benchmarks/peers/formats.py [--tern build/release/tools/tern]

Calls the quantizers in the libraries of the engines' packages (engines.py; from the network the first time). No package has a quantizer
of I2_S: there, ik_llama.cpp's program turns a file of ours into IQ2_BN, from which Tern must compute the same bits. Exit code 1 if
anything differs.
"""

import argparse
import ctypes
import glob
import os
import struct
import sys

from engines import ROOT, IkLlamaCpp, LlamaCpp, run, synthesize

FORMATS = {
    LlamaCpp: ("q1_0", "q2_0", "tq1_0", "tq2_0"),
    IkLlamaCpp: ("iq1_bn", "iq2_bn", "iq2_bn_r4"),
}
LIBRARIES = {
    LlamaCpp: "node_modules/@node-llama-cpp/linux-*64/bins/*/libggml-base.so",
    IkLlamaCpp: "ik/lib/python*/site-packages/ik_llama_cpp_python.libs/libggml-*.so*",
}


def bytes_of(library, name, values, rows, columns, size):
    quantize = getattr(library, "quantize_" + name)
    quantize.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    quantize.restype = ctypes.c_size_t
    room = ctypes.create_string_buffer(2 * size)
    written = quantize(values, room, rows, columns, None)
    return room.raw[:written]


def load(peer):
    # Libraries that it needs lie beside it.
    for path in sorted(glob.glob(os.path.join(peer.folder, os.path.dirname(LIBRARIES[type(peer)]), "libgomp*"))):
        ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(glob.glob(os.path.join(peer.folder, LIBRARIES[type(peer)]))[0])


def reads_i2_s(tern, peer):
    ours, theirs, logits = (os.path.join(peer.folder, name) for name in ("i2_s.gguf", "iq2_bn.gguf", "formats.f32"))
    synthesize(tern, "bitnet-2b-4t", 1, "i2_s", ours)
    (program,) = glob.glob(os.path.join(peer.folder, "ik/lib/python*/site-packages/bin/llama-quantize"))
    os.chmod(program, 0o755)
    libraries = os.path.join(os.path.dirname(os.path.dirname(program)), "lib64")
    run([program, "--allow-requantize", "--token-embedding-type", "q6_K", "--output-tensor-type", "q6_K", ours, theirs, "IQ2_BN"],
        env=os.environ | {"LD_LIBRARY_PATH": libraries})
    seen = []
    for file in (ours, theirs):
        run([tern, "logits", "-m", file, "--tokens", "1,2,3", "-o", logits, "--force"])
        with open(logits, "rb") as computed:
            seen.append(computed.read())
    return seen[0] == seen[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "peers"))
    parser.add_argument("--tern", default=os.path.join(ROOT, "build", "release", "tools", "tern"))
    options = parser.parse_args()
    failed = False
    for kind, names in FORMATS.items():
        peer = kind(options.folder)
        library = load(peer)
        for name in names:
            with open(os.path.join(ROOT, "tests", "golden", "formats", name + ".bin"), "rb") as file:
                golden = file.read()
            _, rows, columns, size = struct.unpack_from("<4I", golden)
            same = bytes_of(library, name, golden[16 + size :], rows, columns, size) == golden[16 : 16 + size]
            failed |= not same
            print(f"{name}: {size} bytes {'equal' if same else 'NOT EQUAL'} to those of {peer.version}")
    same = reads_i2_s(os.path.abspath(options.tern), peer)
    failed |= not same
    print(f"i2_s: {peer.version} reads {'the same' if same else 'OTHER'} weights")
    sys.exit(failed)


if __name__ == "__main__":
    main()
