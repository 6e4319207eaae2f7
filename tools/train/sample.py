#!/usr/bin/env python3
"""Continues a prompt with the reference forward pass, or measures its loss on a token file.

    sample.py FILE [PROMPT] [-n N] [--temp T] [--top-p P] [--seed S] [--tokenizer tokenizer.json]
    sample.py FILE --loss val.bin [--length 256]

Temperature 0 is greedy. Encoding a prompt needs the PyPI package `tokenizers`; without it give
token ids separated by commas as the prompt.
"""

import argparse

import numpy as np

from reference import Reference


def byte_of_character():
    """GPT-2's printable stand-ins for bytes, inverted."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in plain}
    others = [b for b in range(256) if b not in plain]
    table.update({chr(256 + i): b for i, b in enumerate(others)})
    return table


def encode(prompt, tokenizer):
    if tokenizer is None:
        return [int(t) for t in prompt.split(",")]
    from tokenizers import Tokenizer

    return [0] + Tokenizer.from_file(tokenizer).encode(prompt).ids


def pick(logits, temperature, top_p, rng):
    if temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits)
    p = np.exp((logits[order] - logits.max()) / temperature)
    p /= p.sum()
    keep = np.searchsorted(p.cumsum(), top_p) + 1
    return int(rng.choice(order[:keep], p=p[:keep] / p[:keep].sum()))


def generate(model, ids, args):
    table = byte_of_character()
    rng = np.random.default_rng(args.seed)
    logits = model.logits(ids)[-1].astype(np.float64)
    for _ in range(min(args.n, model.context - len(ids))):
        token = pick(logits, args.temp, args.top_p, rng)
        if token == 0:
            break
        ids.append(token)
        logits = model.logits([token])[-1].astype(np.float64)
    pieces = model.metadata["tokenizer.ggml.tokens"]
    data = bytes(table[c] for i in ids if i != 0 for c in pieces[i])
    print(data.decode("utf-8", errors="replace"))


def loss(model, path, length):
    """Mean negative log likelihood over consecutive windows, each predicted from its own tokens."""
    tokens, losses = np.fromfile(path, dtype="<u2"), []
    for start in range(0, len(tokens) - length, length):
        window = tokens[start : start + length + 1].astype(np.int64)
        model.reset()
        logits = model.logits(window[:-1])
        logits -= logits.max(axis=-1, keepdims=True)
        picked = logits[np.arange(length), window[1:]]
        losses.append(float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - picked)))
    error = np.std(losses) / np.sqrt(len(losses))
    print(f"{len(losses)} windows of {length} tokens: loss {np.mean(losses):.4f} +/- {error:.4f} "
          f"nats a token, perplexity {np.exp(np.mean(losses)):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("prompt", nargs="?", default="")
    parser.add_argument("-n", type=int, default=300, help="tokens at most")
    parser.add_argument("--temp", type=float, default=0.0)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", help="tokenizer.json of prepare.py")
    parser.add_argument("--loss", help="a token file of prepare.py, to measure instead")
    parser.add_argument("--length", type=int, default=256)
    args = parser.parse_args()
    model = Reference(args.model)
    if args.loss:
        loss(model, args.loss, args.length)
    else:
        generate(model, encode(args.prompt, args.tokenizer), args)


if __name__ == "__main__":
    main()
