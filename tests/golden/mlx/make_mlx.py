#!/usr/bin/env python3
"""Writes a golden model once more as a folder in the layout of mlx-lm: tests/golden/mlx/llama/.

    python3 -m venv v && v/bin/pip install "mlx[cpu]==0.32.4" gguf==0.19.0 numpy==2.2.6
    v/bin/python make_mlx.py

The weights are those of llama-tq2_0-groups, so that transformers' logits there are the truth here too. mx.quantize rounds ternary
weights (a range of -d to d in three steps), so the ternary codes and the embedding's are packed here, and MLX's own dequantize must
give the golden values back, every one. The head is mx.quantize's, and head.f32 is what MLX makes of its first rows.
"""

import json
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "hf")]
import make_hf  # noqa: E402

GROUP = 64
HEAD_ROWS = 4


def pack(codes, bits):
    each = 32 // bits
    words = codes.astype(np.uint32).reshape(codes.shape[0], -1, each) << (np.arange(each, dtype=np.uint32) * bits)
    return np.bitwise_or.reduce(words, axis=2)


def parts(weight, scales, biases):
    return {"weight": weight, "scales": scales, "biases": biases}


def ternary(values, group, dtype):
    """Codes 0, 1, 2; a group's scale is its largest magnitude."""
    rows = values.shape[0]
    grouped = values.reshape(rows, -1, group)
    scales = np.abs(grouped).max(axis=2)
    codes = (np.sign(grouped) + 1).reshape(values.shape)
    scales = mx.array(scales).astype(dtype)
    return check(values, parts(mx.array(pack(codes, 2)), scales, -scales), group, 2)


def q4_0(values):
    """Q4_0's grid: 16 steps from -8 d in groups of 32."""
    rows = values.shape[0]
    grouped = values.reshape(rows, -1, 32)
    at = np.abs(grouped).argmax(axis=2)[..., None]
    scales = np.take_along_axis(grouped, at, axis=2)[..., 0] / -8
    codes = np.rint(grouped / scales[..., None] + 8).reshape(values.shape)
    scales = mx.array(scales.astype(np.float32))
    return check(values, parts(mx.array(pack(codes, 4)), scales, scales * -8), 32, 4)


def check(values, tensors, group, bits):
    back = mx.dequantize(tensors["weight"], tensors["scales"], tensors["biases"], group_size=group, bits=bits)
    assert np.array_equal(np.array(back.astype(mx.float32)), values), "MLX reads other weights"
    return tensors


def main():
    golden = make_hf.Golden("llama-tq2_0-groups")
    folder = HERE / "llama"
    folder.mkdir(exist_ok=True)
    quantization = {"group_size": GROUP, "bits": 2, "mode": "affine"}
    out = {}

    def put(module, tensors):
        out.update({f"{module}.{part}": array for part, array in tensors.items()})

    for name, values in golden.tensors.items():
        names = name.split(".")
        values = np.array(values, np.float32)
        if names[0] == "token_embd":
            put("model.embed_tokens", q4_0(values))
            quantization["model.embed_tokens"] = {"group_size": 32, "bits": 4}
            head = mx.quantize(mx.array(values).astype(mx.float16), group_size=GROUP, bits=8)
            put("lm_head", parts(*head))
            quantization["lm_head"] = {"group_size": GROUP, "bits": 8}
            rows = mx.dequantize(*(part.astype(mx.float32) if i else part for i, part in enumerate(head)), group_size=GROUP, bits=8)
            np.array(rows)[:HEAD_ROWS].astype("<f4").tofile(HERE / "head.f32")
        elif names[0] == "output_norm":
            out["model.norm.weight"] = mx.array(values)
        elif names[0] == "blk" and names[2] in make_hf.NORM:
            out[f"model.layers.{names[1]}.{make_hf.NORM[names[2]]}.weight"] = mx.array(values)
        elif names[0] == "blk" and names[3] == "weight":
            module = f"model.layers.{names[1]}.{make_hf.LINEAR[names[2]]}"
            if names[2] in ("attn_q", "attn_k"):
                values = make_hf.unpermute(values, golden.heads(names[2]))
            if names[2] == "attn_v":  # left as it was
                out[f"{module}.weight"] = mx.array(values).astype(mx.float16)
                quantization[module] = False
                continue
            group = {"attn_q": 128, "attn_k": 32}.get(names[2], GROUP)
            dtype = mx.float32 if names[2] == "attn_output" else mx.float16
            if group != GROUP:
                quantization[module] = {"group_size": group, "bits": 2}
            put(module, ternary(values, group, dtype))
    mx.save_safetensors(str(folder / "model.safetensors"), out, metadata={"format": "mlx"})
    config = make_hf.config_of(golden, "LlamaForCausalLM", {"hidden_act": "silu", "tie_word_embeddings": False})
    config.update({"quantization": quantization, "quantization_config": quantization})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    make_hf.tokenizer_files(folder)


if __name__ == "__main__":
    main()
