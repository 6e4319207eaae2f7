#!/usr/bin/env python3
"""The memory that `tern inspect` plans, against what a process takes that runs a model of a real shape.

    memory_plan.py path/to/tern [FOLDER]

Writes files of several GB in FOLDER (default: the one for temporary files), one after another. Weights must be what the plan
says within 3 % and 48 MB (program, tokenizer, scratch of threads); of the cache and the workspace, which the system hands out as
they are touched, at most what the plan says.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

# Shapes of models/catalog.json, with the types that their files have.
MODELS = (
    ("bitnet-2b-4t", "i2_s", "f16"),
    ("bitnet-2b-4t", "i2_s", "q6_k"),
    ("bitnet-0.7b", "tq1_0", "f16"),
    ("falcon3-1b", "i2_s", "f16"),
    ("falcon3-3b", "i2_s", "q6_k"),
    ("qwen3-1.7b", "tq2_0", "q8_0"),
    ("llama3-8b", "i2_s", "f16"),
)
CONTEXT = 8192  # of the plan that is compared


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)


def resident(*command):
    """The most that the process has in memory in its last half second: its peak would be that of loading, and at the very
    end it gives memory back."""
    samples = [0]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        os.set_blocking(process.stdout.fileno(), False)
        while process.poll() is None:
            process.stdout.read()
            with open(f"/proc/{process.pid}/status") as status:
                found = re.search(r"VmRSS:\s+(\d+)", status.read())
            samples += [int(found[1]) * 1024] if found else []
            time.sleep(0.02)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
    return max(samples[-25:])


def compare(tern, path):
    memory = json.loads(run(tern, "inspect", path, "--json").stdout)["memory"]
    plan = memory["plans"][-1]
    weights = memory["packed_weights"] + memory["mapped_weights"]
    measured = resident(tern, "run", "-m", path, "-c", str(min(CONTEXT, plan["context"])), "-n", "16", "a " * 64)
    low, high = 0.97 * weights - (8 << 20), 1.03 * weights + (48 << 20) + plan["kv_cache"] + plan["scratch"]
    return weights, plan["total"], measured, low <= measured <= high


def main():
    tern = sys.argv[1]
    failed = 0
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        for shape, kind, embedding in MODELS:
            path = os.path.join(folder, "model.gguf")
            packed = os.path.join(folder, "packed.gguf")
            run(tern, "synth", "--shape", shape, "--type", kind, "--embedding", embedding, "-o", path, "--force")
            run(tern, "convert", path, packed, "--type", "tern", "--force")
            for name, file in ((kind, path), ("tern", packed)):
                weights, plan, measured, good = compare(tern, file)
                failed += not good
                print(f"{shape:14} {name:6} {embedding:5} weights {weights / 1e6:7.0f} MB, plan {plan / 1e6:7.0f} MB, "
                      f"resident {measured / 1e6:7.0f} MB{'' if good else '  <- not as planned'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
