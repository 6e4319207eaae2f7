#!/usr/bin/env python3
"""The memory that `tern inspect` plans, against what a process takes that runs a model of that shape: for every model of
models/catalog.json.

    memory_plan.py path/to/tern [FOLDER] [NAME...]

Writes files of up to 8 GB in FOLDER (default: the one for temporary files), one after another; names: only those models. A context
is filled, so that nothing planned is left untouched. Memory of the process's own is compared with what is computed at load and the
session's, mapped pages with what is used in the file: within 3 % of the weights, 40 MB for the program and 256 bytes a token of
the vocabulary for its tokenizer, which no plan counts.
Experts are in memory as far as tokens went to them: at most as planned, be it packed, or as pages of the file that the system
maps around those that packing read, and can take back. Prints a table in Markdown.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

# Names of the catalogue; shape, type of the layers, of the embedding and of the head (""; as the embedding); whether to convert
# to the kernels' own order. Models that are published as safetensors are compared as a GGUF file of the same kind of weights.
MODELS = (
    (("bitnet-2b-4t", "bitnet-2b-4t-packed", "bitnet-2b-4t-bf16"), "bitnet-2b-4t", "i2_s", "f16", "", False),
    ((), "bitnet-2b-4t", "i2_s", "q6_k", "", True),
    (("bitnet-large",), "bitnet-0.7b", "i2_s", "f16", "", False),
    (("bitnet-xl",), "bitnet-1.3b", "i2_s", "f16", "", False),
    (("bitnet-3b",), "bitnet-3b", "i2_s", "f16", "", False),
    (("llama3-8b-1.58",), "llama3-8b", "i2_s", "f16", "", False),
    (("falcon3-1b-instruct",), "falcon3-1b", "i2_s", "f16", "", False),
    (("falcon3-3b-instruct", "falcon3-3b-base"), "falcon3-3b", "i2_s", "f16", "", False),
    (("falcon3-7b-instruct", "falcon3-7b-base"), "falcon3-7b", "i2_s", "f16", "", False),
    (("falcon3-10b-instruct", "falcon3-10b-base"), "falcon3-10b", "i2_s", "f16", "", False),
    (("falcon-e-1b-instruct", "falcon-e-1b-base"), "falcon-e-1b", "i2_s", "f16", "", False),
    (("falcon-e-3b-instruct", "falcon-e-3b-base"), "falcon-e-3b", "i2_s", "f16", "", False),
    (("trilm-99m",), "trilm-99m", "tq2_0", "f16", "", False),
    (("trilm-3.9b",), "trilm-3.9b", "tq2_0", "f16", "", False),
    (("ternary-bonsai-1.7b",), "qwen3-1.7b", "q2_0/128", "q2_0/128", "", False),
    (("ternary-bonsai-4b",), "qwen3-4b", "q2_0/128", "q2_0/128", "", False),
    (("ternary-bonsai-8b",), "qwen3-8b", "q2_0/128", "q2_0/128", "", True),
    (("bonsai-1.7b",), "qwen3-1.7b", "q1_0", "q1_0", "", True),
    (("bonsai-4b",), "qwen3-4b", "q1_0", "q1_0", "", False),
    (("bonsai-8b",), "qwen3-8b", "q1_0", "q1_0", "", False),
    (("bitcpm-cann-0.5b",), "bitcpm-0.5b", "tq2_0", "f16", "", False),
    (("bitcpm-cann-1b",), "bitcpm-1b", "tq2_0", "q4_k", "q6_k", False),
    (("bitcpm-cann-3b",), "bitcpm-3b", "tq2_0", "q4_k", "q6_k", False),
    (("bitcpm-cann-8b",), "bitcpm-8b", "tq2_0", "q4_k", "q6_k", False),
    (("ternary-bonsai-27b",), "bonsai-27b", "pq2_0", "pq2_0", "", False),
    (("ternary-bonsai-2-27b",), "bonsai-2-27b", "pq2_0", "pq2_0", "", False),
    ((), "bonsai-2-27b", "ptq1_0", "ptq1_0", "", False),
    (("maple-preview", "maple-preview-mlx", "maple-preview-bf16"), "maple-20b-a1b", "tq2_0", "q4_k", "f16", False),
    ((), "maple-20b-a1b", "tq1_0", "q4_k", "", False),
    (("hy-mt1.5-1.8b",), "hy-mt-1.8b", "stq1_0", "q6_k", "", False),
    (("bitnet-embedding-0.6b",), "bitnet-embedding-0.6b", "i2_s", "f16", "", False),
    (("bitnet-embedding-270m",), "bitnet-embedding-270m", "i2_s", "f16", "", False),
)
CATALOGUE = os.path.join(os.path.dirname(__file__), "../../models/catalog.json")
CONTEXT = 256
PROMPT = "".join(chr(33 + 37 * i * i % 89) for i in range(220))  # as many tokens, so that many experts are asked
PROGRAM = 40e6
TOKEN = 256


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)


def resident(*command):
    """The most that the process has of its own and of mapped pages in its last half second: its peak would be that of loading,
    and at the very end it gives memory back."""
    samples = [(0, 0)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with open(f"/proc/{process.pid}/status") as status:
                found = dict(re.findall(r"(RssAnon|RssFile):\s+(\d+)", status.read()))
            if len(found) == 2:
                samples.append((int(found["RssAnon"]) * 1024, int(found["RssFile"]) * 1024))
            time.sleep(0.02)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
    return tuple(max(sample[i] for sample in samples[-25:]) for i in range(2))


def compare(tern, path):
    """Megabytes planned (weights, experts, session) and measured (own, mapped), and whether they agree."""
    report = json.loads(run(tern, "inspect", path, "-c", str(CONTEXT), "--json").stdout)
    memory = report["memory"]
    plan = memory["plans"][-1]
    assert plan["context"] == CONTEXT
    session = plan["kv_cache"] + plan["recurrent_state"] + plan["scratch"]
    own, mapped = resident(tern, "run", "-m", path, "-c", str(CONTEXT), "-n", "16", PROMPT)
    computed, used, experts = memory["packed_weights"], memory["mapped_weights"], memory["experts"]
    slack = 0.03 * (computed + used) + PROGRAM + TOKEN * report["architecture"]["vocabulary"]
    good = (0.97 * computed <= own <= computed + experts + session + slack
            and 0.97 * used <= mapped <= used + experts + slack)
    return [each / 1e6 for each in (computed + used, experts, session, own + mapped)], good


def uncovered():
    with open(CATALOGUE, encoding="utf-8") as file:
        return {model["name"] for model in json.load(file)["models"]} - {name for each in MODELS for name in each[0]}


def main():
    tern = sys.argv[1]
    wanted = set(sys.argv[3:])
    failed = [f"{name} of the catalogue is not compared" for name in sorted(uncovered())]
    print("| model | shape | layers, embedding, head | weights | experts, at most | session | planned | measured | difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        for names, shape, kind, embedding, head, convert in MODELS:
            if wanted and not wanted & {*names, shape}:
                continue
            path = os.path.join(folder, "model.gguf")
            run(tern, "synth", "--shape", shape, "--type", kind, "--embedding", embedding, "-o", path, "--force",
                *(["--head", head] if head else []))
            files = {kind: path}
            if convert:
                files["tern"] = os.path.join(folder, "packed.gguf")
                run(tern, "convert", path, files["tern"], "--type", "tern", "--force")
            for name, file in files.items():
                (weights, experts, session, measured), good = compare(tern, file)
                planned = weights + experts + session
                print(f"| {', '.join(names)} | {shape} | {name}, {embedding}, {head or embedding} | {weights:.0f} | {experts:.0f} | "
                      f"{session:.0f} | {planned:.0f} | {measured:.0f} | {measured - planned:+.0f} |", flush=True)
                if not good:
                    failed.append(f"{shape} {name}: not as planned")
                os.remove(file)
    for failure in failed:
        print(failure, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
