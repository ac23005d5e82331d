"""Samples as columns, the split for training, crop windows, pairs and their determinism."""

from __future__ import annotations

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import Dataset, default_collate

from detectors.data.crop_window import CropWindow, Geometry
from detectors.data.loader import EpochSampler, make_loader, to_tensor
from detectors.data.pairs import RealFakePairs
from detectors.data.samples import Samples, training_methods
from detectors.data.scoring_set import FaceCrops
from detectors.data.split import draw_rows, split_for_training
from helpers.tiny_store import BOX, CROP_SIZE, CROP_X, CROP_Y, make_store
from preprocess.running.cli import UserError
from preprocess.store.crop_file import CropReader, CropRows
from preprocess.store.origin import Origin
from preprocess.store.schemas import SAMPLES
from preprocess.store.tables import read_rows, write_table

SHIFT = np.array([[1, 0, CROP_X], [0, 1, CROP_Y]], np.float64)


def pattern(height: int, width: int) -> np.ndarray:
    """Every pixel differs: red counts columns, green rows."""
    rows, columns = np.indices((height, width))
    return np.stack([columns, rows, np.full_like(rows, 99)], axis=-1).astype(np.uint8)


def pairs_of(root, seed=0, augmentation="ucf"):
    path, crops = make_store(root)
    samples = Samples.read([path])
    return RealFakePairs(crops, samples, training_methods(samples), CropWindow(0.1, 32), seed, augmentation)


def test_samples_hold_the_table_column_by_column(tmp_path):
    first, _ = make_store(tmp_path, "one")
    second, _ = make_store(tmp_path, "two", n_groups=2)
    samples = Samples.read([first, second])
    rows = read_rows(first) + read_rows(second)
    assert len(samples) == len(rows)
    for name in ("dataset", "shard", "video_id", "method", "split", "source_group"):
        column = getattr(samples, name)
        assert [column.names[code] for code in column.codes] == [row[name] for row in rows]
    assert samples.crop_row.tolist() == [row["crop_row"] for row in rows]
    assert samples.label.tolist() == [row["label"] for row in rows]
    assert samples.crops_file(len(rows) - 1) == f"two/{rows[-1]['shard']}.h5"
    assert training_methods(samples) == ["real", "columns", "stripes"]
    picked = samples[samples.split.equals("test")]
    assert picked.crop_row.tolist() == [row["crop_row"] for row in rows if row["split"] == "test"]
    assert not samples.split.equals("no such split").any()


def test_no_table_and_wrong_table_say_so(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.parquet"):
        Samples.read([tmp_path / "nowhere.parquet"])
    write_table(tmp_path / "x.parquet", [{"a": 1}], pa.schema([("a", pa.int32())]), Origin("x", "x", "{}", 1))
    with pytest.raises(UserError, match=r"no column dataset, .*crop_row"):
        Samples.read([tmp_path / "x.parquet"])


def test_val_split_is_used_where_there_is_one(tmp_path):
    samples = Samples.read([make_store(tmp_path)[0]])
    train, val = split_for_training(samples, 0.5)
    assert np.array_equal(train, np.flatnonzero(samples.split.equals("train")))
    assert np.array_equal(val, np.flatnonzero(samples.split.equals("val")))


def test_held_out_groups_are_whole_stable_and_never_trained_on(tmp_path):
    path, _ = make_store(tmp_path, splits=("train", "test"), n_groups=10)
    samples = Samples.read([path])
    train, val = split_for_training(samples, 0.2)
    groups = samples.source_group.codes
    assert len(set(groups[val])) == 2
    assert not set(groups[train]) & set(groups[val])
    assert len(train) + len(val) == samples.split.equals("train").sum()
    order = np.random.default_rng(0).permutation(len(samples))
    train_again, val_again = split_for_training(samples[order], 0.2)
    assert set(order[val_again]) == set(val)
    assert set(order[train_again]) == set(train)
    assert len(split_for_training(samples, 0)[1]) == 0


def test_held_out_share_holds_each_class_when_sources_are_unknown(tmp_path):
    path, _ = make_store(tmp_path, splits=("train",), n_groups=8)
    rows = [row | {"source_group": None} for row in read_rows(path)]
    rows[0]["label"] = None
    write_table(path, rows, SAMPLES, Origin("tiny", "samples", "{}", 1))
    samples = Samples.read([path])
    assert samples.source_group.text(0) is None
    assert samples.video_id.text(0) == rows[0]["video_id"]
    assert len(np.unique(samples.groups())) == len({row["video_id"] for row in rows}), "each video is a group"
    train, val = split_for_training(samples, 0.1)
    assert set(samples.label[val]) == {0, 1}
    assert not set(samples.video_id.codes[train]) & set(samples.video_id.codes[val])
    assert 0 not in train
    assert 0 not in val


def test_window_cuts_the_pixels_around_the_box():
    image = pattern(*CROP_SIZE)
    cut = CropWindow(margin=0.25, size=60).cut(image, BOX, SHIFT)
    # 40 px box at (20, 20) of the crop with 10 px on each side: no resampling at all
    assert np.array_equal(cut, image[10:70, 10:70])
    flipped = CropWindow(margin=0.25, size=60).cut(image, BOX, SHIFT, geometry=Geometry(flip=True))
    assert np.array_equal(flipped, cut[:, ::-1])
    # half as large: every pixel is the mean of four
    small = CropWindow(margin=0.25, size=30).cut(image, BOX, SHIFT)
    assert np.allclose(small, cut.reshape(30, 2, 30, 2, 3).mean(axis=(1, 3)), atol=0.51)


def test_window_is_black_beyond_the_crop():
    image = np.full((*CROP_SIZE, 3), 200, np.uint8)
    cut = CropWindow(margin=1.0, size=120).cut(image, BOX, SHIFT)
    expected = np.zeros((120, 120, 3), np.uint8)
    expected[20:100, 20:100] = 200
    assert np.array_equal(cut, expected)


def test_window_is_square_and_follows_a_reduced_crop():
    full = cv2.resize(pattern(8, 8), (160, 160), interpolation=cv2.INTER_NEAREST)
    half = cv2.resize(full, (80, 80), interpolation=cv2.INTER_AREA)
    reduced = np.array([[2, 0, 100.5], [0, 2, 50.5]])
    box = (110, 60, 150, 140)  # 40 x 80 px: the window is 80 x 80 px from frame point (90, 60)
    cut = CropWindow(margin=0.0, size=40).cut(half, box, reduced)
    assert np.array_equal(cut[:, 5:], half[5:45, 0:35])
    assert not cut[:, :5].any()


def test_rotation_turns_about_the_centre_of_the_window():
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8), (0, 0), 2)
    window = CropWindow(margin=0.0, size=40)
    straight = window.cut(image, BOX, SHIFT)
    # the window turns clockwise, so what it shows turns counter-clockwise
    turned = [window.cut(image, BOX, SHIFT, geometry=Geometry(rotation_degrees=angle)) for angle in (90, 1e-6)]
    assert np.abs(turned[0].astype(int) - np.rot90(straight)).max() <= 1
    assert np.abs(turned[1].astype(int) - straight).max() <= 1


@pytest.mark.parametrize("side", [30, 40, 41, 57, 80, 97])
def test_windows_are_resampled_by_area_or_linearly(side):
    image = np.random.default_rng(side).integers(0, 256, (120, 120, 3), np.uint8)
    cut = CropWindow(margin=0.0, size=40).cut(image, (10, 10, 10 + side, 10 + side), np.eye(2, 3))
    method = cv2.INTER_AREA if side > 40 else cv2.INTER_LINEAR
    expected = cv2.resize(image[10 : 10 + side, 10 : 10 + side], (40, 40), interpolation=method)
    difference = np.abs(cut.astype(int) - expected)
    assert difference.max() <= 1, "rounding"
    assert difference.mean() < 0.01


def test_tensors_hold_the_planes_of_an_image():
    image = pattern(5, 7)
    for view in (image, image[:, ::-1], image[1:4, 2:6]):
        assert np.array_equal(to_tensor(view).numpy(), view.transpose(2, 0, 1))


def test_rows_are_read_as_the_whole_file_reads_them(tmp_path):
    _, crops = make_store(tmp_path)
    path = crops / "tiny" / "0001.h5"
    rows = CropRows(path)
    with CropReader(path) as whole:
        for row in range(len(whole)):
            image, box, crop_to_frame = rows.read(row)
            assert np.array_equal(image, whole.image(row))
            assert np.array_equal(box, whole.box[row])
            assert np.array_equal(crop_to_frame, whole.crop_to_frame[row])
        with pytest.raises(UserError, match="collect the samples again"):
            rows.read(len(whole))


def test_face_crops_come_in_order_with_any_number_of_workers(tmp_path):
    path, crops = make_store(tmp_path)
    samples = Samples.read([path])
    faces = FaceCrops(crops, samples, CropWindow(0.0, 40))
    faces[0]  # leaves a file open in this process, which the workers must not use
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (0, 0), 5)  # and threads that do not survive a fork
    batches = list(make_loader(faces, batch_size=7, workers=2))
    rows = torch.cat([batch["row"] for batch in batches])
    assert rows.tolist() == list(range(len(samples)))
    images = torch.cat([batch["image"] for batch in batches])
    for row in (0, 9, len(samples) - 1):
        with CropReader(crops / samples.crops_file(row)) as reader:
            expected = reader.image(samples.crop_row[row])[20:60, 20:60]
        assert np.array_equal(images[row].numpy().transpose(1, 2, 0), expected)


def test_batches_hold_the_items(tmp_path):
    path, crops = make_store(tmp_path)
    samples = Samples.read([path])
    faces = FaceCrops(crops, samples, CropWindow(0.1, 32))
    for dataset, asked in ((faces, [3, 0, 7]), (pairs_of(tmp_path), [(2, 5), (0, 5), (2, 1)])):
        batch, joined = dataset.__getitems__(asked), default_collate([dataset[one] for one in asked])
        assert batch.keys() == joined.keys()
        for key, values in joined.items():
            assert batch[key].dtype == values.dtype
            assert torch.equal(batch[key], values)


def test_images_of_a_batch_are_sent_without_copying_them(tmp_path):
    pairs = pairs_of(tmp_path)
    (batch, *_) = make_loader(pairs, batch_size=4, workers=1, sampler=EpochSampler(len(pairs), None, 0))
    assert batch["fake"].is_shared()
    assert batch["fake"].untyped_storage().data_ptr() == batch["real"].untyped_storage().data_ptr()


class Squares(Dataset):
    """A data set that knows nothing of batches."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict:
        return {"square": index * index, "row": torch.tensor([index])}


def test_items_of_a_data_set_without_batches_are_joined():
    first, second = make_loader(Squares(), batch_size=3, workers=0)
    assert first["square"].tolist() == [0, 1, 4]
    assert second["row"].tolist() == [[3], [4]]


def test_missing_crops_file_is_named(tmp_path):
    path, crops = make_store(tmp_path)
    (crops / "tiny" / "0000.h5").unlink()
    with pytest.raises(UserError, match=r"tiny/0000\.h5"):
        FaceCrops(crops, Samples.read([path]), CropWindow(0.0, 40))[0]


def test_pairs_join_each_fake_with_changing_reals(tmp_path):
    path, crops = make_store(tmp_path)
    samples = Samples.read([path])
    window = CropWindow(0.0, 40)
    pairs = RealFakePairs(crops, samples, ["real", "columns", "stripes"], window, 0, augmentation="none")
    faces = FaceCrops(crops, samples, window)
    fakes, reals = np.flatnonzero(samples.label == 1), np.flatnonzero(samples.label == 0)
    assert len(pairs) == len(fakes)
    by_bytes = {faces[row]["image"].numpy().tobytes(): row for row in reals}
    partners = {}
    for epoch in range(2):
        for index, row in enumerate(fakes):
            item = pairs[epoch, index]
            assert torch.equal(item["fake"], faces[row]["image"])
            method = samples.method.names[samples.method.codes[row]]
            assert item["method"] == {"columns": 1, "stripes": 2}[method]
            partners[epoch, index] = by_bytes[item["real"].numpy().tobytes()]
    assert len(set(partners.values())) > len(reals) / 2
    assert [partners[0, index] for index in range(len(fakes))] != [partners[1, index] for index in range(len(fakes))]


def test_batches_are_the_same_with_any_number_of_workers(tmp_path):
    def read(workers, seed=0):
        pairs = pairs_of(tmp_path, seed)
        sampler = EpochSampler(len(pairs), 11, seed)
        sampler.set_epoch(3)
        return list(make_loader(pairs, batch_size=4, workers=workers, sampler=sampler))

    alone, helped, other = read(0), read(2), read(0, seed=1)
    assert [len(batch["method"]) for batch in alone] == [4, 4, 3]
    for one, two in zip(alone, helped, strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(alone[0]["fake"], other[0]["fake"])


def test_one_class_cannot_be_paired(tmp_path):
    path, crops = make_store(tmp_path, methods=("real",))
    with pytest.raises(UserError, match="0 fake crops of tiny"):
        RealFakePairs(crops, Samples.read([path]), ["real"], CropWindow(0.1, 32), 0, True)


def test_epochs_draw_anew_without_repeats():
    sampler = EpochSampler(50, 20, seed=0)
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert epochs[0] == epochs[2] != epochs[1]
    assert len({index for _, index in epochs[1]}) == len(sampler) == 20
    assert {epoch for epoch, _ in epochs[1]} == {1}
    assert len(EpochSampler(5, None, 0)) == len(EpochSampler(5, 9, 0)) == 5


def test_drawn_rows_are_a_sorted_subset():
    rows = np.arange(100, 200)
    one_by_one = np.arange(100)
    drawn = draw_rows(rows, one_by_one, 10, seed=1)
    assert len(set(drawn)) == 10
    assert set(drawn) <= set(rows)
    assert np.array_equal(drawn, np.sort(drawn))
    assert np.array_equal(drawn, draw_rows(rows, one_by_one, 10, seed=1))
    assert not np.array_equal(drawn, draw_rows(rows, one_by_one, 10, seed=2))
    assert draw_rows(rows, one_by_one, None, 1) is rows
    assert draw_rows(rows[:10], one_by_one[:10], 4, seed=1).tolist() == [101, 102, 104, 108], "as it was"


def test_rows_of_an_item_are_drawn_together():
    items = np.repeat([2, 0, 1, 3], [4, 4, 4, 4])[np.random.default_rng(0).permutation(16)]
    drawn = draw_rows(np.arange(16), items, 9, seed=0)
    assert len(drawn) == 8
    assert len(np.unique(items[drawn])) == 2
    assert len(draw_rows(np.arange(16), items, 3, seed=0)) == 4, "one item at least"
