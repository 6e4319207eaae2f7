#!/usr/bin/env python3
"""Writes tiny random Llama models in the forms of OneCompression, and the logits that they stand for: tests/golden/onecomp/NAME/.

    python3 -m venv v && v/bin/pip install gguf==0.19.0 numpy==2.2.6 torch==2.5.1 transformers==4.57.1
    v/bin/python make_onecomp.py

The names, shapes and packing of the tensors are those that OneCompression 1.4.0 documents and its layers register
(quantizer/dbf/dbf_layer.py, quantizer/onebit/onebit_layer.py, quantizer/mdbf/mdbf_layer.py); the files are written here, with numpy.
OneCompression itself is run by make_quantized.py; here shapes and numbers of paths are chosen that it does not choose. The truth is transformers' LlamaForCausalLM in float32 with each linear
layer replaced by the dense matrix that the factors multiply out to in float64: logits.f32, [tokens, vocabulary], little-endian.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "hf")]
import make_hf  # noqa: E402

WIDTH, FFN, HEADS, KV_HEADS, LAYERS, VOCAB = 64, 100, 4, 2, 2, 272
SHAPES = {  # rows, columns, middle: never a multiple of 8
    "self_attn.q_proj": (WIDTH, WIDTH, 45),
    "self_attn.k_proj": (WIDTH // 2, WIDTH, 21),
    "self_attn.v_proj": (WIDTH // 2, WIDTH, 21),
    "self_attn.o_proj": (WIDTH, WIDTH, 45),
    "mlp.gate_proj": (FFN, WIDTH, 53),
    "mlp.up_proj": (FFN, WIDTH, 53),
    "mlp.down_proj": (WIDTH, FFN, 53),
}


def pack(signs):
    """The whole matrix row by row, the first sign in the highest bit, 1 for +1, filled up with +1."""
    bits = (signs.reshape(-1) > 0).astype(np.uint8)
    return np.packbits(np.concatenate([bits, np.ones(-bits.size % 8, np.uint8)]))


def signs(rng, rows, cols):
    return rng.choice(np.array([-1.0, 1.0]), (rows, cols))


def scales(rng, size, mean):
    """Of either sign, and of different size, as they come out of factoring."""
    return (mean * rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)).astype(np.float16)


def dbf(rng, rows, cols, mid):
    b, a = signs(rng, mid, cols), signs(rng, rows, mid)
    s0, s2, s4 = scales(rng, cols, 1.0), scales(rng, mid, (mid * cols) ** -0.5), scales(rng, rows, 1.0)
    dense = s4[:, None].astype(float) * (a @ (s2[:, None].astype(float) * b)) * s0.astype(float)
    return {"scaling0": s0, "bp1": pack(b), "scaling2": s2, "bp3": pack(a), "scaling4": s4}, dense


def dbf_as_mdbf(rng, rows, cols, mid):
    """The same matrices as dbf(), in one path with one envelope."""
    parts, dense = dbf(rng, rows, cols, mid)
    return {
        "paths.0.A_sign_packed": parts["bp3"],
        "paths.0.B_sign_packed": parts["bp1"],
        "paths.0._A_sign_shape": np.array([rows, mid], np.int64),
        "paths.0._B_sign_shape": np.array([mid, cols], np.int64),
        "paths.0.A_amp": parts["scaling4"][:, None],
        "paths.0.B_amp": parts["scaling0"][:, None],
        "paths.0.Q_U_amp": np.ones((mid, 1), np.float16),
        "paths.0.Q_V_amp": parts["scaling2"][:, None],
    }, dense


def onebit(rng, rows, cols, _):
    s, b, a = signs(rng, rows, cols), scales(rng, cols, 1.0), scales(rng, rows, cols**-0.5)
    dense = a[:, None].astype(float) * s * b.astype(float)
    return {"a": a, "b": b, "sign_packed": pack(s), "bias": np.zeros(rows, np.float16)}, dense


def mdbf(rng, rows, cols, mid, envelopes=2, paths=2):
    parts, dense = {}, 0
    for p in range(paths):
        r = mid // 2 + p  # paths may differ
        a_signs, b_signs = signs(rng, rows, r), signs(rng, r, cols)
        mean = (envelopes**2 * paths * r * cols) ** -0.5
        a, b = scales(rng, (rows, envelopes), 1.0), scales(rng, (cols, envelopes), 1.0)
        u, v = scales(rng, (r, envelopes), 1.0), scales(rng, (r, envelopes), mean)
        f = a_signs * (a.astype(float) @ u.astype(float).T)
        g = b_signs * (v.astype(float) @ b.astype(float).T)
        dense = dense + f @ g
        own = {
            "A_sign_packed": pack(a_signs),
            "B_sign_packed": pack(b_signs),
            "_A_sign_shape": np.array(a_signs.shape, np.int64),
            "_B_sign_shape": np.array(b_signs.shape, np.int64),
            "A_amp": a,
            "B_amp": b,
            "Q_U_amp": u,
            "Q_V_amp": v,
        }
        parts.update({f"paths.{p}.{name}": values for name, values in own.items()})
    return parts, dense


def write(name, method, factor, tokens):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "vocab_size": VOCAB,
    }
    embedding = rng.normal(0, 0.25, (VOCAB, WIDTH)).astype(np.float16)
    tensors, dense = {"model.embed_tokens.weight": embedding}, {}
    for norm in ["norm"] + [f"layers.{i}.{n}_layernorm" for i in range(LAYERS) for n in ("input", "post_attention")]:
        tensors[f"model.{norm}.weight"] = rng.uniform(0.5, 1.5, WIDTH).astype(np.float16)
    plain = dict(tensors)
    for i in range(LAYERS):
        for layer, shape in SHAPES.items():
            stem = f"model.layers.{i}.{layer}"
            parts, dense[f"{stem}.weight"] = factor(rng, *shape)
            tensors.update({f"{stem}.{part}": values for part, values in parts.items()})
    make_hf.save(folder / "model.safetensors", tensors)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config, attn_implementation="eager")).float().eval()
    state = {n: torch.from_numpy(v.astype(np.float32)) for n, v in {**plain, **dense}.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing in ([], ["lm_head.weight"]) and not unexpected, (missing, unexpected)
    model.tie_weights()
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].numpy()
    logits.astype("<f4").tofile(folder / "logits.f32")
    config["quantization_config"] = {"quant_method": method, "bits": 1.0}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    make_hf.tokenizer_files(folder)
    print(name, "standard deviation of the logits", logits.std())


def main():
    tokens = json.loads((HERE.parent / "models/manifest.json").read_text())["tokens"]
    write("dbf", "dbf", dbf, tokens)
    write("dbf-as-mdbf", "mdbf", dbf_as_mdbf, tokens)
    write("mdbf", "mdbf", mdbf, tokens)
    write("onebit", "onebit", onebit, tokens)


if __name__ == "__main__":
    main()
