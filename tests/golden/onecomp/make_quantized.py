#!/usr/bin/env python3
"""Quantises tiny random models with OneCompression itself, and writes the logits of its own loader: tests/golden/onecomp/tool/NAME/.

    python3.11 -m venv v
    v/bin/pip install --no-deps --ignore-requires-python onecomp==1.4.0 transformers==5.23.0 torch==2.6.0 ...
    v/bin/python make_quantized.py

OneCompression declares Python 3.12 but runs on 3.11, which is why pip is told to ignore it; `...` are the packages that its imports ask
for (accelerate 1.15.0, datasets 5.2.0, gemlite 0.6.0.post2, hqq 0.2.8.post1, lm_eval 0.4.13, ortools 9.15.6755, safetensors 0.8.0,
scipy 1.17.1, termcolor 3.3.0 were used). No GPU is needed. Everything else of these folders, the weights, config.json and the files of
the tokenizer, is as the tool saves it. logits.f32: float32, [tokens, vocabulary], little-endian, of QuantizedModelLoader.load_quantized_model
with torch_dtype=float32 (of RotatedModelConfig.load_model where nothing is quantised), for the first tokens of
tests/golden/models/manifest.json.
"""

import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers

import onecomp
from onecomp import AutoBitQuantizer, CalibrationConfig, ModelConfig, RotatedModelConfig, Runner, prepare_rotated_model
from onecomp.quantized_model_loader import QuantizedModelLoader
from onecomp.quantizer.dbf import DBF
from onecomp.quantizer.gptq import GPTQ
from onecomp.quantizer.mdbf import MDBF
from onecomp.quantizer.onebit import Onebit

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "hf")]
import make_hf  # noqa: E402

TOKENS = 8
KEPT = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def shape(**more):
    """FFN 96 = 12 x 8: its Hadamard transform needs a matrix that is no power of two."""
    return {
        "vocab_size": 272,
        "hidden_size": 32,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "bos_token_id": 268,
        "eos_token_id": 270,
        "dtype": "float16",
        **more,
    }


def base_model(kind, folder, **more):
    """A random model whose logits are far from uniform, saved as transformers does."""
    torch.manual_seed(11)
    config, model = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }[kind]
    net = model(config(**shape(**more)))
    with torch.no_grad():
        for name, values in net.named_parameters():
            if name.endswith("norm.weight"):
                values.uniform_(0.5, 1.5)
            elif "embed" in name:
                values.normal_(0, 0.5)
            else:
                values.normal_(0, values.shape[1] ** -0.5)
    net.half().save_pretrained(folder)
    make_hf.tokenizer_files(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None  # its template lacks what the tokenizers package asks for
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.update(eos_token=settings["eos_token"]["content"], tokenizer_class="PreTrainedTokenizerFast")
    for name, values in (("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)):
        (folder / name).unlink()  # a link to the files of all golden models
        (folder / name).write_text(json.dumps(values))


def for_its_loader(saved):
    """Its own loader does not know `autobit`, as it saves models whose layers all became DBF: a copy that says so."""
    config = json.loads((saved / "config.json").read_text())
    if config["quantization_config"]["quant_method"] != "autobit":
        return saved
    used = [q for q in config["quantization_config"]["quantizers"] if q["layers"]]
    assert [q["quant_method"] for q in used] == ["dbf"]
    config["quantization_config"] |= used[0]
    copy = saved.parent / "dbf"
    shutil.copytree(saved, copy)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def quantise(name, kind, quantizer, tokens, rotated=False, fp32_had=False, **more):
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        base_model(kind, work / "base", **more)
        words = "the hen and the fox, a theory of 42 things. "
        (work / "text.txt").write_text("\n".join(words * 20 for _ in range(12)))
        calibration = CalibrationConfig(
            calibration_dataset=str(work / "text.txt"), max_length=48, num_calibration_samples=12, strategy="concat_chunk"
        )
        model = ModelConfig(path=str(work / "base"), dtype="float16", device="cpu")
        if rotated:
            model = prepare_rotated_model(
                model, str(work / "rotated"), enable_training=False, calibration_config=calibration, fp32_had=fp32_had
            )
        saved = work / "rotated"
        if quantizer:
            saved = work / "saved"
            runner = Runner(model_config=model, quantizer=quantizer(calibration), calibration_config=calibration, report_progress=False)
            runner.run()
            runner.save_quantized_model(str(saved))
            net, _ = QuantizedModelLoader.load_quantized_model(str(for_its_loader(saved)), torch_dtype=torch.float32, device_map=None)
        else:
            net = RotatedModelConfig(path=str(saved), dtype="float32", device="cpu").load_model()
        with torch.no_grad():
            logits = net.eval()(torch.tensor([tokens])).logits[0]
        assert logits.dtype == torch.float32
        out = HERE / "tool" / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        for file in KEPT:
            shutil.copy(saved / file, out / file)
        (out / "logits.f32").write_bytes(logits.numpy().astype("<f4").tobytes())
        print(name, sorted(p.name for p in saved.iterdir()), "standard deviation of the logits", float(logits.std()))


def mixed(calibration):
    """Layers of 2, 3, 4 and 8 bits, with groups and without."""
    return AutoBitQuantizer(
        calibration_config=calibration,
        assignment_strategy="manual",
        quantizers=[
            GPTQ(wbits=2, groupsize=32, include_layer_keywords=["gate_proj", "up_proj"]),
            GPTQ(wbits=3, groupsize=-1, sym=False, include_layer_keywords=["down_proj"]),
            GPTQ(wbits=8, groupsize=-1, include_layer_keywords=["o_proj"]),
            GPTQ(wbits=4, groupsize=32, sym=False, include_layer_keywords=["q_proj", "k_proj", "v_proj"]),
        ],
    )


def autobit(calibration):
    """So few bits that all layers become DBF."""
    return AutoBitQuantizer(
        calibration_config=calibration,
        target_bit=1.5,
        dbf_iters=60,
        quantizers=[GPTQ(wbits=bits, groupsize=32) for bits in (2, 4, 8)],
    )


def main():
    logging.disable(logging.INFO)
    tokens = json.loads((HERE.parent / "models/manifest.json").read_text())["tokens"][:TOKENS]
    assert onecomp.__version__ == "1.4.0"
    made = [
        ("llama-dbf", "llama", lambda _: DBF(target_bits=1.5, iters=60), {}),
        ("qwen3-dbf-rotated", "qwen3", lambda _: DBF(target_bits=1.2, iters=60), {"rotated": True, "num_hidden_layers": 1}),
        # Counted without the scales: with them there would be no room for signs in matrices of this size.
        ("qwen3-mdbf", "qwen3", lambda _: MDBF(target_bits=1.5, l=2, P=2, scale_bits=0, admm_outer_iters=20), {"num_hidden_layers": 1}),
        (
            "llama-mdbf-rotated",
            "llama",
            lambda _: MDBF(target_bits=1.1, l=2, P=1, scale_bits=0, admm_outer_iters=20),
            {"rotated": True, "fp32_had": True, "num_hidden_layers": 1},
        ),
        ("llama-rotated", "llama", None, {"rotated": True, "num_hidden_layers": 1}),
        ("llama-onebit", "llama", lambda _: Onebit(), {}),
        ("qwen3-mixed-gptq", "qwen3", mixed, {}),
        # With more bits to spend it writes mixed_gptq, as above.
        ("llama-autobit-dbf", "llama", autobit, {"num_hidden_layers": 1}),
        (
            "llama-gptq-rotated",
            "llama",
            lambda _: GPTQ(wbits=4, groupsize=32, actorder=True, sym=False),
            {"rotated": True, "num_hidden_layers": 1},
        ),
    ]
    for name, kind, quantizer, more in made:
        if name in sys.argv[1:] or len(sys.argv) == 1:
            quantise(name, kind, quantizer, tokens, **more)


if __name__ == "__main__":
    main()
