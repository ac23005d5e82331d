"""Draw what `preprocess_cost.py --json` wrote: `python benchmarks/plot_preprocess_cost.py PICTURE FILE.json...`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from measure import STAGES

# most that a collection may cost, in bare decodings
GOALS = {"paired": 1.5, "unpaired": 2.5}
# Okabe and Ito's colours, told apart by the colour-blind
COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#009E73", "#CC79A7")


def main() -> None:
    """Command line of the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path, help="picture to write")
    parser.add_argument("results", type=Path, nargs="+", help="files that preprocess_cost.py wrote")
    args = parser.parse_args()
    collections = {}
    for path in args.results:
        collections |= json.loads(path.read_text())
    figure, axis = plt.subplots(figsize=(8, 0.8 + 0.55 * len(collections)), layout="constrained")
    names = sorted(collections)
    for place, name in enumerate(names):
        result = collections[name]
        baseline = sum(result["bare_decoding_cpu_s"]) / 2
        begin = 0.0
        for stage, colour in zip(STAGES[1:], COLOURS, strict=True):
            share = max(0.0, result["stage_cpu_s"][stage] / baseline)
            axis.barh(place, share, left=begin, color=colour, height=0.6, label=stage if place == 0 else None)
            begin += share
        axis.text(begin + 0.03, place, f"{begin:.2f}", va="center")
        goal = GOALS[name.split("_")[0]]
        label = "goal" if place == 0 else None
        axis.plot([goal, goal], [place - 0.42, place + 0.42], color="black", linewidth=2, label=label)
    axis.set_yticks(range(len(names)), [name.replace("_", ", ") + "p" for name in names])
    axis.axvline(1, color="0.6", linestyle="--", linewidth=1)
    axis.set(xlabel="CPU time, in bare decodings of the same videos", xlim=(0, 2.9))
    axis.invert_yaxis()
    axis.legend(ncols=3, frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axis.spines[["top", "right"]].set_visible(False)
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.picture, dpi=150)


if __name__ == "__main__":
    main()
