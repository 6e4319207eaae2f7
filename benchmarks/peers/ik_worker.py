"""ik_llama.cpp, as the PyPI package ik-llama-cpp-python ships it: speed on one GGUF file, or the likeliest token after each of
several lists of tokens.

    python ik_llama_cpp.py speed FILE THREADS PROMPT GENERATED REPETITIONS   -> one line of JSON
    python ik_llama_cpp.py greedy FILE LISTS.json                            -> one line of JSON

Runs with the Python of the virtual environment that engines.py makes. Weights are repacked at load, as its authors advise for speed;
flash attention is off, as the package has it on CPUs without AVX-VNNI, where it fails.
"""

import json
import sys
import time

from ik_llama_cpp import _ctypes_api as api
from ik_llama_cpp._internals import make_batch_range


class Engine:
    def __init__(self, path, threads, context):
        api.llama_backend_init()
        options = api.llama_model_default_params()
        options.repack_tensors, options.use_mmap = True, False
        self.model = api.llama_model_load_from_file(path.encode(), options)
        options = api.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = context, 512, 512
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn = False
        self.context = self.model and api.llama_init_from_model(self.model, options)
        if not self.context:
            sys.exit(f"{path}: ik_llama.cpp does not load it")

    def clear(self):
        api.llama_kv_cache_clear(self.context)

    def decode(self, tokens, position=0):
        batch = make_batch_range(tokens, pos_start=position, logits_last=True)
        failure = api.llama_decode(self.context, batch)
        api.llama_batch_free(batch)
        if failure:
            sys.exit(f"llama_decode: {failure}")

    def likeliest(self):
        count = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        logits = api.llama_get_logits_ith(self.context, -1)[:count]
        return max(range(count), key=logits.__getitem__)


def speed(path, threads, prompt, generated, repetitions):
    engine = Engine(path, threads, prompt + generated + 16)
    tokens = [300 + i * 7919 % 50000 for i in range(max(prompt, generated))]
    samples = {"prompt": [], "generated": []}
    engine.decode(tokens[:32])
    for _ in range(repetitions):
        engine.clear()
        start = time.perf_counter()
        engine.decode(tokens[:prompt])
        samples["prompt"].append(prompt / (time.perf_counter() - start))
        engine.clear()
        engine.decode(tokens[:1])
        start = time.perf_counter()
        for i in range(generated):
            engine.decode(tokens[i : i + 1], 1 + i)
        samples["generated"].append(generated / (time.perf_counter() - start))
    return samples


def greedy(path, lists):
    engine = Engine(path, 2, 128)
    found = []
    with open(lists) as file:
        for tokens in json.load(file):
            engine.clear()
            engine.decode(tokens)
            found.append(engine.likeliest())
    return found


if sys.argv[1] == "speed":
    print(json.dumps(speed(sys.argv[2], *map(int, sys.argv[3:]))))
else:
    print(json.dumps(greedy(*sys.argv[2:])))
