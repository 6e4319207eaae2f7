#!/usr/bin/env python3
"""Tokenizers in the forms that folders without tokenizer.json have, and the ids that transformers gives for them.

    python3 -m venv v && v/bin/pip install transformers==5.24.0 tokenizers sentencepiece protobuf
    v/bin/python make_tokenizer_files.py

Writes spm/ (SentencePiece's tokenizer.model, as Llama 2's and the 1bitLLM models' folders have it), bpe/ (vocab.json and
merges.txt, as GPT-2's and Qwen's) and expected.json: cases, each with the files that lie beside the vocabulary, and the ids of
all texts. Those of SentencePiece itself (no special tokens, older spacing) are there too, from its own library.
"""

import json
import shutil
import tempfile
from pathlib import Path

import sentencepiece
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
CORPUS = """The quick brown fox jumps over the lazy dog while the old dog sleeps in the warm sun.
When the rain came down on the town, the children ran into the house and shut the door behind them.
She said that the water in the river was cold, but that the stones at its bottom were smooth and round.
Numbers like 12, 345 and 6789 stand between words; so do signs: (brackets), "quotes" and dashes - like this.
It's what they've said: we'll see, you'd think, I'm sure, he's gone. Don't wait for them, they're late.
Die Straße führt über die Brücke; un été près de la forêt; el niño comió la manzana.
def add(left, right):
    return left + right  # the sum of the two
""".splitlines()
TEXTS = [
    "", " ", "  ", "a", "The quick brown fox", " the dog", "the  dog   sleeps", "\n", "a\nb", "  indented\n\n  twice ",
    "they've said it's 12345", "Straße über été", "日本語 and 한국어", "🙂 smile", "tab\there", "x <s> y", "<s>", "</s>the end",
    "<pad>the", "the <|im_start|>user", "<|im_start|>", "a<|endoftext|>b", "\u00e9 and e\u0301", "\u2581the \u2581", "\u00a0nbsp",
    "DON'T", "a" * 40, "the " * 20,
]


def train_sentencepiece(folder):
    text = folder / "corpus.txt"
    text.write_text("\n".join(CORPUS * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=420, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.99995, minloglevel=2)


def train_bpe(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"]
    vocab["<|endoftext|>"] = len(vocab)
    (folder / "vocab.json").write_text(json.dumps(vocab) + "\n")
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def main():
    for name in ("spm", "bpe"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        (HERE / name).mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        train_sentencepiece(Path(scratch))
        shutil.copy(Path(scratch) / "tokenizer.model", HERE / "spm")
    train_bpe(HERE / "bpe")
    spm = sentencepiece.SentencePieceProcessor(str(HERE / "spm/tokenizer.model"))
    size = spm.vocab_size()
    im_start = {"content": "<|im_start|>", "special": True, "lstrip": False, "rstrip": False, "normalized": False,
                "single_word": False}
    cases = [
        {"name": "llama", "vocabulary": "spm",
         # Said here, because releases of transformers differ in what they take where it is not: yes in 4 and by the
         # words of 5, no in what 5.24 does.
         "files": {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}}},
        {"name": "llama legacy, added_tokens.json", "vocabulary": "spm",
         "files": {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True},
                   "added_tokens.json": {"<pad>": size, "<|im_start|>": size + 1},
                   "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                                               "pad_token": "<pad>"}}},
        {"name": "llama, added_tokens_decoder, ends added", "vocabulary": "spm",
         "files": {"tokenizer_config.json": {
             "tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": False, "add_eos_token": True,
             "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
             "added_tokens_decoder": {str(size): im_start}}}},
        {"name": "gpt2", "vocabulary": "bpe", "files": {"tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"}}},
        {"name": "qwen2", "vocabulary": "bpe",
         "files": {"tokenizer_config.json": {
             "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_start|>", "pad_token": "<|endoftext|>",
             "added_tokens_decoder": {"331": im_start}}}},
        {"name": "qwen2 of before", "vocabulary": "bpe",
         "files": {"tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer"},
                   "added_tokens.json": {"<|im_start|>": 331},
                   "special_tokens_map.json": {"additional_special_tokens": ["<|im_start|>"],
                                               "eos_token": {"content": "<|endoftext|>"}}}},
    ]
    for case in cases:
        with tempfile.TemporaryDirectory() as scratch:
            for file in (HERE / case["vocabulary"]).iterdir():
                shutil.copy(file, scratch)
            for name, value in case["files"].items():
                (Path(scratch) / name).write_text(json.dumps(value))
            tokenizer = transformers.AutoTokenizer.from_pretrained(scratch)
            case["ids"] = [tokenizer.encode(text) for text in TEXTS]
    plain = [spm.encode(text) for text in TEXTS]
    (HERE / "expected.json").write_text(
        json.dumps({"transformers": transformers.__version__, "texts": TEXTS, "sentencepiece": plain, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
