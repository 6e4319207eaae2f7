"""The model: a BitNet b1.58 decoder, for training in bfloat16 and for exact evaluation in float32.

Recipe (Ma et al., "The Era of 1-bit LLMs", and its training tips): every linear layer inside the
blocks has weights in {-1, 0, +1} times one scale per tensor, scale = mean|W|; its input is
quantised per token to int8 by its largest magnitude; both roundings are half to even and are
passed straight through by the gradient. A block is

    x = x + o(norm(attention(rope(q), rope(k), v)))        q, k, v from norm(x)
    x = x + down(norm(relu(gate)^2 * up))                  gate, up from norm(x)

with RMS norms, NeoX (rotate-half) rotary positions and a tied embedding.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass
class Config:
    vocab_size: int = 4096
    dim: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 1024
    context: int = 1024
    rope_base: float = 10000.0
    eps: float = 1e-5

    def __post_init__(self):
        # Every ternary row must fill whole 256-element blocks, whichever file type holds it.
        assert self.dim % 256 == 0 and self.ffn % 256 == 0
        assert self.heads * self.head_dim == self.dim and self.heads % self.kv_heads == 0


def ternary(weight):
    """The trits of a [out, in] float weight, as floats, and their scale mean|W| (a 0-d tensor)."""
    scale = weight.abs().mean().clamp(min=1e-5)
    return (weight / scale).round().clamp(-1, 1), scale


def int8_activations(x):
    """Per-row int8 values of x [rows, n], as floats, and the step [rows, 1] that undoes it."""
    inverse = 127.0 / x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
    return (x * inverse).round().clamp(-128, 127), 1.0 / inverse


class TernaryLinear(torch.autograd.Function):
    """y_i = rms_norm(x, gain) @ ternary(W_i)^T for a list of weights that share their input.

    The quantised operands are integers that bfloat16 holds exactly, so in training the products
    are exact and only sums and gradients are rounded. Norm and both quantisers are folded into one
    function to keep few tensors alive: the processor's caches are the limit of this training.
    """

    @staticmethod
    def forward(ctx, x, gain, eps, dtype, *weights):
        inverse_rms = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)
        normed = x * inverse_rms
        levels, step = int8_activations(normed * gain)
        levels = levels.to(dtype)
        trits, scales = zip(*(ternary(w) for w in weights))
        rows = [w.shape[0] for w in weights]
        scale = torch.cat([s.expand(r) for s, r in zip(scales, rows)])
        trits = torch.cat([t.to(dtype) for t in trits])
        y = (levels @ trits.t()) * step * scale
        ctx.save_for_backward(normed, inverse_rms, gain, levels, step, trits, scale)
        ctx.rows, ctx.dtype = rows, dtype
        return y.split(rows, dim=1) if len(rows) > 1 else y

    @staticmethod
    def backward(ctx, *grads):
        normed, inverse_rms, gain, levels, step, trits, scale = ctx.saved_tensors
        grad = torch.cat(grads, dim=1) if len(grads) > 1 else grads[0]
        grad_weights = ((grad * step).to(ctx.dtype).t() @ levels).float().split(ctx.rows)
        grad_scaled = ((grad * scale).to(ctx.dtype) @ trits).float()
        product = grad_scaled * normed
        grad_gain = product.sum(dim=0)
        grad_scaled *= gain
        mean = (product * gain).mean(dim=-1, keepdim=True)
        grad_x = grad_scaled.addcmul_(normed, mean, value=-1).mul_(inverse_rms)
        return (grad_x, grad_gain, None, None) + tuple(grad_weights)


def rope_tables(config, length):
    frequency = config.rope_base ** (-torch.arange(0, config.head_dim, 2) / config.head_dim)
    angle = torch.arange(length)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Rotates x [batch, length, heads, head_dim], element i with element i + head_dim/2."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        kv = c.kv_heads * c.head_dim

        def weight(rows, columns, std):
            return nn.Parameter(torch.randn(rows, columns) * std)

        residual = 1 / math.sqrt(c.dim * 2 * c.layers)
        inner = 1 / math.sqrt(c.dim)
        self.attn_norm = nn.Parameter(torch.ones(c.dim))
        self.attn_sub_norm = nn.Parameter(torch.ones(c.dim))
        self.ffn_norm = nn.Parameter(torch.ones(c.dim))
        self.ffn_sub_norm = nn.Parameter(torch.ones(c.ffn))
        self.attn_q = weight(c.dim, c.dim, inner)
        self.attn_k = weight(kv, c.dim, inner)
        self.attn_v = weight(kv, c.dim, inner)
        self.attn_output = weight(c.dim, c.dim, residual)
        self.ffn_gate = weight(c.ffn, c.dim, inner)
        self.ffn_up = weight(c.ffn, c.dim, inner)
        self.ffn_down = weight(c.dim, c.ffn, residual * math.sqrt(c.dim / c.ffn))

    def attention(self, q, k, v, cos, sin, mask, dtype):
        """q [batch, length, heads * head_dim], k and v likewise with kv_heads; returns as q."""
        c, (batch, length) = self.c, q.shape[:2]
        q = rotate(q.view(batch, length, c.heads, c.head_dim), cos, sin)
        k = rotate(k.view(batch, length, c.kv_heads, c.head_dim), cos, sin)
        v = v.view(batch, length, c.kv_heads, c.head_dim)
        group = c.heads // c.kv_heads
        # One product per kv head: its group's queries stacked along the row axis.
        q = q.view(batch, length, c.kv_heads, group, c.head_dim).permute(0, 2, 3, 1, 4)
        q = q.reshape(batch * c.kv_heads, group * length, c.head_dim).to(dtype)
        k = k.transpose(1, 2).reshape(batch * c.kv_heads, length, c.head_dim).to(dtype)
        v = v.transpose(1, 2).reshape(batch * c.kv_heads, length, c.head_dim).to(dtype)
        scores = torch.bmm(q, k.transpose(1, 2)).view(-1, group, length, length)
        scores = scores * (1 / math.sqrt(c.head_dim)) + mask
        weights = scores.softmax(dim=-1).view(-1, group * length, length)
        out = torch.bmm(weights, v).float()
        out = out.view(batch, c.kv_heads, group, length, c.head_dim).permute(0, 3, 1, 2, 4)
        return out.reshape(batch, length, c.dim)

    def forward(self, x, shape, cos, sin, mask, dtype):
        """x [batch * length, dim] float32, shape (batch, length)."""
        c, linear = self.c, TernaryLinear.apply
        q, k, v = linear(x, self.attn_norm, c.eps, dtype, self.attn_q, self.attn_k, self.attn_v)
        q, k, v = (t.reshape(*shape, -1) for t in (q, k, v))
        mixed = self.attention(q, k, v, cos, sin, mask, dtype).view(-1, c.dim)
        x = x + linear(mixed, self.attn_sub_norm, c.eps, dtype, self.attn_output)
        gate, up = linear(x, self.ffn_norm, c.eps, dtype, self.ffn_gate, self.ffn_up)
        hidden = F.relu(gate).square() * up
        return x + linear(hidden, self.ffn_sub_norm, c.eps, dtype, self.ffn_down)


class HeadLoss(torch.autograd.Function):
    """Mean cross entropy of x @ embedding^T, with its gradient made in place, chunk by chunk."""

    CHUNK = 1024

    @staticmethod
    def forward(ctx, x, embedding, targets, dtype):
        table = embedding.to(dtype)
        grad_x, grad_table = torch.empty_like(x), torch.zeros_like(embedding)
        total, count = 0.0, x.shape[0]
        for start in range(0, count, HeadLoss.CHUNK):
            part = x[start : start + HeadLoss.CHUNK].to(dtype)
            target = targets[start : start + HeadLoss.CHUNK, None]
            logits = (part @ table.t()).float()
            logits -= logits.amax(dim=-1, keepdim=True)
            picked = logits.gather(1, target)
            logits.exp_()
            sums = logits.sum(dim=-1, keepdim=True)
            total = total + (sums.log() - picked).sum()
            logits /= sums * count
            logits.scatter_add_(1, target, torch.full_like(picked, -1 / count))
            logits = logits.to(dtype)
            grad_x[start : start + HeadLoss.CHUNK] = logits @ table
            grad_table += logits.t() @ part
        ctx.save_for_backward(grad_x, grad_table)
        return total / count

    @staticmethod
    def backward(ctx, grad):
        grad_x, grad_table = ctx.saved_tensors
        return grad_x * grad, grad_table * grad, None, None


class Tern(nn.Module):
    def __init__(self, config, dtype=torch.float32):
        super().__init__()
        self.config, self.dtype = config, dtype
        self.token_embd = nn.Parameter(torch.randn(config.vocab_size, config.dim) * 0.02)
        self.output_norm = nn.Parameter(torch.ones(config.dim))
        self.blk = nn.ModuleList(Block(config) for _ in range(config.layers))

    def hidden(self, tokens):
        """The normed last hidden state, [batch * length, dim], of tokens [batch, length]."""
        c, (batch, length) = self.config, tokens.shape
        cos, sin = rope_tables(c, length)
        device = tokens.device
        cos, sin = cos.to(device), sin.to(device)
        mask = torch.full((length, length), -1e9, device=device).triu(1).to(self.dtype)
        x = F.embedding(tokens.reshape(-1), self.token_embd)
        for block in self.blk:
            x = block(x, (batch, length), cos, sin, mask, self.dtype)
        inverse_rms = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + c.eps)
        return x * inverse_rms * self.output_norm

    def logits(self, tokens):
        """Logits [batch, length, vocab] of tokens [batch, length]."""
        return (self.hidden(tokens) @ self.token_embd.t()).view(*tokens.shape, -1)

    def loss(self, tokens, targets):
        """Mean cross entropy, nats a token; gradients only through the whole of it."""
        hidden = self.hidden(tokens)
        return HeadLoss.apply(hidden, self.token_embd, targets.reshape(-1), self.dtype)
