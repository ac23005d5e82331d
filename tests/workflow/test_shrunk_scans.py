"""A scan of a collection that shrank leaves what was made of the last index as it is, until one key accepts it."""

from __future__ import annotations

from helpers.small_run import planned, snakemake, start_snakemake
from helpers.tiny_videos import write_video
from preprocess.store.tables import read_rows

LISTS = ("data/index/mine/0000.parquet", "data/index/mine/0001.parquet")


def test_a_refused_scan_leaves_the_lists_and_one_key_accepts_it(tmp_path):
    dataset = {"layout": "videos", "root": "raw", "n_shards": 2, "max_lost_share": 0.9}
    dataset["landmarks"] = {"predictor": "none"}
    for name in ("real/a", "real/b", "real/c", "fake/d", "fake/e"):
        write_video(tmp_path / "raw" / f"{name}.mp4", n_frames=2)
    snakemake(tmp_path, "index_videos_mine", config={"datasets": {"mine": dataset}})
    snakemake(tmp_path, *LISTS)
    table = tmp_path / "data/index/mine.parquet"
    files = [*(tmp_path / path for path in LISTS), table]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    (tmp_path / "raw/fake").rename(tmp_path / "away")
    for _ in range(2):
        refused = start_snakemake(tmp_path, "index_videos_mine")
        assert refused.returncode != 0
        assert "no fake video is left" in refused.stdout
        assert "the folder raw/fake is gone: 2 videos lay in it" in refused.stdout
        assert "datasets.mine.accept_smaller: 3 in config.yaml" in refused.stdout
        assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before
        assert planned(tmp_path, *LISTS) == set()
    smaller = {"datasets": {"mine": dataset | {"accept_smaller": 3}}}
    snakemake(tmp_path, "index_videos_mine", config=smaller)
    assert [row["label"] for row in read_rows(table)] == [0, 0, 0]
    # the key is no reason to scan again
    snakemake(tmp_path, *LISTS)
    assert planned(tmp_path, *LISTS, "data/index/mine.parquet") == set()
    (tmp_path / "config.yaml").write_text((tmp_path / "config.yaml").read_text().replace("smaller: 3", "smaller: 2"))
    assert planned(tmp_path, *LISTS, "data/index/mine.parquet") == set()
