#!/usr/bin/env python3
"""What lm-evaluation-harness finds for a golden model on a few items of each task: expected.json.

    python3 -m venv v && v/bin/pip install -r ../models/requirements.txt lm_eval==0.4.13 datasets
    v/bin/python make_eval.py

The harness computes everything itself: its HFLM over the transformers model of ../models (llama-bf16, 272 tokens, 256 positions,
so that long texts are cut), its own task files, with the items below in place of the data sets from the hub. The items are made up
here; they have the fields of the hub's data sets. Written: NAME.jsonl, the items, and expected.json: for each task every
log-likelihood and whether it is greedy, the metrics of each item, and the harness's figures with their standard errors.
"""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import lm_eval
import tokenizers
import torch
import transformers
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
sys.path[:0] = [str(MODELS), str(HERE.parents[2] / "tools")]
import make_models  # noqa: E402
import vocabulary  # noqa: E402

MODEL = "llama-bf16"
TASKS = Path(lm_eval.__file__).parent / "tasks"
LONG = "A long story about a cat who went to the sea and saw many ships. " * 6

PLACES = ["the sea", "a café", "the old house", "school", "the woods", "Zürich", "the market", "a farm"]
THINGS = ["a ball", "some bread", "two naïve cats", "the red kite", "an umbrella", "nothing at all", "a key", "snow"]


def arc():
    for i, place in enumerate(PLACES * 2):
        texts = [THINGS[(i + k) % 8] + "." * (k % 2) for k in range(4 if i % 3 else 3)]
        labels = [str(k + 1) for k in range(len(texts))] if i % 2 else list("ABCD")[: len(texts)]
        yield {"question": f"What would you find at {place}, of these {i}?" + (LONG if i == 5 else ""),
               "choices": {"text": texts, "label": labels}, "answerKey": labels[i % len(texts)]}


def piqa():
    for i, thing in enumerate(THINGS * 2):
        yield {"goal": f"How do I carry {thing}?" + " " * (i % 3) + (LONG if i == 3 else ""),
               "sol1": f"Put {thing} in a bag.", "sol2": f"Throw {thing} over {PLACES[i % 8]} and wait\u2026", "label": i % 2}


def winogrande():
    for i, place in enumerate(PLACES * 2):
        yield {"sentence": f"Anna met Ben at {place} because _ liked {THINGS[i % 8]}.", "option1": "Anna", "option2": "Ben", "answer": str(1 + i % 2)}


def lambada():
    for i, place in enumerate(PLACES * 2):
        yield {"text": f"They walked to {place}.\n\nThere was {THINGS[i % 8]}, " + (LONG if i == 6 else "") + f"and she said it was {THINGS[(i + 1) % 8]}"}


def blimp():
    for i, place in enumerate(PLACES * 2):
        yield {"sentence_good": f"Who found {THINGS[i % 8]} at {place}?", "sentence_bad": f"Who find {THINGS[i % 8]} at {place}?"}


FILES = {"arc_easy": "arc/arc_easy.yaml", "piqa": "piqa/piqa.yaml", "winogrande": "winogrande/default.yaml",
         "lambada": "lambada/lambada_openai.yaml", "blimp": "blimp/_template_yaml"}
ITEMS = {"arc_easy": arc, "piqa": piqa, "winogrande": winogrande, "lambada": lambada, "blimp": blimp}


def task_of(name, path):
    text = (TASKS / FILES[name]).read_text().replace("!function ", "")
    config = yaml.safe_load(text)
    for key in ("tag", "dataset_name", "training_split", "test_split", "process_docs", "should_decontaminate"):
        config.pop(key, None)
    config |= {"task": name, "dataset_path": "json", "validation_split": "validation",
               "dataset_kwargs": {"data_files": {"validation": str(path)}}}
    if name == "winogrande":
        from lm_eval.tasks.winogrande import preprocess_winogrande as own

        for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
            config[key] = getattr(own, key)
    return ConfigurableTask(config=config)


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    model = make_models.Maker(next(s for s in make_models.SPECS if s.name == MODEL)).make()
    file = json.loads((HERE.parent / "hf" / MODEL / "tokenizer.json").read_text())
    bos = vocabulary.SPECIAL[0]  # which the file names without an id
    file["post_processor"]["special_tokens"] = {bos: {"id": bos, "ids": [268], "tokens": [bos]}}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(file)),
        bos_token=vocabulary.SPECIAL[0], eos_token=vocabulary.SPECIAL[2])
    lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1, device="cpu", max_length=256)
    out = {"lm_eval": "0.4.13", "model": MODEL, "tasks": {}}
    for name, items in ITEMS.items():
        path = HERE / f"{name}.jsonl"
        path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items()))
        done = lm_eval.simple_evaluate(model=lm, tasks=[task_of(name, path)], log_samples=True, bootstrap_iters=10)
        samples = sorted(done["samples"][name], key=lambda s: s["doc_id"])
        entry = {"samples": [], "results": {k: v for k, v in done["results"][name].items() if isinstance(v, (int, float))}}
        for s in samples:
            got = [r[0] for r in s["resps"]] if isinstance(s["resps"][0][0], (tuple, list)) else s["resps"]
            entry["samples"].append({
                "log_likelihoods": [float(r[0]) for r in got], "greedy": [str(r[1]) == "True" for r in got],
                **{m: s[m] for m in ("acc", "acc_norm", "perplexity") if m in s}})
        out["tasks"][name] = entry
        print(name, len(samples), entry["results"], entry["samples"][0])
    (HERE / "expected.json").write_text(json.dumps(out, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
