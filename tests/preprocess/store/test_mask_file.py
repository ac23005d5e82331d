import numpy as np
import pytest

from preprocess.running.cli import UserError
from preprocess.store.hdf5 import create_h5
from preprocess.store.image_codecs import encode_mask
from preprocess.store.mask_file import CropMasks, MaskReader, MaskRows, MaskSource, write_masks
from preprocess.store.origin import Origin

ORIGIN = Origin("d", "masks", "{}", 1, "0000")


def test_masks_come_back_crop_by_crop(tmp_path):
    hull, manipulated = np.zeros((2, 30, 41), np.uint8)
    hull[3:9, 5:40], manipulated[1:4, 7:11] = 255, 255
    masks = [
        CropMasks(),
        CropMasks(encode_mask(hull), encode_mask(manipulated), MaskSource.DIFFERENCE),
        CropMasks(encode_mask(hull), b"", MaskSource.UNKNOWN),
    ]
    write_masks(tmp_path / "masks.h5", masks, ORIGIN)
    with MaskReader(tmp_path / "masks.h5") as reader:
        assert len(reader) == 3
        assert reader.source.tolist() == ["unknown", "difference", "unknown"]
        assert (reader.hull(0), reader.manipulation(0), reader.manipulation(2)) == (None, None, None)
        assert np.array_equal(reader.hull(1), hull)
        assert np.array_equal(reader.hull(2), hull)
        assert np.array_equal(reader.manipulation(1), manipulated)


def test_rows_are_read_in_any_order_and_others_are_refused(tmp_path):
    manipulated = np.zeros((30, 41), np.uint8)
    manipulated[1:4, 7:11] = 255
    masks = [CropMasks(), CropMasks(b"", encode_mask(manipulated), MaskSource.DIFFERENCE)]
    write_masks(tmp_path / "masks.h5", masks, ORIGIN)
    rows = MaskRows(tmp_path / "masks.h5")
    assert np.array_equal(rows.read(1), manipulated)
    assert rows.read(0) is None
    for row in (-1, 2):
        with pytest.raises(UserError, match=rf"masks\.h5 has no mask {row}, only 2: run make_masks"):
            rows.read(row)
    rows.close()


def test_what_is_no_masks_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.h5.*make_masks"):
        MaskReader(tmp_path / "absent.h5")
    with create_h5(tmp_path / "crops.h5", ORIGIN) as file:
        file["x"] = [1]
    with pytest.raises(UserError, match=r"crops\.h5 has no 'hull'.*make_masks"):
        MaskReader(tmp_path / "crops.h5")
