#!/usr/bin/env python3
"""Checks that every file includes only what its layer may see.

usage: tools/check_layers.py [ROOT]       prints each offending line; exit code 1 if there is one
       tools/check_layers.py --self-test  proves on planted violations that the check can fail
"""

import re
import sys
import tempfile
from pathlib import Path

# A file belongs to the layer with the longest matching folder, and may include its own layer and those named here.
# The engine is a chain (base <- io <- model <- run <- arch <- session) with api beside base.
ENGINE = ["engine/base", "engine/io", "engine/model", "engine/run", "engine/arch", "engine/session"]
USES_KERNELS = {"engine/model", "engine/run", "engine/arch", "engine/session"}
ANYTHING = ["engine", "kernels", "remote", "tools", "tests", "benchmarks"]

MAY_INCLUDE = {
    "kernels": [],
    "engine/api": ["engine/base"],
    **{
        layer: ENGINE[:i] + (["kernels"] if layer in USES_KERNELS else [])
        for i, layer in enumerate(ENGINE)
    },
    "remote": ["engine/base", "engine/api"],
    "tools": ANYTHING,
    "tools/serve": ["engine/base", "engine/api"],
    "benchmarks": ANYTHING,
    "tests": ANYTHING,
}
# The vocabulary of callers (messages, sampling parameters) is also that of chat templates, the sampler and the session.
for _layer in ["engine/model", "engine/run", "engine/arch", "engine/session"]:
    MAY_INCLUDE[_layer].append("engine/api")

# Headers of other projects that have one place.
ONLY_IN = {
    "curl/": ["remote/curl_transport.cpp"],
    "openssl/": ["remote"],
    "sqlite3.h": ["remote/ledger.cpp", "tests/remote/ledger_test.cpp"],  # the test makes older ledgers
    "omp.h": ["engine/base"],
    "xsimd/": ["kernels"],
    "immintrin.h": ["kernels"],
    "arm_neon.h": ["kernels"],
    "Eigen/": ["tests", "benchmarks", "tools"],
    "gtest/": ["tests"],
    "benchmark/": ["benchmarks"],
}

SUFFIXES = {".h", ".cpp", ".inl"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def under(path, folder):
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def layer_of(path):
    """The layer of a path relative to the root; None if it is in none."""
    layers = [layer for layer in MAY_INCLUDE if under(path, layer)]
    return max(layers, key=len, default=None)


def check_file(root, path):
    """Yields (line number, complaint) for one file; `path` is relative to the root."""
    layer = layer_of(path)
    text = (root / path).read_text(encoding="utf-8")
    if path.endswith(".h") and not re.search(r"^#pragma once$", text, re.MULTILINE):
        yield 1, "header without #pragma once"
    if layer is None:
        yield 1, "in no layer that tools/check_layers.py knows"
        return
    allowed = [layer, *MAY_INCLUDE[layer]]
    for number, line in enumerate(text.splitlines(), start=1):
        match = INCLUDE.match(line)
        if match:
            complaint = check_include(root, path, layer, allowed, *match.groups())
            if complaint:
                yield number, complaint


def check_include(root, path, layer, allowed, quote, name):
    """What is wrong with `path`, a file of `layer`, including `name`; None if nothing is."""
    for prefix, homes in ONLY_IN.items():
        if name.startswith(prefix) and not any(under(path, home) for home in homes):
            return f"<{name}> belongs in {' or '.join(homes)} only"
    if quote == "<":
        return None
    if not (root / name).is_file() and not (root / f"{name}.in").is_file():
        return f'"{name}" is not a path from the root of the repository'
    if not any(under(name, folder) for folder in allowed):
        return f"{layer} may not include {name}"
    return None


def check_tree(root):
    """All complaints about the tree, as printable lines."""
    complaints = []
    count = 0
    for folder in sorted({layer.split("/")[0] for layer in MAY_INCLUDE}):
        for file in sorted((root / folder).rglob("*")):
            if file.suffix in SUFFIXES:
                path = file.relative_to(root).as_posix()
                count += 1
                complaints += [f"{path}:{line}: {what}" for line, what in check_file(root, path)]
    return count, complaints


def self_test():
    """Plants violations and clean files, and demands that exactly the violations are found."""
    header = "#pragma once\n"
    files = {  # path: (content, whether it must be complained about)
        "kernels/kernels.h": (header, False),
        "kernels/bad.cpp": ('#include "engine/base/result.h"\n', True),
        "kernels/portable.cpp": ('#include "kernels/kernels.h"\n#include <cstdint>\n', False),
        "engine/api/message.h": (header + '#include "engine/base/result.h"\n', False),
        "engine/base/result.h": (header, False),
        "engine/base/upward.cpp": ('#include "engine/io/file.h"\n', True),
        "engine/base/api.cpp": ('#include "engine/api/message.h"\n', True),
        "engine/io/file.h": (header + '#include "engine/base/result.h"\n', False),
        "engine/io/uses_kernels.cpp": ('#include "kernels/kernels.h"\n', True),
        "engine/run/decoder.cpp": ('#include "engine/io/file.h"\n#include "kernels/kernels.h"\n', False),
        "engine/run/upward.cpp": ('#  include "engine/session/session.h"\n', True),
        "engine/run/web.cpp": ("#include <curl/curl.h>\n", True),
        "engine/session/session.h": (header + '#include "engine/api/message.h"\n', False),
        "engine/session/no_pragma.h": ("int x;\n", True),
        "engine/session/relative.cpp": ('#include "session.h"\n', True),
        "remote/transport.h": (header + '#include "engine/api/message.h"\n', False),
        "remote/internals.cpp": ('#include "engine/io/file.h"\n', True),
        "remote/kernels.cpp": ('#include "kernels/kernels.h"\n', True),
        "remote/curl_transport.cpp": ("#include <curl/curl.h>\n", False),
        "remote/router.cpp": ("#include <curl/curl.h>\n", True),
        "tools/run.cpp": ('#include "engine/session/session.h"\n#include "remote/transport.h"\n', False),
        "tools/serve/serve.cpp": ('#include "engine/session/session.h"\n', True),
        "tests/all.cpp": ('#include "kernels/kernels.h"\n#include <Eigen/Core>\n', False),
        "engine/stray.cpp": ("\n", True),
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, (content, _) in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content, encoding="utf-8")
        _, complaints = check_tree(root)
    found = {complaint.split(":")[0] for complaint in complaints}
    planted = {path for path, (_, bad) in files.items() if bad}
    if found != planted:
        sys.exit(f"self-test failed: missed {planted - found}, wrongly found {found - planted}")
    print(f"check_layers: all {len(planted)} planted violations found, nothing else")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    count, complaints = check_tree(root)
    print("\n".join(complaints) or f"check_layers: {count} files, every include goes downward")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
