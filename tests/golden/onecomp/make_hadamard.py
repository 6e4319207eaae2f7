"""Writes hadamard.bin: fixed vectors transformed by OneCompression, for every size of matrix that it has.

pip install onecomp==1.4.0 (pre_process/hadamard_utils.py is all that is used; it needs torch, here 2.5.1)
"""

import importlib.util
import pathlib
import struct
import sys

import torch

ORDERS = [1, 12, 20, 28, 36, 40, 44, 52, 60, 68, 76, 100, 108, 140, 156, 172]


def main():
    # Not through the package, which would import a whole evaluation framework.
    source = next(pathlib.Path(p, "onecomp") for p in sys.path if pathlib.Path(p, "onecomp").is_dir())
    spec = importlib.util.spec_from_file_location("had", source / "pre_process/hadamard_utils.py")
    had = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(had)
    with open(pathlib.Path(__file__).parent / "hadamard.bin", "wb") as out:
        for order in ORDERS:
            size = order * {1: 64, 12: 8, 20: 1}.get(order, 2)  # 40 has a matrix of its own
            # hadamard_test.cpp makes the same numbers.
            x = torch.tensor([(i * 7919 + 13) % 1009 / 1009 - 0.5 for i in range(size)], dtype=torch.float64)
            matrix, k = had.get_hadK(size)
            assert k == order
            y = had.matmul_hadU_cuda(x, None if matrix is None else matrix.double(), k)
            out.write(struct.pack("<i", size))
            out.write(y.float().numpy().tobytes())


main()
