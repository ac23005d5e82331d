import numpy as np

from preprocess.face.appearance import appearance_of, colour_histogram, colours_in_common

FACE = np.array([[50, 40, 70, 60]])


def test_appearance_is_head_and_clothes_and_not_the_wall():
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[40:60, 50:70] = (200, 100, 50)
    frame[60:80, 40:80] = (0, 0, 250)
    appearance = appearance_of(frame, FACE).reshape(8, 4, 3)
    # rows from 36 to 78: the hair is black, then the face, then the clothes
    assert appearance[0].max() < 200
    assert appearance[2].tolist() == [[200, 100, 50]] * 4
    assert appearance[6:].tolist() == [[[0, 0, 250]] * 4] * 2
    frame[:, 80:] = 255
    assert np.array_equal(appearance_of(frame, FACE).reshape(8, 4, 3), appearance)
    assert appearance_of(frame, np.zeros((0, 4))).shape == (0, 96)
    assert not appearance_of(frame, FACE - [110, 40, 110, 40]).any()


def test_the_histogram_counts_shares_whatever_the_size():
    half = np.zeros((100, 200, 3), np.uint8)
    half[:, 100:] = (255, 0, 0)
    histogram = colour_histogram(half)
    assert histogram[0] == histogram[7 * 64] == 0.5
    assert histogram.sum() == 1


def test_frames_have_in_common_what_the_smaller_share_of_each_colour_is():
    half, whole = np.zeros((100, 200, 3), np.uint8), np.zeros((50, 50, 3), np.uint8)
    half[:, 100:] = (255, 0, 0)
    assert colours_in_common(colour_histogram(half), colour_histogram(whole)) == 0.5
    assert colours_in_common(colour_histogram(half), colour_histogram(half)) == 1
