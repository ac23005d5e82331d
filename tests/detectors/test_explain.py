"""Examples are chosen by confidence, features are placed and judged, and every figure is drawn or says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from detectors.data.crop_window import CropWindow
from detectors.data.samples import Samples
from detectors.explain import Faces, explain, heat_over, show_gradcam, show_location
from detectors.families.classifier import Classifier, ClassifierSettings
from detectors.families.ucf import Ucf, UcfSettings
from detectors.figures.examples import FAKE, REAL, TestSet, most_confident, named, read_test_set
from detectors.figures.features import Features, draw_faces, draw_features, neighbour_accuracy, read_features
from detectors.interface.detector import Detector
from helpers.short_run import predict_on_cpu, save_untrained
from helpers.tiny_masks import add_landmarks_and_masks
from helpers.tiny_store import make_store
from preprocess.running.cli import UserError
from preprocess.store.origin import Origin
from preprocess.store.schemas import PREDICTIONS
from preprocess.store.tables import read_table, write_table

SMALL = {"backbone": "test_resnet", "pretrained": False, "size": 64}
FACTS = {"experiment": "e", "seed": 3, "thresholds": {"frame": 0.5, "video": 0.5}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with masks, which are unknown for the method `columns`."""
    root = tmp_path_factory.mktemp("store")
    make_store(root, splits=("test",), n_groups=3)
    add_landmarks_and_masks(root, unknown=("columns",))
    return root


@pytest.fixture(scope="module")
def ucf():
    torch.manual_seed(0)
    return Ucf(UcfSettings(**SMALL, channels=16), ["real", "stripes", "columns"]).eval()


@pytest.fixture(scope="module")
def tested(store):
    samples = read_table(store / "samples/tiny.parquet").to_pylist()
    scores = np.linspace(0, 1, len(samples))
    ids = np.array([row["sample_id"] for row in samples], object)
    return TestSet("tiny", Samples.read([store / "samples/tiny.parquet"]), ids, scores)


def test_the_most_confident_faces_are_the_farthest_on_the_side_of_their_verdict(tested):
    chosen = most_confident(tested, 0.5, 2)
    assert list(chosen) == [(FAKE, FAKE), (FAKE, REAL), (REAL, REAL), (REAL, FAKE)]
    label = tested.samples.label
    for (of_label, called), examples in chosen.items():
        rows = np.flatnonzero((label == of_label) & ((tested.scores >= 0.5) == called))
        best = max(rows, key=lambda row: tested.scores[row] * (1 if called else -1))
        assert examples[0].row == best
        assert [example.called for example in examples] == [called] * len(examples)
        videos = tested.samples.video_id.codes[[example.row for example in examples]]
        assert len(set(videos)) == len(videos), "one of a video"


def test_there_may_be_none_of_a_kind(tested):
    chosen = most_confident(tested, 0.0, 1)
    assert not chosen[FAKE, REAL]
    assert not chosen[REAL, REAL]


def test_samples_are_found_by_their_ids_in_the_order_asked_for(tested):
    ids = [tested.sample_ids[5], tested.sample_ids[2]]
    assert [example.row for example in named([tested], ids, 0.5)] == [5, 2]
    with pytest.raises(UserError, match=r"no sample 'x#0#0' .* tiny \(18\)"):
        named([tested], ["x#0#0"], 0.5)


def test_a_test_set_is_read_from_its_predictions(store, ucf, tmp_path):
    save_untrained(tmp_path, "ucf", ucf, train="tiny")
    samples = store / "samples/tiny.parquet"
    predict_on_cpu(tmp_path, samples)
    tested = read_test_set(samples, tmp_path / "predictions/tiny.parquet")
    assert tested.name == "tiny"
    crops = torch.stack([torch.from_numpy(Faces(tested, store, ucf).image(row)) for row in (0, 7)])
    with torch.inference_mode():
        scores = ucf.score(crops.permute(0, 3, 1, 2)).numpy()
    assert scores == pytest.approx(tested.scores[[0, 7]], abs=1e-6), "rows and scores belong together"


def test_other_samples_than_those_predicted_are_refused(store, tmp_path):
    other, _ = make_store(tmp_path, "other", splits=("test",), n_groups=1)
    predicted = read_table(store / "samples/tiny.parquet")
    predicted = predicted.set_column(predicted.schema.get_field_index("score"), "score", predicted["label"])
    write_table(tmp_path / "p.parquet", predicted, PREDICTIONS, Origin("tiny", "predict", "{}", 1))
    with pytest.raises(UserError, match="holds the sample 'tiny/"):
        read_test_set(other, tmp_path / "p.parquet")


def test_as_many_faces_are_drawn_of_each_method_and_always_the_same(tested):
    rows = draw_faces(tested, 6)
    methods = tested.samples.method.codes[rows]
    assert np.bincount(methods).tolist() == [2, 2, 2]
    assert rows.tolist() == draw_faces(tested, 6).tolist() == sorted(set(rows.tolist()))
    assert len(draw_faces(tested, 1000)) == 18


def test_neighbours_of_other_groups_judge_the_features():
    rng = np.random.default_rng(0)
    classes = np.array(["a", "b"] * 40)
    groups = np.repeat([f"g{number}" for number in range(20)], 4)
    told = rng.normal(size=(80, 4)) + 6 * (classes == "b")[:, None]
    assert neighbour_accuracy(told, classes, groups) == 1
    # every face lies by those of its own group, which all have one class: that tells nothing of the others
    by_group = np.repeat(rng.normal(size=(20, 4)) * 10, 4, axis=0) + rng.normal(size=(80, 4)) / 10
    of_group = np.repeat(rng.permutation(np.array(["a", "b"] * 10)), 4)
    assert neighbour_accuracy(by_group, of_group, groups) < 0.8
    assert np.isnan(neighbour_accuracy(told, np.full(80, "a"), groups))
    assert np.isnan(neighbour_accuracy(told, classes, np.full(80, "g")))


def test_ucf_has_a_row_of_panels_for_each_kind_of_features(store, ucf, tested):
    features = read_features(ucf, [tested], store, count=18, device="cpu", workers=0)
    assert {name: values.shape for name, values in features.vectors.items()} == {
        "content": (18, 16),
        "specific": (18, 8),
        "common": (18, 8),
    }
    assert features.faces["method"].value_counts().to_dict() == {"real": 6, "stripes": 6, "columns": 6}
    assert features.faces["group"].nunique() == 3
    figure = draw_features(features, "e")
    assert len(figure.axes) == 9
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == [f"{name} features" for name in features.vectors]
    assert [len(axes.collections) for axes in figure.axes[:3]] == [2, 3, 1]
    points = np.concatenate([part.get_offsets() for part in figure.axes[0].collections])
    assert points.shape == (18, 2)


def test_heat_is_drawn_where_it_is_and_leaves_the_rest():
    image = np.full((20, 20, 3), 90, np.uint8)
    heat = np.zeros((20, 20))
    heat[2:6, 2:6] = 1
    drawn = heat_over(image, heat)
    assert (drawn[10:] == image[10:]).all()
    assert (drawn[3, 3] != image[3, 3]).any()
    assert (drawn[2, 2] == 255).all(), "the outline"


class Brightness(Detector):
    """Takes bright faces for fake; nothing speaks for real."""

    def __init__(self):
        super().__init__(ClassifierSettings(**SMALL), ["real", "x"])
        self.maps = torch.nn.AvgPool2d(2)

    def fit(self, training):
        raise NotImplementedError

    def score(self, images):
        return torch.sigmoid(self.evidence(images))

    def evidence(self, images):
        return self.maps(images.float()).mean(dim=(1, 2, 3))


def test_heat_is_what_speaks_for_the_verdict(store, tested):
    detector = Brightness()
    (example,) = named([tested], [tested.sample_ids[0]], 0.5)
    faces = Faces(tested, store, detector)
    shown = {
        called: show_gradcam(detector, detector.maps, "cpu", faces, replace(example, called=called))
        for called in (FAKE, REAL)
    }
    crop, heat = shown[FAKE]
    assert (crop != heat).any()
    crop, heat = shown[REAL]
    assert np.array_equal(crop, heat)


class LowerHalf(Detector):
    """Takes the lower half of every face for manipulated."""

    locates = True

    def __init__(self):
        super().__init__(ClassifierSettings(**SMALL), ["real", "x"])

    def fit(self, training):
        raise NotImplementedError

    def score(self, images):
        return torch.full((len(images),), 0.5)

    def location_maps(self, images):
        maps = torch.zeros(len(images), 4, 4)
        maps[:, 2:] = 1
        return maps


def test_a_location_stands_beside_the_true_mask(store, tested):
    detector = LowerHalf()
    assert detector.window == CropWindow(margin=0.15, size=64)
    faces = Faces(tested, store, detector)
    for method, middle in (("stripes", 255), ("real", 0), ("columns", 153)):
        row = int(np.flatnonzero(tested.samples.method.equals(method))[0])
        (example,) = named([tested], [tested.sample_ids[row]], 0.5)
        crop, located, truth = show_location(detector, "cpu", faces, example)
        assert crop.shape == located.shape == truth.shape
        assert located[-1, -1, 0] == 255
        assert located[0, 0, 0] == 0
        assert truth[75, 75, 0] == middle, "white, black, or grey where it is unknown"
        assert truth[2, 2, 0] == (153 if method == "columns" else 0)


@pytest.fixture(scope="module")
def drawn(store, ucf, tested, tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)  # of nothing that matters
        explain(ucf, FACTS, [tested], store, folder, n_faces=18)
    return folders


def test_all_figures_are_drawn_the_same_each_time(drawn):
    names = {f"{name}.{suffix}" for name in ("gradcam", "locations", "features") for suffix in ("png", "svg")}
    one, other = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in drawn)
    assert set(one) == names
    assert one == other


def test_what_a_detector_does_not_have_is_said(drawn, store, tested, tmp_path):
    assert "does not locate" in svg_text(drawn[0] / "locations.svg")
    explain(LowerHalf(), FACTS, [tested], store, tmp_path, n_faces=18)
    assert "no feature maps" in svg_text(tmp_path / "gradcam.svg")
    assert "no features to show" in svg_text(tmp_path / "features.svg")
    picture = cv2.imread(str(tmp_path / "locations.png"))
    assert picture.shape[1] > 1000, "four faces with three pictures each"


def svg_text(path: Path) -> str:
    """Words of a figure; matplotlib writes each text as a comment beside its outlines."""
    return path.read_text()


def test_named_samples_replace_the_confident_ones(store, ucf, tested, tmp_path):
    ids = [str(name) for name in tested.sample_ids[:5]]
    explain(ucf, FACTS, [tested], store, tmp_path, only=ids, n_faces=18)
    text = svg_text(tmp_path / "gradcam.svg")
    for row in range(5):
        assert f"score {tested.scores[row]:.3f}" in text
    assert "called" not in text


def test_too_few_faces_have_no_picture():
    features = Features({"features": np.zeros((3, 2))}, pd.DataFrame({"label": ["real"] * 3}))
    assert "too few" in draw_features(features, "e").texts[0].get_text()


def test_an_empty_test_set_is_no_mistake(store, ucf, tested, tmp_path):
    nothing = np.zeros(0, np.int64)
    empty = TestSet("empty", tested.samples[nothing], tested.sample_ids[nothing], tested.scores[nothing])
    explain(ucf, FACTS, [empty], store, tmp_path, n_faces=18)
    assert "none" in svg_text(tmp_path / "gradcam.svg")
    assert "too few faces" in svg_text(tmp_path / "features.svg")


def test_classifiers_show_the_vector_before_their_last_layer(store, tested):
    detector = Classifier(ClassifierSettings(**SMALL), ["real", "x"]).eval()
    features = read_features(detector, [tested], store, count=6, device="cpu", workers=0)
    assert list(features.vectors) == ["features"]
    assert len(features.vectors["features"]) == len(features.faces) == 6
