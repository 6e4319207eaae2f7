#!/usr/bin/env python3
"""Trains the default model for a given time on the token files of prepare.py.

    train.py --data DIR --out DIR --minutes 115 [--dim 256 --layers 8 --ffn 1024] [--device cuda]

The learning rate follows the fraction of the time that is used, not a count of steps, so that the
run ends fully decayed however busy the machine is. OUT/checkpoint.pt is replaced every few minutes;
started again with the same OUT the run goes on from there. OUT/log.tsv is the training log.

A tenth of the text is books, the rest stories: bare ones, and as the answers to requests.

Needs torch (1.13 or later) and numpy. With --device cuda one process takes a whole step. On a processor with bfloat16 instructions set
MALLOC_TOP_PAD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ as README.md shows.
"""

import argparse
import dataclasses
import os
import pathlib
import time

import numpy as np
import torch
import torch.multiprocessing

from model import Config, Tern


class Windows:
    """Windows of a token file in a shuffled order, each once an epoch; `taken` is all its state."""

    def __init__(self, path, seed, taken=0):
        self.tokens = np.fromfile(path, dtype="<u2")
        self.seed, self.taken = seed, taken

    def take(self, length):
        per_epoch = (len(self.tokens) - 1) // length - 1
        epoch, index = divmod(self.taken, per_epoch)
        rng = np.random.default_rng([self.seed, epoch, length])
        start = rng.integers(length) + length * int(rng.permutation(per_epoch)[index])
        self.taken += 1
        return self.tokens[start : start + length + 1].astype(np.int64)


def batch(windows, device="cpu"):
    tokens = torch.from_numpy(np.stack(windows)).to(device)
    return tokens[:, :-1], tokens[:, 1:]


def orthogonalise(g):
    """The nearest orthogonal matrix, roughly, to each matrix of g [n, rows, columns].

    Five Newton-Schulz steps of the quintic of Jordan et al., "Muon" (2024); rows <= columns.
    """
    x = (g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(5):
        a = torch.bmm(x, x.transpose(1, 2))
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    return x.float()


class Muon:
    """Momentum with orthogonalised updates, for the ternary weights; AdamW-sized steps."""

    def __init__(self, parameters, momentum=0.95):
        self.parameters, self.momentum = list(parameters), momentum
        self.buffers = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, lr, weight_decay):
        groups = {}
        for p, buffer in zip(self.parameters, self.buffers):
            buffer.lerp_(p.grad, 1 - self.momentum)
            update = torch.lerp(p.grad, buffer, self.momentum)
            flip = update.shape[0] > update.shape[1]
            update = update.t() if flip else update
            groups.setdefault(tuple(update.shape), []).append((p, flip, update))
        for shape, members in groups.items():
            updates = orthogonalise(torch.stack([u for _, _, u in members]))
            for (p, flip, _), update in zip(members, updates):
                p.mul_(1 - lr * weight_decay)
                p.add_(update.t() if flip else update, alpha=-0.2 * lr * max(shape) ** 0.5)


def helper(connection, model, grads):
    """A second process: the loss of each batch that is sent, its gradients left in `grads`."""
    torch.set_num_threads(1)
    for windows in iter(connection.recv, None):
        model.zero_grad(set_to_none=True)
        loss = model.loss(*batch(windows))
        loss.backward()
        for grad, p in zip(grads, model.parameters()):
            grad.copy_(p.grad)
        connection.send(loss.item())


class Workers:
    """This process and helpers that share the parameters, one thread each.

    They meet once a step, where the threads of one process would meet at every operation: on a busy
    machine that is the difference.
    """

    def __init__(self, model, count):
        self.model, self.helpers = model, []
        self.device = model.token_embd.device
        if count > 1:
            model.share_memory()
        spawn = torch.multiprocessing.get_context("spawn")
        for _ in range(count - 1):
            grads = [torch.zeros_like(p).share_memory_() for p in model.parameters()]
            connection, other = spawn.Pipe()
            spawn.Process(target=helper, args=(other, model, grads), daemon=True).start()
            other.close()
            self.helpers.append((connection, grads))

    def gradients(self, batches):
        """Sets the mean gradients over the batches, one a process; returns the mean loss."""
        for (connection, _), windows in zip(self.helpers, batches[1:]):
            connection.send(windows)
        torch.set_num_threads(1)
        self.model.zero_grad(set_to_none=True)
        loss = self.model.loss(*batch(batches[0], self.device))
        loss.backward()
        losses = [loss.item()] + [connection.recv() for connection, _ in self.helpers]
        torch.set_num_threads(len(batches))  # for the optimisers, while the helpers wait
        for i, p in enumerate(self.model.parameters()):
            for _, grads in self.helpers:
                p.grad.add_(grads[i])
            p.grad.div_(len(batches))
        return sum(losses) / len(losses)

    def stop(self):
        for connection, _ in self.helpers:
            connection.send(None)


def evaluate(model, tokens, length, count):
    """Mean loss over `count` windows spread evenly over the tokens (all if fewer)."""
    starts = np.arange(0, len(tokens) - length - 1, length)
    starts = starts[:: max(1, len(starts) // count)][:count]
    losses = []
    with torch.no_grad():
        for i in range(0, len(starts), 8):
            x, y = batch([tokens[s : s + length + 1].astype(np.int64) for s in starts[i : i + 8]],
                         model.token_embd.device)
            losses += [model.loss(x, y).item()] * len(x)
    return float(np.mean(losses))


def save(path, state):
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    os.replace(temporary, path)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=115, help="time of all runs together")
    parser.add_argument("--lr", type=float, default=3e-3, help="peak learning rate of AdamW")
    parser.add_argument("--muon-lr", type=float, default=5e-3, help="peak learning rate of Muon")
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--warmup", type=int, default=100, help="steps of rising learning rate")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens a process and step")
    parser.add_argument("--processes", type=int, default=2, help="one a core; a step takes all")
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--dim", type=int, default=Config.dim, help="a multiple of 256")
    parser.add_argument("--layers", type=int, default=Config.layers)
    parser.add_argument("--heads", type=int, default=Config.heads, help="of 64 dimensions each")
    parser.add_argument("--kv-heads", type=int, default=Config.kv_heads)
    parser.add_argument("--ffn", type=int, default=Config.ffn, help="a multiple of 256")
    parser.add_argument("--context", type=int, default=Config.context)
    return parser.parse_args()


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    checkpoint = args.out / "checkpoint.pt"
    state = torch.load(checkpoint, map_location=args.device) if checkpoint.exists() else None
    config = Config(**state["config"]) if state else Config(
        dim=args.dim, layers=args.layers, heads=args.heads, kv_heads=args.kv_heads, ffn=args.ffn,
        context=args.context)
    model = Tern(config, torch.bfloat16).to(args.device)
    ternary = [p for name, p in model.blk.named_parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() == 1]
    decayed = [model.token_embd] + (ternary if args.optimizer == "adamw" else [])
    adam = torch.optim.AdamW([{"params": decayed}, {"params": gains, "weight_decay": 0.0}],
                             lr=args.lr, betas=(0.9, 0.95), weight_decay=0.1, foreach=True)
    muon = Muon(ternary) if args.optimizer == "muon" else None
    step, tokens, elapsed, taken = 0, 0, 0.0, (0, 0, 0)

    if state:
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        if muon:
            muon.buffers = state["muon"]
        step, tokens, elapsed, taken = (state[k] for k in ("step", "tokens", "elapsed", "taken"))
        print(f"resumed at step {step}, {elapsed / 60:.1f} minutes")
    sources = [
        Windows(args.data / f"{name}.bin", args.seed + i, taken[i])
        for i, name in enumerate(("stories", "books", "chats"))]
    held_out = np.fromfile(args.data / "val.bin", dtype="<u2")
    held_out_chats = np.fromfile(args.data / "val_chats.bin", dtype="<u2")
    workers = Workers(model, args.processes)
    log = open(args.out / "log.tsv", "a", buffering=1)
    rng = np.random.default_rng([args.seed, step])

    started, total = time.time() - elapsed, args.minutes * 60
    saved, losses, done = elapsed, [], False
    while not done:
        elapsed = time.time() - started
        used = min(1.0, elapsed / total)
        done = used >= 1.0
        # First 60 %: short windows and more of the books. Then whole stories.
        length, book_share = (256, 0.15) if used < 0.6 else (config.context, 0.06)
        rate = min(1.0, (step + 1) / args.warmup) * max(0.005, 1 - used)
        weight_decay = 0.1 if used < 0.5 else 0.0

        shares = [(1 - book_share) * 0.4, book_share, (1 - book_share) * 0.6]
        losses.append(workers.gradients([
            [sources[rng.choice(3, p=shares)].take(length)
             for _ in range(args.tokens // length)] for _ in range(args.processes)]))
        tokens += args.processes * args.tokens
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = args.lr * rate
        adam.param_groups[0]["weight_decay"] = weight_decay
        adam.step()
        if muon:
            muon.step(args.muon_lr * rate, weight_decay)
        step += 1

        if step % 100 == 0 or done:
            loss = evaluate(model, held_out, length, 32)
            chat_loss = evaluate(model, held_out_chats, length, 32)
            log.write(f"{step}\t{tokens}\t{elapsed / 60:.2f}\t{rate:.4f}\t{np.mean(losses):.4f}"
                      f"\t{loss:.4f}\t{chat_loss:.4f}\n")
            losses = []
        if elapsed - saved > args.save_minutes * 60 or done:
            saved = elapsed
            save(checkpoint, {"config": dataclasses.asdict(config), "model": model.state_dict(),
                              "adam": adam.state_dict(), "muon": muon.buffers if muon else None,
                              "step": step, "tokens": tokens, "elapsed": elapsed,
                              "taken": [s.taken for s in sources]})
    workers.stop()
    print(f"done: {step} steps, {tokens} tokens, {elapsed / 60:.1f} minutes")


if __name__ == "__main__":
    main()
