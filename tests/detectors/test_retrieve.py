"""Image retrieval: distances by hand, and the crops of a store that are like an image."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.loader import to_tensor
from detectors.data.samples import Samples
from detectors.retrieve import main, nearest, query_image, retrieve, store_vectors
from detectors.scoring.image_vectors import ImageVectors, corner_descriptors, distances
from helpers.programs import run_program
from helpers.tiny_store import make_store
from preprocess.running.cli import UserError
from preprocess.store.image_codecs import encode_png
from preprocess.synthetic import render_portrait

WINDOW = CropWindow(margin=0.0, size=48)
# random weights tell pictures apart too
NETWORK = {"features": "resnet10t", "pretrained": False}


@pytest.fixture
def store(tmp_path):
    """Samples table and folder of a store, and one of its crops as a file."""
    torch.manual_seed(0)
    samples, crops = make_store(tmp_path / "data")
    picture = CropStore(crops, Samples.read([samples]), WINDOW).read(7)
    (tmp_path / "query.png").write_bytes(encode_png(picture))
    return samples, tmp_path / "data", tmp_path / "query.png"


def test_distances_are_those_of_paper_and_pencil():
    query, others = np.array([3.0, 4.0]), np.array([[3.0, 4.0], [6.0, 8.0], [-4.0, 3.0], [0.0, 0.0]])
    assert distances(query, others, "cosine") == pytest.approx([0, 0, 1, 1])
    assert distances(query, others, "euclidean") == pytest.approx([0, 5, np.sqrt(50), 5])
    with pytest.raises(UserError, match="found 'manhattan'; allowed: cosine, euclidean"):
        distances(query, others, "manhattan")


def facts(videos):
    names = ("sample_id", "dataset", "frame_index", "track_id", "label", "method", "split")
    return pd.DataFrame({"video_id": videos} | dict.fromkeys(names, 0))


def test_the_nearest_come_first_and_each_video_once_if_wanted():
    vectors = np.array([[0.0, 5.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    found = nearest(np.zeros(2), vectors, facts(["a", "b", "b", "c"]), 3, "euclidean")
    assert found.index.tolist() == [1, 2, 3]
    assert found["rank"].tolist() == [1, 2, 3]
    assert found["distance"].tolist() == [1, 1, 2]
    once = nearest(np.zeros(2), vectors, facts(["a", "b", "b", "c"]), 3, "euclidean", one_per_video=True)
    assert once["video_id"].tolist() == ["b", "c", "a"]


def test_corners_of_a_square_are_found_and_a_blank_has_none():
    grey = np.zeros((64, 64), np.uint8)
    assert corner_descriptors(grey, 10).shape == (0, 128)
    grey[20:44, 20:44] = 255
    descriptors = corner_descriptors(grey, 10)
    assert descriptors.shape == (4, 128)
    assert np.allclose(np.linalg.norm(descriptors, axis=1), 1)
    assert ImageVectors("harris")(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).tolist() == [[0] * 256]


@pytest.mark.parametrize("features", ["resnet10t", "sift", "harris"])
def test_pictures_have_one_vector_each_whatever_the_batch(features):
    torch.manual_seed(0)
    vectors = ImageVectors(features, pretrained=False)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = vectors(images)
    assert together.shape[0] == 3
    assert together.dtype == np.float32
    assert np.allclose(together[1], vectors(images[1:2])[0], atol=1e-4)
    assert not np.allclose(together[0], together[1])


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_crop_of_the_store_finds_itself(store, tmp_path, distance):
    _, data, query = store
    where = {"data": data, "datasets": ["tiny"], "margin": WINDOW.margin, "size": WINDOW.size}
    wanted = {"n": 5, "distance": distance, "whole": True, "figure": tmp_path / "similar", "crops": tmp_path / "found"}
    found = retrieve(query, **where, **wanted, **NETWORK)
    assert found.index[0] == 7
    assert found["distance"].iloc[0] == pytest.approx(0, abs=1e-4)
    assert found["distance"].is_monotonic_increasing
    assert found["distance"].iloc[1] > 1e-3
    assert cv2.imread(str(tmp_path / "similar.png")).shape[1] > 500
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [f"00{rank}.png" for rank in range(1, 6)]
    # the whole stored crop, with its margin
    assert cv2.imread(str(tmp_path / "found/001.png")).shape == (80, 80, 3)


def test_vectors_of_a_store_are_kept_until_something_changes(store):
    samples, data, _ = store
    calls = []
    vectors = ImageVectors("sift")
    counted = lambda images: calls.append(len(images)) or vectors(images)  # noqa: E731
    counted.features = "sift"
    first = store_vectors(samples, data, counted, WINDOW, made_with="a")
    n_calls = len(calls)
    assert np.array_equal(store_vectors(samples, data, counted, WINDOW, made_with="a"), first)
    assert len(calls) == n_calls
    for changed in ({"window": CropWindow(0.1, 48), "made_with": "a"}, {"window": WINDOW, "made_with": "b"}):
        store_vectors(samples, data, counted, **changed)
        assert len(calls) > n_calls
        n_calls = len(calls)


def test_an_image_without_a_face_is_compared_whole(store, caplog):
    """The search for a face loads MTCNN: 5 s."""
    caplog.set_level("INFO")
    query = query_image(store[2], WINDOW, whole=False, device="cpu", workers=1)
    assert "it is compared whole" in caplog.text
    whole = query_image(store[2], WINDOW, whole=True, device="cpu", workers=1)
    assert np.array_equal(query, whole)
    assert np.array_equal(to_tensor(whole), to_tensor(cv2.imread(str(store[2]))[..., ::-1]))


def test_of_several_faces_the_largest_is_compared(tmp_path):
    """A large face, and beside it the same at half the size, whose skin is blue."""
    face, _ = render_portrait(np.random.default_rng(3), 270, 360)
    picture = np.full((270, 540, 3), 120, np.uint8)
    picture[:135, :180] = cv2.resize(face, (180, 135), interpolation=cv2.INTER_AREA)[..., ::-1]
    picture[:, 180:] = face
    (tmp_path / "two.png").write_bytes(encode_png(picture))
    query = query_image(tmp_path / "two.png", WINDOW, whole=False, device="cpu", workers=1).astype(float)
    assert query.shape == (48, 48, 3)
    assert query[..., 0].mean() > query[..., 2].mean() + 10


def test_what_cannot_be_read_is_named(store, tmp_path):
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(UserError, match=r"no.png cannot be read as an image"):
        query_image(tmp_path / "no.png", WINDOW, whole=True, device="cpu", workers=1)
    with pytest.raises(UserError, match=r"samples/absent.parquet"):
        retrieve(store[2], data=store[1], datasets=["absent"], whole=True, **NETWORK)


def test_command_line(store, tmp_path, capsys):
    options = ["--datasets", "tiny", "--data", store[1], "--features", "sift", "--whole", "--size", 48]
    run_program(main, store[2], *options, "-n", 3, "--csv", tmp_path / "t.csv")
    assert "distance" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "t.csv")["rank"].tolist() == [1, 2, 3]


def test_the_command_asks_for_ten_crops_by_imagenets_weights_and_says_what_they_are(monkeypatch, capsys):
    asked = []

    def found(**options) -> pd.DataFrame:
        asked.append(options)
        return facts(["a", "b", "c"]).assign(label=[0, 1, None])

    monkeypatch.setattr("detectors.retrieve.retrieve", found)
    run_program(main, "q.png", "--datasets", "d", "--device", "cpu")
    header, *lines = capsys.readouterr().out.splitlines()
    assert "sample_id" not in header
    assert [set(line.split()) & {"real", "fake", "unknown"} for line in lines] == [{"real"}, {"fake"}, {"unknown"}]
    run_program(main, "q.png", "--datasets", "d", "--device", "cpu", "--weights", "w.pth", "-n", 1)
    assert [options["pretrained"] for options in asked] == [True, "w.pth"]
    assert [options["n"] for options in asked] == [10, 1]
    usual = {"features": "resnet50", "distance": "cosine", "margin": 0.15, "size": 224, "one_per_video": False}
    assert usual.items() <= asked[0].items()
    with pytest.raises(UserError, match="-n: found 0; the smallest allowed value is 1"):
        run_program(main, "q.png", "--datasets", "d", "-n", 0)
