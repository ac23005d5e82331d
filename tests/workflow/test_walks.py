"""Random walks through mishaps: after each, one call of the same command, and every file is that of a fresh run.

The stages are stubs (`helpers.stub_stages`), Snakemake, the rules and the planning are real. A walk is drawn from its
seed: edits of the config, of the raw folders and of the files that a run made, jobs that fail. After every edit

- the jobs that run are those of the dry run before, but for those that a dry run cannot know (a new index);
- no job runs that makes the files that were there and right;
- then a dry run has nothing to do, and all files are those of a fresh run with this config and these raw files.

`N_WALKS=1000 pytest -m "slow or not slow" tests/workflow/test_walks.py` takes more of them.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from helpers.small_run import planned
from helpers.stub_stages import CONFIG, TARGET, contents, files_of, jobs_that_ran, run_stubbed, write_raw

N_WALKS = int(os.environ.get("N_WALKS", "12"))
# of these, so many in `make test`; the others in `make test-slow`
N_QUICK = 5
N_EDITS = 4


class Walk:
    """A folder in which a run has ended, and what has been done to it."""

    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self.random = random.Random(seed)
        self.config = copy.deepcopy(CONFIG)
        self.configs = [copy.deepcopy(CONFIG)]
        self.story: list[str] = []
        self.n_raw = 100
        write_raw(folder, {"v": 5, "w": 3})

    # --- edits -------------------------------------------------------------------------------------------------

    def add_video(self, dataset: str) -> None:
        self.n_raw += 1
        (self.folder / f"raw/{dataset}/{self.n_raw}.mp4").write_text(f"video {self.n_raw}")

    def edit(self) -> None:
        """Do something to the folder or its config."""
        edits = (
            *(self.set_setting,) * 5,
            *(self.set_list,) * 3,
            *(self.go_back,) * 3,
            *(self.write_otherwise,) * 2,
            *(self.remove_files,) * 3,
            *(self.spoil_file,) * 2,
            self.touch,
            self.copy,
            self.forget,
            *(self.change_raw,) * 3,
            *(self.fail,) * 3,
        )
        for _ in range(self.random.choice((1, 1, 2))):
            edit = self.random.choice(edits)
            self.story.append(f"{edit.__name__}: {edit()}")

    def set_setting(self) -> str:
        block, key, values = self.random.choice(
            (
                ("frames", "n_frames", (8, 16, 32)),
                ("crops", "margin", (0.5, 0.6)),
                ("faces", "min_size_px", (40, 50)),
                ("settings", "learning_rate", (0.0001, 0.001)),
                ("settings", "epochs", (1, 2)),
                ("v", "n_shards", (1, 2, 3)),
                ("evaluate", "n_bootstrap", (100, 1000)),
            )
        )
        value = self.random.choice(values)
        experiment = self.config["experiments"]["e1"]
        target = {"settings": experiment["settings"], "v": self.config["datasets"]["v"]}.get(block)
        if target is None:
            target = self.config.setdefault(block, {})
        target[key] = value
        return f"{block}.{key} = {value}"

    def set_list(self) -> str:
        role = self.random.choice(("train", "test", "seeds"))
        values = {"train": (["v"], ["w"], ["v", "w"]), "test": (["v"], ["w"], ["v", "w"]), "seeds": ([0], [1], [0, 1])}
        self.config["experiments"]["e1"][role] = self.random.choice(values[role])
        return f"{role} = {self.config['experiments']['e1'][role]}"

    def go_back(self) -> str:
        place = self.random.randrange(len(self.configs))
        self.config = copy.deepcopy(self.configs[place])
        return f"to config {place}"

    def write_otherwise(self) -> str:
        root = self.random.choice(("raw/v", "raw/v/", "./raw/v", str(self.folder / "raw/v")))
        self.config["datasets"]["v"]["root"] = root
        self.config.setdefault("crops", {}).setdefault("margin", 0.5)
        if self.config["crops"]["margin"] == 0.5:
            self.config["crops"]["margin"] = self.random.choice((0.5, "0.5"))
        return root

    def made(self) -> list[Path]:
        return [self.folder / path for path in files_of(self.folder)]

    def remove_files(self) -> str:
        chosen = self.random.sample(self.made(), self.random.choice((1, 1, 3)))
        for path in chosen:
            path.unlink()
        return ", ".join(str(path.relative_to(self.folder)) for path in chosen)

    def spoil_file(self) -> str:
        path = self.random.choice(self.made())
        path.write_text("another content")
        return str(path.relative_to(self.folder))

    def touch(self) -> str:
        for path in self.made():
            if self.random.random() < 0.5:
                os.utime(path, (1e9 * self.random.uniform(1, 1.7),) * 2)
        return "half of the files"

    def copy(self) -> str:
        for name in ("data", "results"):
            shutil.copytree(self.folder / name, self.folder / "copied")  # without the times
            shutil.rmtree(self.folder / name)
            (self.folder / "copied").rename(self.folder / name)
            for path in (self.folder / name).rglob("*"):
                os.utime(path)
        return "data and results"

    def forget(self) -> str:
        shutil.rmtree(self.folder / ".snakemake")
        return ".snakemake"

    def change_raw(self) -> str:
        dataset = self.random.choice("vw")
        videos = sorted((self.folder / "raw" / dataset).iterdir())
        kind = self.random.choice(("add", "remove", "replace"))
        if kind == "add":
            self.add_video(dataset)
        elif kind == "remove" and len(videos) > 2:
            self.random.choice(videos).unlink()
        else:
            self.random.choice(videos).write_text(f"another video {self.random.random()}")
        done = self.call(f"index_videos_{dataset}")
        assert done.returncode == 0, self.told(done.stdout)
        return f"{kind} in {dataset}, indexed"

    def fail(self) -> str:
        stage = self.random.choice(("frames", "crops", "masks", "samples", "train", "predict", "evaluate"))
        self.set_setting()
        (self.folder / "fail").write_text(stage)
        failed = self.call(TARGET).returncode
        (self.folder / "fail").unlink(missing_ok=True)
        return f"{stage} after another setting ({'failed' if failed else 'did not run'})"

    # --- what must hold ----------------------------------------------------------------------------------------

    def call(self, *arguments: str):
        """Run Snakemake on the config of now."""
        return run_stubbed(self.folder, self.config, *arguments)

    def told(self, text: str = "") -> str:
        return "\n".join([*self.story, json.dumps(self.config), text[-3000:]])

    def check(self, fresh: dict[str, str]) -> None:
        """Give the command once, and look at what it did."""
        (self.folder / "config.yaml").write_text(json.dumps(self.config))
        before = contents(self.folder)
        plan = planned(self.folder, "--", TARGET)
        done = self.call(TARGET)
        assert done.returncode == 0, self.told(done.stdout)
        after = contents(self.folder)
        assert {path: after.get(path) for path in fresh} == fresh, self.told(done.stdout)
        ran = jobs_that_ran(self.folder)
        unplanned = [outputs[0] for outputs in ran if outputs[0] not in plan]
        assert not unplanned, self.told(done.stdout)
        needless = [
            outputs[0]
            for outputs in ran
            if all(before.get(path) == fresh.get(path, "") for path in outputs) and "/index/" not in outputs[0]
        ]
        assert not needless, self.told(f"{needless}\n{done.stdout}")
        assert planned(self.folder, "--", TARGET) == set(), self.told()
        self.configs.append(copy.deepcopy(self.config))


@pytest.fixture(scope="module")
def fresh_run(tmp_path_factory):
    """A function: the files of a fresh run with a walk's config and raw files."""
    known: dict[str, dict[str, str]] = {}

    def function(walk: Walk) -> dict[str, str]:
        raw = {str(path.relative_to(walk.folder)): path.read_text() for path in sorted(walk.folder.rglob("raw/*/*"))}
        config = copy.deepcopy(walk.config)
        config["datasets"]["v"]["root"] = "raw/v"
        key = json.dumps([config, raw], sort_keys=True)
        if key not in known:
            folder = tmp_path_factory.mktemp("fresh")
            for path, text in raw.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text)
            done = run_stubbed(folder, config, TARGET)
            assert done.returncode == 0, done.stdout[-3000:]
            known[key] = contents(folder)
        return known[key]

    return function


@pytest.mark.parametrize(
    "seed", [seed if seed < N_QUICK else pytest.param(seed, marks=pytest.mark.slow) for seed in range(N_WALKS)]
)
def test_after_any_mishap_one_call_makes_what_a_fresh_run_makes(seed, tmp_path, fresh_run):
    walk = Walk(tmp_path, seed)
    walk.check(fresh_run(walk))
    for _ in range(N_EDITS):
        walk.edit()
        walk.check(fresh_run(walk))
