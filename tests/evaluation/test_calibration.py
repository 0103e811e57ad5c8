import dataclasses
import json
import math
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import det_curve, roc_curve

from vireid import TwoStreamEmbedder, create_backbone
from vireid.evaluation import (
    Calibration,
    EmbeddingSet,
    GalleryIndex,
    calibrate,
    calibration,
    compare_pairs,
    compute_error_rates,
    extract_embeddings,
    pairs,
)
from vireid.models import TwoStreamBaseline


def people(seed, number=30, images=4, dim=8, shift=0.4, first=0):
    """Embeddings of the same people in both modalities, from two cameras each."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(number, dim, generator=generator)
    identities = torch.arange(number).repeat_interleave(images) + first
    cameras = torch.arange(images).repeat(number) % 2

    def embed(offset):
        return centres[identities - first] + offset + 0.8 * torch.randn(len(identities), dim, generator=generator)

    return (
        EmbeddingSet(embed(0.0), identities, cameras, "visible"),
        EmbeddingSet(embed(shift), identities, cameras, "infrared"),
    )


def listed(query, gallery=None, exclude="none", distance="cosine"):
    """Distance, people and cameras of every pair, one pair after the other."""
    within, gallery = gallery is None, query if gallery is None else gallery
    rows = []
    for i, (x, a, c) in enumerate(zip(*query[:3])):
        for j, (y, b, d) in enumerate(zip(*gallery[:3])):
            if (within and j <= i) or (exclude == "same camera" and c == d):
                continue
            x64, y64 = x.double(), y.double()
            measures = {
                "cosine": 1 - torch.dot(x64, y64) / (x64.norm() * y64.norm()),
                "euclidean": (x64 - y64).norm(),
                "dot": -torch.dot(x64, y64),
            }
            rows.append((measures[distance].item(), int(a), int(b)))
    return rows


SETS = people(0, number=8, images=3)
CASES = [(False, "none"), (False, "same camera"), (True, "none"), (True, "same camera")]


@pytest.mark.parametrize("chunk", [1, 50, 2**21])
@pytest.mark.parametrize("distance", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize(("within", "exclude"), CASES)
def test_pairs_are_those_of_a_loop(within, exclude, distance, chunk, monkeypatch):
    monkeypatch.setattr(pairs, "_CHUNK", chunk)
    sets = SETS[:1] if within else SETS
    found = compare_pairs(*sets, distance=distance, exclude=exclude)
    expected = listed(*sets, exclude=exclude, distance=distance)
    assert found.distances.tolist() == pytest.approx([x for x, *_ in expected])
    assert found.same.tolist() == [a == b for _, a, b in expected]


def test_a_set_with_itself_is_within_it():
    visible, _ = SETS
    assert compare_pairs(visible, visible).same.tolist() == compare_pairs(visible).same.tolist()


@pytest.mark.parametrize(("within", "exclude"), CASES)
def test_impostors_are_counted_without_comparing(within, exclude):
    visible, infrared = SETS
    some = infrared.select(infrared.identities != 3)  # a person without an infrared image
    sets = (visible,) if within else (visible, some)
    image_pairs = pairs.ImagePairs(*sets, *(() if not within else (None,)), "cosine", exclude)
    groups = torch.rand(5, 8, generator=torch.Generator().manual_seed(1)) < 0.6
    expected = [
        sum(a != b and bool(group[a]) and bool(group[b]) for _, a, b in listed(*sets, exclude=exclude))
        for group in groups
    ]
    assert image_pairs.count_impostors(groups).tolist() == expected
    assert min(expected) > 0


@pytest.mark.parametrize("chunk", [1, 2**21])
@pytest.mark.parametrize("distance", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize(("within", "exclude"), CASES)
def test_threshold_and_errors_are_those_of_a_loop(within, exclude, distance, chunk, monkeypatch):
    monkeypatch.setattr(pairs, "_CHUNK", chunk)
    sets = SETS[:1] if within else SETS
    result = calibrate(*sets, false_accept_rate=0.05, distance=distance, exclude=exclude)
    rows = listed(*sets, exclude=exclude, distance=distance)
    impostors = sorted(x for x, a, b in rows if a != b)
    genuine = [x for x, a, b in rows if a == b]
    allowed = math.floor(0.05 * len(impostors))
    assert result.threshold == pytest.approx((impostors[allowed - 1] + impostors[allowed]) / 2)
    assert sum(x <= result.threshold for x in impostors) == allowed
    assert result.false_reject_rate == pytest.approx(np.mean([x > result.threshold for x in genuine]))
    assert 0 < result.false_reject_rate < 1
    assert (result.genuine_pairs, result.impostor_pairs, result.people) == (len(genuine), len(impostors), 8)
    assert (result.query, result.gallery) == ("visible", "visible" if within else "infrared")
    assert (result.distance, result.exclude, result.feature) == (distance, exclude, "embedding")


@pytest.mark.parametrize(("within", "exclude"), CASES)
def test_interval_is_that_of_halves_in_a_loop(within, exclude):
    sets = SETS[:1] if within else SETS
    rate, splits = 0.08, 500
    result = calibrate(*sets, false_accept_rate=rate, exclude=exclude, seed=3, confidence=0.9)
    rows = [(x, a, b) for x, a, b in listed(*sets, exclude=exclude) if a != b]
    halves = torch.rand(splits, 8, generator=torch.Generator().manual_seed(3)).argsort(1) < 4
    rates = []
    for half in halves.tolist():
        inside = sorted(x for x, a, b in rows if half[a] and half[b])
        outside = [x for x, a, b in rows if not half[a] and not half[b]]
        allowed = max(1, math.floor(rate * len(inside)))
        threshold = (inside[allowed - 1] + inside[allowed]) / 2
        rates.append(np.mean([x <= threshold for x in outside]))
    assert result.false_accept_interval == pytest.approx(np.quantile(rates, [0.05, 0.95]), abs=1e-9)
    assert result.false_accept_interval[0] < rate < result.false_accept_interval[1]


def test_short_tails_and_small_parts_change_nothing(monkeypatch):
    sets = people(5)
    expected = calibrate(*sets, false_accept_rate=0.02)
    compare, lengths = calibration._compare, []

    def shorter(image_pairs, length):
        lengths.append(max(8, length // 200))
        return compare(image_pairs, max(300, length // 12))

    monkeypatch.setattr(calibration, "_compare", shorter)
    monkeypatch.setattr(calibration, "_CHUNK", 2000)
    assert calibrate(*sets, false_accept_rate=0.02) == expected
    assert len(lengths) > 1


def test_order_of_the_images_and_names_of_the_people_do_not_matter():
    visible, infrared = people(1)
    expected = calibrate(visible, infrared, false_accept_rate=0.01)
    shuffled = visible.select(torch.randperm(len(visible.identities)))
    assert calibrate(shuffled, infrared, false_accept_rate=0.01) == expected
    renamed = [part._replace(identities=3 * part.identities + 100) for part in (visible, infrared)]
    assert calibrate(*renamed, false_accept_rate=0.01) == expected
    turned = calibrate(infrared, visible, false_accept_rate=0.01)
    assert turned.threshold == pytest.approx(expected.threshold)
    assert turned.false_accept_interval == pytest.approx(expected.false_accept_interval)


@pytest.mark.parametrize(
    "changed",
    [{"false_accept_rate": 0.03}, {"distance": "dot"}, {"exclude": "same camera"}, {"confidence": 0.5}, {"seed": 1}],
)
def test_every_argument_changes_something(changed):
    sets = people(1)
    assert calibrate(*sets, **{"false_accept_rate": 0.01, **changed}) != calibrate(*sets, false_accept_rate=0.01)


def test_thresholds_keep_their_promise_on_other_people():
    within = 0
    for seed in range(20):
        result = calibrate(*people(2 * seed), false_accept_rate=0.01)
        distances, same = compare_pairs(*people(2 * seed + 1))
        rate = (distances[~same] <= result.threshold).double().mean().item()
        low, high = result.false_accept_interval
        within += low <= rate <= high
    assert within >= 17  # of 20; 19 are expected


def test_more_people_make_a_narrower_interval():
    widths = [
        np.subtract(*calibrate(*people(0, number), false_accept_rate=0.01).false_accept_interval) for number in (10, 90)
    ]
    assert abs(widths[1]) < abs(widths[0]) / 2


def test_pairs_that_tie_are_not_accepted_in_part():
    rows = torch.tensor([[0.0], [4.0], [10.0], [11.0], [18.0]])
    visible = EmbeddingSet(rows, torch.arange(5), torch.zeros(5).long(), "visible")
    # Of 20 impostor pairs 3 may be accepted, but the third smallest distance ties with the fourth.
    infrared = visible._replace(embeddings=torch.tensor([[1.0], [5.0], [7.0], [15.0], [0.0]]), modality="infrared")
    expected = sorted(
        abs(x - y).item() for i, x in enumerate(rows) for j, y in enumerate(infrared.embeddings) if i != j
    )
    assert expected[:5] == [0, 3, 3, 3, 4]
    result = calibrate(visible, infrared, false_accept_rate=0.15, distance="euclidean")
    assert result.impostor_pairs == 20
    assert result.threshold == pytest.approx(1.5)
    assert calibrate(visible, infrared, false_accept_rate=0.2, distance="euclidean").threshold == pytest.approx(3.5)
    rows = torch.zeros(8, 1) + torch.tensor([[1.0]] * 8)
    same = EmbeddingSet(rows, torch.arange(8) // 2, torch.zeros(8).long(), "visible")
    with pytest.raises(
        ValueError, match=r"false_accept_rate must be larger, as 3 pairs of different people tie at the"
    ):
        calibrate(same, false_accept_rate=0.1)


def test_the_gallery_index_takes_the_threshold():
    visible, infrared = people(2)
    for distance in ("cosine", "euclidean"):
        result = calibrate(infrared, visible, false_accept_rate=0.01, distance=distance)
        index = GalleryIndex(8, metric=distance)
        index.add(visible.embeddings)
        found = index.search(infrared.embeddings, k=len(visible.identities), threshold=result.threshold)
        person = visible.identities[found.rows.clamp_min(0)]
        wrong = (found.rows >= 0) & (person != infrared.identities[:, None])
        assert int(wrong.sum()) == math.floor(0.01 * result.impostor_pairs)


def test_rates_that_are_too_small_are_refused_with_the_smallest_possible():
    visible, infrared = people(0, number=8, images=3)
    with pytest.raises(
        ValueError,
        match=r"^false_accept_rate must be at least 0.00199, one of 504 pairs of different people, got 0.001\.$",
    ):
        calibrate(visible, infrared)
    assert calibrate(visible, infrared, false_accept_rate=0.00199).threshold < 1


@pytest.mark.parametrize("total", [1, 2, 3, 7, 9, 10, 100, 504, 999, 1000, 123457])
def test_the_named_rate_is_possible(total):
    with pytest.raises(ValueError, match="rate must be at least") as error:
        calibration.check_share("rate", 1e-9, total, "pairs")
    named = float(str(error.value).split("at least ")[1].split(",")[0])
    assert calibration.check_share("rate", named, total, "pairs") == 1
    assert 1 / total <= named <= 1.02 / total
    assert calibration.check_share("rate", 0.29, 100, "pairs") == 29


def test_too_little_to_calibrate_by():
    visible, infrared = people(0, number=8, images=3)
    few = [part.select(part.identities < 3) for part in (visible, infrared)]
    with pytest.raises(ValueError, match="query.identities must be those of at least 4 people, got 3"):
        calibrate(*few, false_accept_rate=0.1)
    other = infrared._replace(identities=infrared.identities + 100)
    with pytest.raises(ValueError, match="query must have a pair of one person, got 0"):
        calibrate(visible, other, false_accept_rate=0.1)
    unlabelled = visible._replace(identities=visible.identities - 1)
    with pytest.raises(ValueError, match=r"query.identities must be at least 0, got -1. Negative ones mark images"):
        calibrate(unlabelled, infrared, false_accept_rate=0.1)
    with pytest.raises(ValueError, match="gallery.feature must be that of query, 'embedding', got 'other'"):
        calibrate(visible, infrared._replace(feature="other"), false_accept_rate=0.1)
    one_camera = visible._replace(cameras=torch.zeros_like(visible.cameras))
    with pytest.raises(ValueError, match="exclude must be 'none' where all images have one camera, got 'same camera'."):
        calibrate(one_camera, false_accept_rate=0.1, exclude="same camera")


# Files


@pytest.fixture
def result():
    return calibrate(*people(1), false_accept_rate=0.01)


def test_calibrations_come_back_from_files(result, tmp_path):
    result.save(tmp_path)
    assert (tmp_path / "calibration.json").is_file()
    assert Calibration.load(tmp_path) == result
    result.save(tmp_path / "pairs" / "visible-infrared.json")
    assert Calibration.load(str(tmp_path / "pairs" / "visible-infrared.json")) == result
    with pytest.raises(FileNotFoundError, match="path must be a file"):
        Calibration.load(tmp_path / "nowhere")


def test_damaged_files_are_refused(result, tmp_path):
    file = tmp_path / "calibration.json"
    result.save(file)
    file.write_text(file.read_text().replace('"people": 30', '"people": 31'))
    with pytest.raises(ValueError, match="path must be an undamaged file"):
        Calibration.load(file)
    good = {"vireid": "Calibration", "version": 2, **dataclasses.asdict(result)}
    assert Calibration.load(write(file, good)) == result
    for changes in (
        {"version": 1},
        {"vireid": "GalleryIndex"},
        {"threshold": "0.3"},
        {"threshold": None},
        {"threshold": math.nan},
        {"people": 2.5},
        {"people": True},
        {"distance": 3},
        {"network": None},
        {"false_accept_interval": [0.1]},
        {"false_accept_interval": 0.1},
        {"further": 1},
    ):
        with pytest.raises(ValueError, match="^path must "):
            Calibration.load(write(file, {**good, **changes}))
    del good["threshold"]
    with pytest.raises(ValueError, match="path must have the entries"):
        Calibration.load(write(file, good))
    with pytest.raises(ValueError, match="path must be a file of Calibration.save, got .* Calibrate again."):
        Calibration.load(write(file, {**good, "version": 1}))


def test_comes_back_from_the_dictionary_of_an_exported_file(result):
    values = json.loads(json.dumps(dataclasses.asdict(result)))
    assert Calibration.from_dict(values) == Calibration.from_dict(dataclasses.asdict(result)) == result
    del values["network"]
    with pytest.raises(ValueError, match="^values must have the entries"):
        Calibration.from_dict(values)


def test_carries_the_network_and_refuses_another():
    torch.manual_seed(0)
    network, other = (TwoStreamEmbedder(create_backbone("test_resnet", image_size=(32, 16))) for _ in range(2))
    images = [(torch.rand(3, 32, 16), i // 2, 0) for i in range(10)]
    plain, flipped = (extract_embeddings(network, images, "infrared", flip=flip) for flip in ("none", "mean"))
    pooled = extract_embeddings(partial(network.embed, feature="pooled"), images, "infrared")
    foreign = extract_embeddings(other, images, "infrared")
    assert plain.network == flipped.network == pooled.network != foreign.network
    assert len(plain.network) == 16
    result = calibrate(plain, false_accept_rate=0.3)
    assert (result.network, result.feature) == (plain.network, "TwoStreamEmbedder.embed")
    assert calibrate(foreign, false_accept_rate=0.3).network == foreign.network

    model = TwoStreamBaseline(3, network)  # a network that has the same embedder, under another name
    same = extract_embeddings(model, images, "infrared")
    result.check("calibration")
    for images_of in (plain, same, plain._replace(network="")):
        options = {"modalities": ["infrared"], "distance": "cosine"}
        result.check("calibration", network=images_of.network, feature=images_of.feature, **options)
    remedy = "Calibrate it again"
    for wrong, message in (
        ({"network": foreign.network}, f"calibration must be of the network with the weights '{foreign.network}', got "
         f"'{plain.network}'. {remedy}"),
        ({"feature": flipped.feature}, "be of embeddings made by 'TwoStreamEmbedder.embed, flip mean', got 'Two"),
        ({"feature": pooled.feature}, "be of embeddings made by 'TwoStreamEmbedder.embed, feature pooled', got 'Two"),
        ({"distance": "euclidean"}, "be for the distance 'euclidean', got 'cosine'"),
        ({"modalities": ["visible", "infrared"]}, "be for images that are 'infrared and visible', got 'infrared'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            result.check("calibration", **wrong)
    with pytest.raises(ValueError, match="gallery.network must be that of query, "):
        calibrate(plain, foreign._replace(modality="visible"), false_accept_rate=0.3)


def test_says_plainly_that_a_threshold_is_useless():
    rows = torch.rand(80, 16, generator=torch.Generator().manual_seed(0))  # no likeness of anybody
    images = EmbeddingSet(rows, torch.arange(80) // 4, torch.zeros(80).long(), "visible")
    with pytest.warns(UserWarning, match=r"rejects 100 % of the pairs of one person: .* finds hardly anybody"):
        assert calibrate(images, false_accept_rate=0.001).false_reject_rate >= 0.95
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrate(*people(1), false_accept_rate=0.05)


def write(file, values):
    file.write_text(json.dumps(values))
    return file


def test_prints_what_it_promises(result):
    text = str(result)
    assert text.startswith(
        f"visible and infrared images show the same person up to a cosine distance of {result.threshold:.4g}"
    )
    assert "false accepts 1 % (" in text
    assert "from 30 people, 480 genuine and 13,920 impostor pairs" in text
    assert str(calibrate(people(1)[0], false_accept_rate=0.01)).startswith("visible images show")


# Error curves


@pytest.mark.parametrize("decimals", [1, 2, 17])
def test_error_rates_are_those_of_scikit_learn(decimals):
    rng = np.random.default_rng(decimals)
    same = rng.random(500) < 0.3
    distances = np.round(rng.normal(size=500) - same, decimals)
    rates = compute_error_rates(distances, same)
    accepted, found, thresholds = roc_curve(same, -distances, drop_intermediate=False)
    np.testing.assert_allclose(rates.false_accept, accepted)
    np.testing.assert_allclose(rates.false_reject, 1 - found, atol=1e-12)
    np.testing.assert_allclose(rates.thresholds, -thresholds)
    accepted, rejected, thresholds = det_curve(same, -distances)
    points = set(
        zip(rates.thresholds.tolist(), rates.false_accept.tolist(), rates.false_reject.round(decimals=9).tolist())
    )
    for point in zip(-thresholds, accepted, rejected.round(9)):
        if np.isfinite(point[0]):
            assert tuple(map(float, point)) in points


def test_error_rates_by_hand():
    rates = compute_error_rates([[0.1, 0.3], [0.3, 0.7]], [[True, False], [True, False]])
    assert rates.thresholds.tolist() == [-torch.inf, 0.1, 0.3, 0.7]
    assert rates.false_accept.tolist() == [0, 0, 0.5, 1]
    assert rates.false_reject.tolist() == [1, 0.5, 0, 0]
    assert rates.equal_error_rate == pytest.approx(0.25)
    assert compute_error_rates([0.1, 0.2], [True, False]).equal_error_rate == 0
    assert compute_error_rates([0.1, 0.2], [False, True]).equal_error_rate == 1
    assert compute_error_rates([0.1, 0.1], [False, True]).equal_error_rate == 0.5


def test_calibration_lies_on_the_error_curve():
    sets = people(4)
    result, rates = calibrate(*sets, false_accept_rate=0.05), compute_error_rates(*compare_pairs(*sets))
    place = int((rates.thresholds <= result.threshold).sum()) - 1
    assert rates.false_accept[place] <= 0.05 < rates.false_accept[rates.false_accept > rates.false_accept[place]][0]
    assert rates.false_reject[place] == pytest.approx(result.false_reject_rate)


def test_error_rates_need_both_kinds_of_pairs():
    for same, count in ([True, True], 2), ([False, False], 0):
        with pytest.raises(
            ValueError, match=f"same must be True for some pairs and False for others, got '{count} of 2'"
        ):
            compute_error_rates([0.1, 0.2], same)
    with pytest.raises(ValueError, match=r"same must have the shape of distances, \(2,\), got \(3,\)"):
        compute_error_rates([0.1, 0.2], [True, False, True])
