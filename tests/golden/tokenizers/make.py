#!/usr/bin/env python3
"""Makes the tokenizer goldens of this folder.

usage: make.py DATA [GPT2]
  DATA  folder with tokenizers/ and corpora/ (README.md here says what they hold)
  GPT2  folder with GPT-2's encoder.json and vocab.bpe; without it excerpt-gpt-2.json stays as it is

Needs tokenizers, sentencepiece, protobuf, transformers (4.57.1) and gguf from PyPI. The truth is never ours: expected ids
come from Hugging Face's tokenizers, from sentencepiece, and from llama.cpp's own test vectors.
"""

import io
import json
import random
import sys
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
VECTORS = "\n__ggml_vocab_test__\n"

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# DeepSeek-V3's, which Hunyuan's dense models took over.
DEEPSEEK3 = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]
PUNCTUATION = r"[\p{P}$+<=>^~|`]+"
# Name in tokenizer.ggml.pre: (steps, ignore_merges, NFC), as in the models' tokenizer.json.
FAMILIES = {
    "llama-bpe": ([LLAMA3], True, False),
    "qwen2": ([LLAMA3.replace("{1,3}", "")], False, True),
    "qwen35": ([QWEN35], False, True),
    "gpt-2": ([GPT2], False, False),
    "mpt": ([GPT2], False, True),
    "falcon": ([PUNCTUATION, GPT2, "[0-9][0-9][0-9]"], False, False),
    "starcoder": ([r"\p{N}", GPT2], False, False),
    "command-r": ([r"\p{N}", GPT2], False, True),
    "hunyuan-dense": (DEEPSEEK3, False, False),
    "default": ([PUNCTUATION, GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], False, False),
}
SPECIAL = ["<|bos|>", "<|eos|>", "<|eot|>", "<|eot|><|end|>"]
USER_DEFINED = ["<tool>", "</tool>", "    "]
# Tokens to which no merges lead: only a tokenizer that takes whole words first finds them.
WHOLE_WORDS = ["Ġzyzzyva", "quokka", "ĠÐ¼Ð¸ÑĢ"]


def strings():
    """The texts to encode: chosen ones, then seeded mixtures of what pre-tokenizers look at."""
    chosen = [
        "",
        " ",
        "  ",
        "   ",
        "\t",
        "\n",
        "\n\n",
        "\n\n\n",
        "\t\n",
        "\r\n",
        " \n",
        "\n ",
        " \r\n \n  x",
        "a",
        " a",
        "  a",
        "Hello world",
        " Hello world",
        "Hello  world",
        "Hello   World!!",
        "Hello, world!",
        "\n =",
        "' era",
        "3",
        "33",
        "333",
        "3333",
        "33333",
        "333333",
        "1234567890",
        " 1 22 333 4444",
        "3.14",
        "1,000,000",
        "٣٤٥٦",
        "½ ² Ⅷ ①",
        "a1b22c333",
        "I've I'M you'Ll he'S we'D they'Re don't 'tis 'ſ it'ſ 'K",
        "it's 'twas rock'n'roll o'clock ''s '''ve",
        "naïve café Führer Σίσυφος нещо Việt",
        "Cửa Việt",
        "e\u0301 A\u030a o\u0302\u0323 \u1100\u1161\u11a8 \u212b \u037e",
        "日本語のテキスト、中文字符。한국어 텍스트",
        "កាន់តែពិសេស नमस्ते ไทย",
        "😀 👨‍👩‍👧‍👦 🦙🦙 ✅ (normal)",
        "\u200b\u200d\ufeff",
        "\u00a0a\u2003b\u3000c\u1680d\u180ee\u2028f\u2029g\u0085h\u202fi\u205fj",
        "\u2003\u2003\u2003x",
        " \u3000 \u00a0\n y",
        "\x00\x01\x1c\x1d\x1e\x1f\x7f\u0080\u009f",
        "def f(x):\n    return x + 1  # ok\n\n\n    y\t\tz",
        "a\u0300b\u0301 \u0300c",
        "!!!!!! ...... ------ ======= <|> a+b=c$d^e~f`g|h",
        "http://example.com/?q=a%20b&c=[1]#x",
        "zyzzyva zyzzyva quokka мир",
        "<|bos|>Hi<|eot|>",
        "<|eot|><|end|>",
        "<|eot|> <|eot|><|eot|",
        "<tool>x</tool> <tool",
        "        a     b",
        "<|eos|>  \n<|eos|>",
        "\u2581 a\u2581b",
        "x" * 70,
        " " * 40,
        "\n" * 9,
        "ab" * 40,
        "0" * 41,
        "." * 33,
        " a" * 20,
    ]
    rng = random.Random(20261123)
    atoms = (
        [
            " ",
            "  ",
            "    ",
            "\n",
            "\n\n",
            "\r\n",
            "\t",
            "'s",
            "'LL",
            "'",
            '"',
            "(",
            ")",
            "...",
            "!?",
            "-",
            "_",
            "<tool>",
            "<|eot|>",
        ]
        + [
            "the",
            "The",
            "story",
            "once",
            "upon",
            "Ünïcode",
            "слово",
            "λόγος",
            "字",
            "かな",
            "한",
            "हिन्दी",
            "e\u0301",
            "é",
            "ǆ",
            "ß",
            "ſ",
        ]
        + [
            "7",
            "42",
            "365",
            "2026",
            "123456",
            "٤٢",
            "½",
            "Ⅳ",
            "৩",
            "😀",
            "🏳️‍🌈",
            "\u00a0",
            "\u3000",
            "\u2028",
            "$",
            "+",
            "=",
            "^",
            "`",
            "€",
        ]
    )
    mixed = ["".join(rng.choice(atoms) for _ in range(rng.randint(2, 14))) for _ in range(150)]
    for _ in range(150):  # anything at all
        blocks = [
            (0x20, 0x7E),
            (0xA0, 0x24F),
            (0x370, 0x5FF),
            (0x900, 0xE7F),
            (0x2000, 0x2BFF),
            (0x3040, 0x9FFF),
            (0x1F300, 0x1FAFF),
        ]
        mixed.append(
            "".join(chr(rng.randint(*rng.choice(blocks))) for _ in range(rng.randint(1, 12)))
        )
    assigned = [s for s in mixed if all(unicodedata.category(c) != "Cn" for c in s)]
    return chosen + assigned


def write(name, value):
    (HERE / name).write_text(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    print(name, (HERE / name).stat().st_size, "bytes")


def pipeline(steps, nfc, bpe):
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.NFC() if nfc else None
    splits = [pre_tokenizers.Split(Regex(step), "isolated") for step in steps]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        splits + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def own_bpe(corpus, texts):
    """A vocabulary whose merges know no word borders: every border drawn shows in the ids."""
    tokenizer = pipeline([], False, models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=2400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    plain = texts
    for special in SPECIAL + USER_DEFINED:  # these are tokens of their own, not to be learnt
        plain = [t.replace(special, "") for t in plain]
    chunks = [corpus[i : i + 60] for i in range(0, len(corpus), 60)] + plain * 3
    chunks += [
        " 7",
        " 42",
        " 365",
        " ½",
        " Ⅳ",
        "a7",
        "7a",
        "$5",
    ] * 50  # borders that books hardly have
    tokenizer.train_from_iterator(chunks, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab, merges = model["vocab"], [
        " ".join(m) if isinstance(m, list) else m for m in model["merges"]
    ]
    for word in WHOLE_WORDS:
        vocab[word] = len(vocab)
    tokens = sorted(vocab, key=vocab.get)
    write(
        "tern-bpe.json",
        {"tokens": tokens, "control": SPECIAL, "user_defined": USER_DEFINED, "merges": merges},
    )
    assert not set(SPECIAL + USER_DEFINED) & set(tokens)
    pairs = [tuple(m.split(" ")) for m in merges]
    for name, (steps, ignore_merges, nfc) in FAMILIES.items():
        judge = pipeline(
            steps, nfc, models.BPE(vocab=vocab, merges=pairs, ignore_merges=ignore_merges)
        )
        judge.add_special_tokens(SPECIAL)
        judge.add_tokens(USER_DEFINED)
        write(f"ids-{name}.json", [judge.encode(t, add_special_tokens=False).ids for t in texts])


def own_spm(corpus, texts):
    """With and without a space in front.

    sentencepiece puts one only at the start, so texts with user-defined symbols, after which
    llama.cpp puts another, are left to the model without. Control symbols in a text are text to it.
    """
    blob = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(
            [line for line in corpus.split("\n") if line] + [t for t in texts if "\0" not in t]
        ),
        model_writer=blob,
        vocab_size=1600,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.999,
        user_defined_symbols=["<tool>", "</tool>"],
        control_symbols=["<|eot|>"],
        minloglevel=2,
        split_by_whitespace=True,
        allow_whitespace_only_pieces=True,
        num_threads=1,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(blob.getvalue())
    pieces = [[p.piece, round(p.score, 4), p.type] for p in proto.pieces]
    for p, (_, score, _) in zip(proto.pieces, pieces):
        p.score = score
    cases = {}
    for prefix in (True, False):
        proto.normalizer_spec.add_dummy_prefix = prefix
        judge = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        # sentencepiece drops U+0000, which we do not.
        ids = [
            judge.encode(t) if "\0" not in t and not (prefix and "tool>" in t) else None
            for t in texts
        ]
        cases["prefix" if prefix else "no_prefix"] = ids
    write("tern-spm.json", {"pieces": pieces, **cases})


def gemma_spm(corpus, texts):
    """Trained with Gemma's options: bytes for what has no piece, nothing put in front, every digit alone, runs of spaces, tabs and
    line ends as symbols of their own.

    sentencepiece and transformers' conversion of the same model must agree on every text. The merges are those of that conversion.
    """
    from transformers import GemmaTokenizerFast

    runs = ["\n" * n for n in range(1, 9)] + ["\u2581" * n for n in range(2, 9)]
    runs += ["\t" * n for n in range(1, 5)]
    blob = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(
            [line for line in corpus.split("\n") if line] + [t for t in texts if "\0" not in t]
        ),
        model_writer=blob,
        vocab_size=1000,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        control_symbols=["<mask>", "<start_of_turn>", "<end_of_turn>"],
        user_defined_symbols=["[multimodal]", *runs, "<table>", "</table>", "<tool>", "</tool>"],
        character_coverage=0.999,
        minloglevel=2,
        num_threads=1,
    )
    with tempfile.NamedTemporaryFile(suffix=".model") as file:
        file.write(blob.getvalue())
        file.flush()
        converted = GemmaTokenizerFast(vocab_file=file.name)
    merges = json.loads(converted.backend_tokenizer.to_str())["model"]["merges"]
    judge = sentencepiece.SentencePieceProcessor(model_proto=blob.getvalue())
    ids = [judge.encode(t) if "\0" not in t else None for t in texts]
    for text, expected in zip(texts, ids):
        assert expected is None or converted.encode(text, add_special_tokens=False) == expected
    pieces = sentencepiece_model_pb2.ModelProto.FromString(blob.getvalue()).pieces
    write(
        "gemma-spm.json",
        {
            "pieces": [[p.piece, round(p.score, 4), p.type] for p in pieces],
            "merges": [" ".join(m) for m in merges],
            "ids": ids,
        },
    )


def excerpt(name, tokenizer, merges, texts, expected, added, licence, more=()):
    """The part of a published vocabulary that encoding `texts` (and `more`) looks at.

    With its own ids, and every merge that was ever possible on the way, not only those that won.
    """
    vocab = tokenizer.get_vocab()
    rank = {tuple(m): i for i, m in enumerate(merges)}
    used_merges, used_tokens = set(), set()
    for text in [*texts, *more]:
        text = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text):
            symbols = list(word)
            used_tokens.update(symbols)
            while True:
                possible = [p for p in zip(symbols, symbols[1:]) if p in rank]
                used_merges.update(possible)
                if not possible:
                    break
                best = min(possible, key=rank.get)
                at = next(i for i, p in enumerate(zip(symbols, symbols[1:])) if p == best)
                symbols[at : at + 2] = ["".join(best)]
    used_tokens.update(part for m in used_merges for part in (*m, "".join(m)))
    tokens = {spelling: vocab[spelling] for spelling in sorted(used_tokens, key=vocab.get)}
    write(
        f"excerpt-{name}.json",
        {
            "licence": licence,
            "pre": name,
            "tokens": tokens,
            "added": added,
            "merges": [" ".join(m) for m in sorted(used_merges, key=rank.get)],
            "texts": texts,
            "ids": expected,
        },
    )


def published(data, gpt2):
    texts = (data / "vectors47.inp").read_text(encoding="utf-8").split(VECTORS)
    judged = lambda name: [
        [int(i) for i in line.split()]
        for line in (data / f"vectors47-{name}.out").read_text().split("\n")
    ]

    def from_json(name, file, licence):
        content = json.loads((data / file).read_text(encoding="utf-8"))
        merges = [
            tuple(m.split(" ")) if isinstance(m, str) else tuple(m)
            for m in content["model"]["merges"]
        ]
        added = {t["content"]: t["id"] for t in content["added_tokens"] if not t["special"]}
        excerpt(
            name, Tokenizer.from_file(str(data / file)), merges, texts, judged(name), added, licence
        )

    from_json("qwen2", "qwen3_tokenizer.json", "Apache-2.0, Qwen3")
    from_json("mpt", "gpt-neox_20B_tokenizer.json", "Apache-2.0, GPT-NeoX-20B")

    import gguf

    fields = gguf.GGUFReader(data / "ggml-vocab-falcon.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    excerpt(
        "falcon",
        pipeline(FAMILIES["falcon"][0], False, model),
        merges,
        texts,
        judged("falcon"),
        {},
        "Apache-2.0, Falcon",
    )

    if gpt2:
        vocab = json.loads((gpt2 / "encoder.json").read_text(encoding="utf-8"))
        merges = [
            tuple(m.split(" "))
            for m in (gpt2 / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]
            if m
        ]
        tokenizer = pipeline([GPT2], False, models.BPE(vocab=vocab, merges=merges))
        rows = [json.loads(line) for line in (data / "strings.jsonl").open(encoding="utf-8")]
        wrong = [
            i
            for i, r in enumerate(rows)
            if tokenizer.encode(r["text"].replace("<|endoftext|>", "")).ids
            != [t for t in r["gpt2"] if t != 50256]
        ]
        print("gpt-2: strings on which its vocabulary and strings.jsonl differ:", wrong)
        more = [
            r["text"] for r in rows
        ]  # so that the larger test runs too where the data folder is
        excerpt("gpt-2", tokenizer, merges, texts, judged("gpt-2"), {}, "MIT, GPT-2", more)


def main():
    data = Path(sys.argv[1])
    texts = strings()
    corpus = (data / "corpora" / "books_children.txt").read_text(encoding="utf-8")[
        1_000_000:1_400_000
    ]
    write("texts.json", texts)
    own_bpe(corpus, texts)
    own_spm(corpus, texts)
    gemma_spm(corpus, texts)
    published(data / "tokenizers", Path(sys.argv[2]) if len(sys.argv) > 2 else None)


if __name__ == "__main__":
    main()
