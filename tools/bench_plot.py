#!/ usr / bin / env python3
"""Draws what `tern bench -o json` prints: tokens per second, and where each test lies below the roofline.

    tern bench -o json | bench_plot.py png > out.png

`tern bench --plot out.png` calls it. Needs matplotlib.
"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

#Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
MARKERS = "osD^vPX*"
INK = "#333333"


def series_name(row, rows):
    """What tells a series apart from the others, and no more."""
    parts = [row["model"]]
    for key, text in (("kernels", row["kernels"]), ("packing", row["packing"]),
                      ("n_threads", f"{row['n_threads']} thread" + "s" * (row["n_threads"] > 1))):
        if len({other[key] for other in rows}) > 1:
            parts.append(text)
    return ", ".join(parts)


def draw_speeds(axes, rows, series, colours, title):
    tests = list(dict.fromkeys(row["test"] for row in rows))
    height = 0.8 / len(series)
    for i, name in enumerate(series):
        for row in (row for row in rows if row["series"] == name):
            y = tests.index(row["test"]) + (i - (len(series) - 1) / 2) * height
            speed, half_range = row["tokens_per_second"], row["tokens_per_second_half_range"]
            axes.barh(y, speed, height * 0.92, color=colours[name], xerr=half_range or None, ecolor=INK, capsize=2)
            digits = 0 if speed >= 100 else 1 if speed >= 10 else 2
            axes.annotate(f"{speed:,.{digits}f}", (speed + half_range, y), xytext=(4, 0), textcoords="offset points",
                          va="center", fontsize=8, color=INK)
    axes.set_xlim(0, max(row["tokens_per_second"] + row["tokens_per_second_half_range"] for row in rows) * 1.12)
    axes.set_yticks(range(len(tests)), tests)
    axes.invert_yaxis()
    axes.set_xlabel("tokens per second (median; whiskers: half of the range)")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def intensity(row):
    """Operations for each byte read."""
    return row["tops"] * 1e3 / row["gigabytes_per_second"]


def draw_roofline(axes, rows, series, colours):
    xs = [intensity(row) for row in rows]
    low, high = min(xs + [1]) / 3, max(xs + [100]) * 3
#Each ceiling once : threads and kernels decide it.
    for (threads, kernels, peak, bandwidth) in ceilings(rows):
        ridge = peak * 1e3 / bandwidth
        points = [low, ridge, max(high, ridge * 3)]
        axes.plot(points, [low * bandwidth / 1e3, peak, peak], color="#888888", linewidth=1.2, zorder=1)
        axes.annotate(f"{peak:.3g} TOPS: {kernels}, {threads} thread" + "s" * (threads > 1), (ridge, peak),
                      xytext=(0, 2), textcoords="offset points", va="bottom", fontsize=7, color="#666666")
        axes.annotate(f"{bandwidth:.0f} GB/s", (low, low * bandwidth / 1e3), xytext=(-2, 0),
                      textcoords="offset points", ha="right", va="center", fontsize=7, color="#666666")
    tests = list(dict.fromkeys(row["test"] for row in rows))
    for row in rows:
        axes.scatter(intensity(row), row["tops"], s=42, color=colours[row["series"]], edgecolor="white", linewidth=0.7,
                     marker=MARKERS[tests.index(row["test"]) % len(MARKERS)], zorder=3)
    for i, test in enumerate(tests):
        axes.scatter([], [], s=42, color="#888888", marker=MARKERS[i % len(MARKERS)], label=test)
    axes.legend(fontsize=8, loc="lower right", frameon=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left=low / 2.2)
    axes.set_xlabel("operations for each byte read")
    axes.set_ylabel("TOPS")
    axes.set_title("Roofline, as measured beside each test", loc="left", fontweight="bold")
    axes.grid(color="#EEEEEE", linewidth=0.8)


def ceilings(rows):
    """(threads, kernels, peak, bandwidth), the best that was measured of each."""
    best = {}
    for row in rows:
        key = row["n_threads"], row["kernels"], round(row["peak_tops"], 1) if row["peak_tops"] >= 1 else round(
            row["peak_tops"], 2)
        peak, bandwidth = best.get(key, (0, 0))
        best[key] = max(peak, row["peak_tops"]), max(bandwidth, row["bandwidth_gigabytes_per_second"])
    merged = {}
    for (threads, kernels, _), (peak, bandwidth) in best.items():
        for known in merged:
            if known[:2] == (threads, kernels) and 0.7 < known[2] / peak < 1.4:
                merged[known] = max(merged[known], bandwidth)
                break
        else:
            merged[threads, kernels, peak] = bandwidth
    return [(*key, bandwidth) for key, bandwidth in merged.items()]


def draw(data, kind, out):
    rows = data["results"]
    for row in rows:
        row["series"] = series_name(row, rows)
    series = list(dict.fromkeys(row["series"] for row in rows))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(series)}
    prompts = [row for row in rows if row["n_prompt"]]
    generated = [row for row in rows if not row["n_prompt"]]
    panels = [(some, title) for some, title in ((prompts, "Reading a prompt"), (generated, "Generating")) if some]
    plt.rcParams.update({"font.size": 9, "axes.edgecolor": "#999999", "axes.labelcolor": INK, "text.color": INK,
                         "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False})
    bars = [len({row["test"] for row in some}) * len(series) for some, _ in panels]
    legend_lines = -(-len(series) // 3)
    height = max(5.0, 1.6 + 0.3 * sum(bars) + 0.8 * len(panels) + 0.2 * legend_lines)
    figure = plt.figure(figsize=(12, height))
    bottom = (0.15 + 0.2 * legend_lines) / height
    figure.set_layout_engine("constrained", rect=(0, bottom, 1, 1 - bottom))
    grid = figure.add_gridspec(len(panels), 2, height_ratios=[count + 2 for count in bars])
    for i, (some, title) in enumerate(panels):
        draw_speeds(figure.add_subplot(grid[i, 0]), some, series, colours, title)
    draw_roofline(figure.add_subplot(grid[:, 1]), rows, series, colours)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours[name]) for name in series]
    figure.legend(handles, series, loc="lower center", ncol=min(3, len(series)), frameon=False, fontsize=8)
    notes = "; ".join(data.get("notes", []))
    figure.suptitle(f"{data['cpu']}  \u00b7  tern {data['tern']}  \u00b7  {data['date'][:10]}" + (f"\n{notes}" if notes else ""),
                    fontsize=9, x=0.01, ha="left")
    figure.savefig(out, dpi=160, format=kind)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("png", "svg"):
        sys.exit(__doc__)
    draw(json.load(sys.stdin), sys.argv[1], sys.stdout.buffer)
