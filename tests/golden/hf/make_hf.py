#!/usr/bin/env python3
"""Writes golden models once more as Hugging Face folders: tests/golden/hf/NAME/.

    python3 -m venv v && v/bin/pip install gguf tokenizers
    v/bin/python make_hf.py

Each stands for the same weights as a golden model of tests/golden/models, so that transformers' logits there are the truth here
too. The layouts follow transformers' own: integrations/bitnet.py packs four rows in a byte (pack_weights) and divides by
weight_scale in BitLinear, multiplies in AutoBitLinear; float weights of 1bitLLM are rounded by their mean magnitude.
"""

import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
sys.path[:0] = [str(MODELS), str(HERE.parents[2] / "tools")]
import vocabulary  # noqa: E402

LINEAR = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NORM = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_sub_norm": "self_attn.attn_sub_norm",
    "ffn_sub_norm": "mlp.ffn_sub_norm",
}
OLD_NORM = {"attn_sub_norm": "self_attn.inner_attn_ln", "ffn_sub_norm": "mlp.ffn_layernorm"}
I2_S = 36


def bf16(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any(), "not exact in bfloat16"
    return (bits >> 16).astype(np.uint16)


class Golden:
    """A golden GGUF file: keys, and tensors as floats or as (trits, scale)."""

    def __init__(self, name):
        data = (MODELS / f"{name}.gguf").read_bytes()
        self.keys, self.tensors = read_gguf(data)
        self.arch = self.keys["general.architecture"]

    def key(self, name):
        return self.keys.get(f"{self.arch}.{name}")

    def heads(self, stem):
        return self.key("attention.head_count_kv" if stem == "attn_k" else "attention.head_count")


def read_gguf(data):
    """The few kinds of values that the golden files use."""
    at = 24
    tensor_count, key_count = struct.unpack_from("<QQ", data, 8)

    def text():
        nonlocal at
        (size,) = struct.unpack_from("<Q", data, at)
        at += 8 + size
        return data[at - size : at].decode()

    def value(kind):
        nonlocal at
        if kind == 8:
            return text()
        if kind == 9:
            each, count = struct.unpack_from("<IQ", data, at)
            at += 12
            return [value(each) for _ in range(count)]
        code = "BbHhIifB__QqdX"[kind]
        (number,) = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize(code)
        return number

    keys = {}
    for _ in range(key_count):
        key = text()
        (kind,) = struct.unpack_from("<I", data, at)
        at += 4
        keys[key] = value(kind)
    index = []
    for _ in range(tensor_count):
        name = text()
        (dims,) = struct.unpack_from("<I", data, at)
        shape = struct.unpack_from(f"<{dims}Q", data, at + 4)
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dims)
        at += 4 + 8 * dims + 12
        index.append((name, shape[::-1], kind, offset))
    start = -(-at // 32) * 32
    tensors = {}
    for name, shape, kind, offset in index:
        raw = np.frombuffer(data, np.uint8, offset=start + offset)
        count = int(np.prod(shape))
        if kind == I2_S:
            blocks = raw[: count // 4].reshape(-1, 1, 32) >> np.array([6, 4, 2, 0]).reshape(1, 4, 1) & 3
            (scale,) = struct.unpack_from("<f", raw, count // 4)
            tensors[name] = (blocks.reshape(shape).astype(np.int8) - 1, scale)
        else:
            block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
            rows = raw[: count // block * size].reshape(*shape[:-1], -1)
            tensors[name] = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType(kind)).reshape(shape)
    return keys, tensors


def unpermute(rows, heads):
    """Rows of a head from pairs of neighbours back to (first half, second half)."""
    return rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def pack(trits):
    """transformers.integrations.bitnet.pack_weights: quarter i of the rows in bits 2i of a byte."""
    quarters = (trits + 1).astype(np.uint8).reshape(4, -1, trits.shape[1])
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6


def save(path, tensors):
    """A safetensors file: length of the header, header, data."""
    names = {"float32": "F32", "float16": "F16", "uint16": "BF16", "uint32": "U32", "uint8": "U8", "int8": "I8", "int32": "I32", "int64": "I64"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values).tobytes()
        header[name] = {
            "dtype": names[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def tokenizer_files(folder):
    vocabulary.link_tokenizer(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [vocabulary.END_OF_TEXT, vocabulary.EOT]}))


def config_of(golden, architecture, more):
    config = {
        "architectures": [architecture],
        "hidden_size": golden.key("embedding_length"),
        "intermediate_size": golden.key("feed_forward_length"),
        "num_hidden_layers": golden.key("block_count"),
        "num_attention_heads": golden.key("attention.head_count"),
        "num_key_value_heads": golden.key("attention.head_count_kv"),
        "head_dim": golden.key("attention.key_length"),
        "max_position_embeddings": golden.key("context_length"),
        # As text, the nearest float: written with the digits that a person would give.
        "rms_norm_eps": float(f"{golden.key('attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": golden.key("rope.freq_base"),
        "tie_word_embeddings": "output.weight" not in golden.tensors,
    }
    return {**config, **more}


def write(name, architecture, linear, more, old_names=False, shards=1):
    """linear(values of a golden tensor) -> {suffix: array} for one linear layer."""
    golden = Golden(name)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    tensors = {}
    for full, values in golden.tensors.items():
        parts = full.split(".")
        if parts[0] != "blk":
            stem = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}.get(parts[0])
            if stem:
                tensors[f"{stem}.weight"] = values
            continue
        layer, stem = f"model.layers.{parts[1]}.", parts[2]
        if stem in LINEAR and parts[3] == "weight":
            scale = golden.tensors.get(f"blk.{parts[1]}.{stem}.scale")
            if scale is not None:
                values = (values[0], values[1] * scale[0])
            if golden.arch == "llama" and stem in ("attn_q", "attn_k"):
                values = unpermute(values, golden.heads(stem))
            for suffix, array in linear(values).items():
                tensors[layer + LINEAR[stem] + suffix] = array
        elif stem in NORM:
            names = {**NORM, **(OLD_NORM if old_names else {})}
            tensors[layer + names[stem] + ".weight"] = values
    names = list(tensors)
    if shards == 1:
        save(folder / "model.safetensors", tensors)
    else:
        weight_map = {}
        for shard in range(shards):
            file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
            own = names[shard::shards]
            save(folder / file, {n: tensors[n] for n in own})
            weight_map.update({n: file for n in own})
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    (folder / "config.json").write_text(json.dumps(config_of(golden, architecture, more), indent=1) + "\n")
    tokenizer_files(folder)


def packed(scale_of):
    return lambda values: {".weight": pack(values[0]), ".weight_scale": np.array([scale_of(values[1])], np.float32)}


def master(values):
    """Weights whose mean magnitude is the scale: nonzeros are the scale over their share, and round (from 1.5 or so) to one."""
    trits, scale = values
    return {".weight": (trits * np.float32(scale / np.mean(trits != 0))).astype(np.float32)}


def half(values):
    assert np.array_equal(values.astype(np.float16).astype(np.float32), values)
    return {".weight": values.astype(np.float16)}


def main():
    vocabulary.write_tokenizer()
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    write("llama-llama3-rope", "LlamaForCausalLM", half, {"hidden_act": "silu", "rope_scaling": scaling})
    write("llama-bf16", "LlamaForCausalLM", lambda v: {".weight": bf16(v)}, {"hidden_act": "silu"})
    write("llama-tq2_0-groups", "LlamaForCausalLM", half, {"hidden_act": "silu"})
    write("qwen3-f32", "Qwen3ForCausalLM", lambda v: {".weight": v}, {"hidden_act": "silu"}, shards=2)
    bitnet = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
    write("bitnet-b1.58-i2_s", "BitNetForCausalLM", packed(lambda s: s), {"hidden_act": "relu2", "quantization_config": bitnet})
    # BitLinear divides; powers of two or not, 1 / (1 / s) is within a rounding of s.
    divides = {"quant_method": "bitnet", "modules_to_not_convert": None}
    write("bitnet-25-i2_s", "BitNetForCausalLM", packed(lambda s: 1 / s), {"hidden_act": "relu2", "quantization_config": divides})
    write("bitnet-scale-tensors", "BitnetForCausalLM", master, {"hidden_act": "silu"}, old_names=True)


if __name__ == "__main__":
    main()
