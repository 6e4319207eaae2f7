#!/usr/bin/env python3
"""Adapters over other architectures than make_lora.py's, and over activations of 16 bits; needs what that script needs.

    v/bin/python make_more_lora.py

The truth is PEFT over transformers in float32: Qwen3, Gemma 3 and MiniCPM (as Granite) of ../models and ../families, a ternary Llama
without rounding, which two int8 rows a token come close to, and Qwen3's mixture of ../experts with adapters of its attention and
routers. Three adapters have no logits, since Tern refuses them: of experts, of a model whose inputs are rotated, and of one with norms
before its projections.
Written: folders of adapters, NAME.f32 as make_lora.py writes them, and more.json: model files and folders, adapter, logits.
"""

import json
import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import peft
import torch
import transformers

import make_lora
from make_lora import ALL, HERE, add_adapter, make_models, save_peft, spec, vocabulary  # noqa: E402

GOLDEN = HERE.parent
make_lora.sys.path.insert(0, str(GOLDEN / "families"))
import make_families  # noqa: E402


def family(name, made):
    maker = make_families.Maker(name, made)
    maker.make()
    return maker.model


def mixture():
    return transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / "experts/qwen3moe", dtype=torch.float32).eval()


def adapt(model, name, targets, seed):
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=targets)
    model = add_adapter(model, name, config, seed)
    save_peft(model, name, torch.float16)
    return model


def main():
    torch.set_num_threads(1)
    entries = []
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    for name, model, targets, paths in [
        ("qwen3", make_models.Maker(spec("qwen3-f32")).make(), ALL, ["models/qwen3-f32.gguf", "hf/qwen3-f32"]),
        ("gemma3", family("gemma3", make_families.gemma3()), ALL, ["families/gemma3.gguf", "families/gemma3"]),
        ("minicpm", family("minicpm", make_families.minicpm()), ALL, ["families/minicpm.gguf", "families/minicpm"]),
        ("int16", make_models.without_rounding(make_models.Maker(spec("llama-tq2_0-groups")).make()), ALL,
         ["models/llama-tq2_0-groups.gguf", "hf/llama-tq2_0-groups"]),
        ("mixture", mixture(), [*attention, "mlp.gate"], ["experts/qwen3moe-f16.gguf", "experts/qwen3moe"]),
    ]:  # fmt: skip
        plain = make_models.logits_of(model, vocabulary.encode(vocabulary.TEXT))
        model = adapt(model, name, targets, len(entries) + 10)
        logits = make_models.logits_of(model, vocabulary.encode(vocabulary.TEXT))
        logits.tofile(HERE / f"{name}.f32")
        moved = make_models.relative_rms(logits, plain)
        print(f"{name:10} moves the logits by {moved:.2f}")
        assert moved > 0.2
        entries.append({"models": paths, "adapter": name, "logits": f"{name}.f32"})
    adapt(mixture(), "experts", [f"experts.{n}.up_proj" for n in range(2)], 20)
    adapt(make_models.Maker(spec("qwen3-f32")).make(), "rotated", ["q_proj"], 21)
    normed = transformers.Qwen3Config(
        vocab_size=272, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32,
    )  # fmt: skip
    adapt(transformers.Qwen3ForCausalLM(normed), "normed", ["k_proj"], 22)
    (HERE / "more.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
