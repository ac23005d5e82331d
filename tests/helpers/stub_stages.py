"""Stages that do nothing but what planning sees: `stub_python()`, a Python for the jobs of a workflow.

Each stage writes files that tell, as a hash, of its module, its settings and the content of all that it reads; so two
runs end with the same files exactly when the same was made from the same. It takes a fiftieth of a second. A file
`fail` beside the config, with the name of a module, has the next job of that module fail after half of its work; a file
`wait` has it remove that file and wait. `ran.txt` gets a line for each job, with the files that it writes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from helpers.small_run import start_snakemake

# Two collections and a detector.
CONFIG = {
    "datasets": {
        "v": {"layout": "celebdf", "root": "raw/v", "n_shards": 2},
        "w": {"layout": "celebdf", "root": "raw/w", "n_shards": 1},
    },
    "landmarks": {"predictor": "none"},
    "experiments": {
        "e1": {
            "detector": "classifier",
            "train": ["v"],
            "test": ["v", "w"],
            "seeds": [0],
            "settings": {"pretrained": False},
        }
    },
}
TARGET = "results/e1/eval.csv"

_PROGRAM = '''#!{python} -ISs
import hashlib, json, os, sys, time
module, arguments = sys.argv[2], sys.argv[3:]
if module == "snakemake":  # a plan that a run asks for
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
options, name = {{}}, None
for word in arguments:
    if word.startswith("--"):
        name = word[2:]
        options[name] = []
    else:
        options[name].append(word)
one = {{name: words[0] for name, words in options.items() if words}}
PLACES = {{"output", "root", "ledger", "lost", "summary", "validation", "logs", "figures", "threads", "workers",
          "video-seconds", "max-lost-share", "data", "index", "accept-smaller"}}

def content(path):
    if os.path.isdir(path):
        return "".join(sorted(os.listdir(path)))
    return open(path).read()

def digest(*parts):
    return hashlib.sha256("|".join(parts).encode()).hexdigest()

def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".partial", "w") as file:
        file.write(text)
    os.replace(path + ".partial", path)

def raw(root):
    """A line for each video: its shard, its name, its content."""
    names = sorted(os.listdir(root))
    return [(int(digest(name)[:4], 16) % int(one["n-shards"]), name, content(root + "/" + name)) for name in names]

parts = [module, *(word for name in sorted(options) if name not in PLACES for word in [name, *options[name]]
                   if not os.path.isfile(word))]
read = [word for words in options.values() for word in words if os.path.isfile(word) and word != one["output"]]
stage = module.rpartition(".")[2]
written = {{"samples": ("ledger",), "train": ("summary", "validation")}}.get(stage, ())
outputs = [one[name] for name in ("output", *written)]
if stage == "index":
    text = "\\n".join(f"{{shard:04}} {{name}} {{digest(data)}}" for shard, name, data in raw(one["root"]))
    text = digest(*parts) + "\\n" + text
elif stage == "shard_lists":
    head, *lines = content(one["index"]).split("\\n")
    for shard in range(int(one["n-shards"])):
        its = [line for line in lines if line.startswith(f"{{shard:04}}")]
        write(f"{{one['output']}}/{{shard:04}}.parquet", "\\n".join([head.split()[0], *its]))
    sys.exit()
else:
    if stage == "samples":
        shards = range(int(one["n-shards"]))
        read = [f"data/{{name}}/{{one['dataset']}}/{{shard:04}}.{{suffix}}" for shard in shards for name, suffix in (
            ("index", "parquet"), ("frames", "parquet"), ("faces", "parquet"), ("crops", "h5"),
            ("landmarks", "parquet"), ("masks", "h5"))]
    if stage == "leakage":
        sets = json.loads(one["datasets"]).items()
        read = sorted(f"data/index/{{dataset}}/{{shard:04}}.parquet" for dataset, of in sets
                      for shard in range(of["n_shards"]))
    read = sorted(set(read) - set(outputs))
    text = digest(*parts, *(path + digest(content(path)) for path in read))
if stage == "learning_curves":
    outputs = [one["output"] + suffix for suffix in (".png", ".svg")]
if stage == "evaluate":
    folder = os.path.dirname(one["output"])
    outputs += [f"{{folder}}/{{name}}" for name in ("missing.csv", "videos.csv", "record.json", "video_scores.parquet")]
    outputs += [f"{{folder}}/tables/{{name}}.html" for name in ("eval", "missing", "videos")]
    outputs += [f"{{folder}}/figures/{{name}}.{{kind}}" for name in
                ("roc", "scores", "precision_recall", "thresholds", "confusion") for kind in ("png", "svg")]
with open("ran.txt", "a") as ran:
    ran.write(" ".join(outputs) + "\\n")
if os.path.exists("wait") and content("wait") == stage:
    os.remove("wait")
    time.sleep(60)
if os.path.exists("fail") and content("fail") == stage:
    os.remove("fail")
    write(outputs[-1] if len(outputs) > 1 else outputs[0] + ".stray", text)
    sys.exit("a stub that was told to fail")
for output in outputs:
    write(output, text)
'''


@cache
def stub_python() -> str:
    """Path of the program."""
    program = Path(tempfile.mkdtemp(prefix="stub")) / "python"
    program.write_text(_PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    return str(program)


def write_raw(folder: Path, n_videos: dict[str, int]) -> None:
    """Write the raw collections: so many videos each."""
    for dataset, number in n_videos.items():
        (folder / "raw" / dataset).mkdir(parents=True, exist_ok=True)
        for video in range(number):
            (folder / "raw" / dataset / f"{video}.mp4").write_text(f"video {video} of {dataset}")


def files_of(folder: Path) -> list[str]:
    """Files that the jobs of a run have made."""
    paths = [path for name in ("data", "results") for path in (folder / name).rglob("*") if path.is_file()]
    names = [str(path.relative_to(folder)) for path in paths if not path.name.startswith(".")]
    return sorted(name for name in names if not name.endswith((".partial", ".stray")))


def contents(folder: Path) -> dict[str, str]:
    """What stands in them."""
    return {path: (folder / path).read_text() for path in files_of(folder)}


def run_stubbed(folder: Path, config: dict, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder with stub stages."""
    (folder / "ran.txt").unlink(missing_ok=True)
    return start_snakemake(folder, *arguments, config=config, cores=8, python=stub_python())


def jobs_that_ran(folder: Path) -> list[list[str]]:
    """Outputs of each job of the last run, as they began."""
    ran = folder / "ran.txt"
    return [line.split() for line in ran.read_text().splitlines()] if ran.exists() else []
