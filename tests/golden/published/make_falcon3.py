#!/usr/bin/env python3
"""Makes a tiny random model with the very keys and names of Falcon3-Instruct-1.58bit, as a folder and as a GGUF file, and its logits.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt safetensors
    v/bin/python make_falcon3.py

The folder is packed by transformers' own pack_weights and has the config.json of the published ones (quant_method bitnet without
linear_class, head_dim 256, rope_theta 1000042, eos 11); the truth is what transformers 4.57.1 makes of that folder, with keys and values
in halves. The GGUF file is of the same weights in I2_S with keys as bitnet.cpp's converter writes them. Written: falcon3/,
falcon3.gguf, and falcon3.f32 with the logits of the last 20 tokens of falcon3.json.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers.integrations.bitnet import pack_weights

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models")]
import make_chats  # noqa: E402
import make_embedding  # noqa: E402
import make_models  # noqa: E402
from blocks import pack_i2_s, w  # noqa: E402

WIDTH, FFN, HEADS, KV_HEADS, HEAD_DIM = 32, 64, 2, 1, 256


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(1000042)
    vocab = make_chats.Bpe([make_chats.vocabulary.SPLIT], first=make_chats.FALCON)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 11,
        "eos_token_id": 11,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": FFN,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": 1,
        "num_key_value_heads": KV_HEADS,
        "quantization_config": {"modules_to_not_convert": None, "quant_method": "bitnet"},
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000042,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": len(vocab.tokens),
    }
    folder, tensors = {}, []

    def halves(theirs, ours, values):
        values = torch.from_numpy(values).to(torch.bfloat16)
        folder[theirs] = values
        raw = values.float().numpy().astype(np.float16 if values.dim() > 1 else np.float32)
        assert (raw.astype(np.float32) == values.float().numpy()).all()
        tensors.append((ours, raw.shape[::-1], w.F16 if values.dim() > 1 else w.F32, raw.tobytes()))

    def table(std):
        return (rng.integers(-60, 61, (len(vocab.tokens), WIDTH)) * std / 32).astype(np.float32)

    def norm():
        return rng.integers(64, 192, WIDTH).astype(np.float32) / 128

    halves("model.embed_tokens.weight", "token_embd.weight", table(1.0))
    halves("model.norm.weight", "output_norm.weight", norm())
    halves("lm_head.weight", "output.weight", table(0.25))
    layer = "model.layers.0."
    halves(layer + "input_layernorm.weight", "blk.0.attn_norm.weight", norm())
    halves(layer + "post_attention_layernorm.weight", "blk.0.ffn_norm.weight", norm())
    shapes = {
        "self_attn.q_proj": (HEADS * HEAD_DIM, WIDTH),
        "self_attn.k_proj": (KV_HEADS * HEAD_DIM, WIDTH),
        "self_attn.v_proj": (KV_HEADS * HEAD_DIM, WIDTH),
        "self_attn.o_proj": (WIDTH, HEADS * HEAD_DIM),
        "mlp.gate_proj": (FFN, WIDTH),
        "mlp.up_proj": (FFN, WIDTH),
        "mlp.down_proj": (WIDTH, FFN),
    }
    for path, (rows, cols) in shapes.items():
        trits = rng.integers(-1, 2, (rows, cols)).astype(np.int8)
        scale = torch.tensor([cols**0.5 / 1.5]).to(torch.bfloat16)  # products are divided by it
        folder[layer + path + ".weight"] = pack_weights(torch.from_numpy(trits).float())
        folder[layer + path + ".weight_scale"] = scale
        stem = make_models.LINEAR[path]
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(stem)
        stored = make_models.permute(trits, heads) if heads else trits
        raw = pack_i2_s(stored, float(1 / scale.float()))
        tensors.append((f"blk.0.{stem}.weight", (cols, rows), w.I2_S, raw))

    out = HERE / "falcon3"
    out.mkdir(exist_ok=True)
    save_file(folder, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (out / "generation_config.json").write_text(json.dumps({"bos_token_id": 11, "eos_token_id": 11}) + "\n")
    vocab.bpe.save(str(out / "tokenizer.json"), pretty=False)
    chat = make_chats.template("falcon3")
    settings = {"eos_token": "<|endoftext|>", "model_max_length": 32768, "chat_template": chat}
    (out / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}) + "\n")

    keys = {
        "general.architecture": "llama",
        "general.name": "Falcon3-1B-Instruct-1.58bit",
        "llama.block_count": 1,
        "llama.context_length": 8192,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": FFN,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.rope.freq_base": 1000042.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.attention.key_length": HEAD_DIM,
        "llama.attention.value_length": HEAD_DIM,
        "general.file_type": 40,
        "llama.vocab_size": len(vocab.tokens),
        "llama.rope.dimension_count": HEAD_DIM,
        **vocab.keys(),
        "tokenizer.ggml.pre": "falcon3",
        "tokenizer.ggml.bos_token_id": 11,
        "tokenizer.ggml.eos_token_id": 11,
        "tokenizer.chat_template": chat,
        "general.quantization_version": 2,
    }
    keys["tokenizer.ggml.token_type"] = make_embedding.w_types(keys["tokenizer.ggml.token_type"])
    with w.GgufWriter(HERE / "falcon3.gguf") as gguf:
        gguf.keys(keys)
        for name, shape, kind, raw in tensors:
            gguf.tensor(name, shape, kind, len(raw))
        for *_, raw in tensors:
            gguf.data(raw)

    make_embedding.keep_halves(transformers.models.llama.modeling_llama)
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager")
    assert type(model.model.layers[0].mlp.up_proj).__name__ == "BitLinear"
    judge = transformers.AutoTokenizer.from_pretrained(out)
    ids = judge.apply_chat_template(make_chats.TALK, add_generation_prompt=True)
    one = judge.apply_chat_template(make_chats.TALK[:1], add_generation_prompt=True)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0][-20:].numpy()
    logits.astype("<f4").tofile(HERE / "falcon3.f32")
    (HERE / "falcon3.json").write_text(json.dumps({"tokens": ids, "one_message": one}) + "\n")
    print(logits.shape, logits.std(), one)


if __name__ == "__main__":
    main()
