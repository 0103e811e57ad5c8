import json
import random

import numpy as np
import pytest
import torch

from tests.evaluation import references
from vireid.evaluation import (
    CorruptedProtocol,
    EmbeddingSet,
    KReciprocalReranking,
    LLCMProtocol,
    OwnProtocol,
    RegDBProtocol,
    RetrievalResult,
    SYSUMM01Protocol,
    compute_metrics,
    create_protocols,
    format_results,
)

# The test identities of SYSU-MM01 and how many visible images there are of each; facts of the data set.
IDENTITIES = """
    6 10 17 21 24 25 27 28 31 34 36 37 40 41 42 43 44 45 49 50 51 54 63 69 75 80 81 82 83 84 85 86 87 88 89 90 93
    102 104 105 106 108 112 116 117 122 125 129 130 134 138 139 150 152 162 166 167 170 172 176 185 190 192 202
    204 207 210 215 223 229 232 237 252 253 257 259 263 266 269 272 273 274 275 282 285 291 300 301 302 303 307
    312 315 318 331 333
"""
IMAGES = {  # of each identity, by camera
    1: """
    42 34 0 0 0 0 13 17 0 0 0 0 0 0 0 0 0 0 0 0 0 31 28 26 33 0 0 0 0 0 0 0 0 0 0 0 0 19 26 0 0 25 24 0 23 22 29 0
    22 21 21 23 27 26 16 0 31 37 38 0 26 13 0 20 21 23 0 22 27 29 23 27 28 22 20 23 29 22 20 21 23 27 0 20 15 17
    21 25 25 0 24 32 31 24 20 0
    """,
    2: """
    29 30 0 0 0 0 40 18 0 0 0 0 0 0 0 0 0 0 0 0 0 23 30 38 36 0 0 0 0 0 0 0 0 0 0 0 0 31 26 0 0 28 31 0 24 26 21 0
    20 31 24 28 27 27 21 0 30 29 29 0 24 31 0 28 25 30 0 30 33 32 26 26 25 21 27 26 27 31 29 27 35 28 0 26 29 25
    26 26 32 0 27 33 29 36 18 0
    """,
    4: """
    20 20 20 20 20 21 21 20 20 20 20 20 20 20 20 20 20 21 23 21 23 21 27 22 20 20 22 20 21 22 22 20 22 26 22 21 20
    20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20
    20 20 0 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 0
    """,
    5: """
    20 20 20 20 21 22 21 20 0 20 20 20 20 20 20 20 20 20 20 20 20 21 21 20 20 21 20 21 20 21 20 20 22 24 22 21 20
    20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20
    20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20
    """,
}


def sysu_gallery():
    """Identities, cameras and frame numbers of all visible test images, in the order of a reader."""
    people = IDENTITIES.split()
    rows = [
        (int(identity), camera, frame)
        for camera, counts in IMAGES.items()
        for identity, count in zip(people, counts.split(), strict=True)
        for frame in range(1, int(count) + 1)
    ]
    return torch.tensor(rows).T


@pytest.mark.parametrize(
    ("search", "size", "first", "sums"),
    [
        (
            "all",
            301,
            [(6, 1, 25), (6, 2, 25), (6, 4, 14), (6, 5, 2), (10, 1, 17), (10, 2, 17)],
            {0: 3649, 1: 3566, 9: 3453},
        ),
        ("indoor", 112, [(6, 1, 25), (6, 2, 25)], {0: 1647, 1: 1568, 9: 1376}),
    ],
)
def test_galleries_of_agw_are_those_of_its_scripts(search, size, first, sums):
    # The picks and the sums of the frame numbers were taken from the public scripts, run on Python 3.11.
    identities, cameras, frames = sysu_gallery()
    galleries = SYSUMM01Protocol(search).galleries(identities, cameras)
    assert [len(rows) for rows in galleries] == [size] * 10
    picks = torch.stack([identities, cameras, frames], dim=1)[galleries[0]]
    assert [tuple(pick) for pick in picks[: len(first)].tolist()] == first
    assert {trial: frames[galleries[trial]].sum().item() for trial in sums} == sums


def test_official_galleries_take_the_first_of_the_permutations():
    identities, cameras = torch.tensor([1, 1, 1, 2, 2, 1]), torch.tensor([1, 1, 1, 1, 1, 4])
    permutations = {
        (1, 1): np.array([[2, 0, 1], [1, 2, 0]]),
        (1, 2): np.array([[1, 0], [0, 1]]),
        (4, 1): np.array([[0], [0]]),
    }
    options = {"gallery": "official", "permutations": permutations, "trials": 2}
    galleries = SYSUMM01Protocol(**options).galleries(identities, cameras)
    assert [sorted(rows.tolist()) for rows in galleries] == [[2, 4, 5], [1, 3, 5]]
    galleries = SYSUMM01Protocol(shots=2, **options).galleries(identities, cameras)
    assert [sorted(rows.tolist()) for rows in galleries] == [[0, 2, 3, 4, 5], [1, 2, 3, 4, 5]]
    galleries = SYSUMM01Protocol("indoor", **options).galleries(identities, cameras)
    assert [sorted(rows.tolist()) for rows in galleries] == [[2, 4], [1, 3]]


def embedding_set(seed, cameras, people=12, images=3, signal=1.5):
    generator = torch.Generator().manual_seed(seed)
    identities, cameras = torch.cartesian_prod(torch.arange(people), torch.tensor(cameras)).repeat(images, 1).T
    order = (1000 * cameras + identities).argsort(stable=True)
    identities, cameras = identities[order], cameras[order]
    centres = torch.randn(people, 8, generator=torch.Generator().manual_seed(99))
    rows = signal * centres[identities] + torch.randn(len(identities), 8, generator=generator)
    return EmbeddingSet(rows, identities, cameras, "infrared" if int(cameras[0]) in {3, 6} else "visible")


@pytest.mark.parametrize("search", ["all", "indoor"])
def test_evaluation_equals_the_loop(search):
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    gallery = gallery.select((gallery.identities != 5) | (gallery.cameras != 2))
    protocol = SYSUMM01Protocol(search)
    result = protocol.evaluate(query, gallery)
    q, g = (x / x.norm(dim=1, keepdim=True) for x in (query.embeddings.double(), gallery.embeddings.double()))
    for trial, rows in enumerate(protocol.galleries(gallery.identities, gallery.cameras)):
        distances = [[1 - float(a @ b) for b in g[rows]] for a in q]
        cameras = gallery.cameras[rows].tolist()
        excluded = [[camera == 3 and other == 2 for other in cameras] for camera in query.cameras.tolist()]
        expected = references.metrics(
            distances, query.identities.tolist(), gallery.identities[rows].tolist(), excluded, "identity", 20
        )
        assert result.cmc[trial].tolist() == pytest.approx(expected[0], abs=1e-12)
        assert result.mAP[trial].item() == pytest.approx(expected[1], abs=1e-12)
        assert result.mINP[trial].item() == pytest.approx(expected[2], abs=1e-12)
        assert result.valid_queries[trial] == expected[3]


def test_images_of_the_queries_own_place_are_left_out():
    # The only match of camera 3's query is in camera 2, the same room; camera 6's query may find it.
    gallery = EmbeddingSet(torch.eye(3), torch.tensor([1, 2, 3]), torch.tensor([2, 1, 4]), "visible")
    query = EmbeddingSet(torch.eye(3)[[0, 0, 1]], torch.tensor([1, 1, 2]), torch.tensor([3, 6, 3]), "infrared")
    result = SYSUMM01Protocol(trials=1).evaluate(query, gallery)
    assert result.valid_queries == (2,)
    assert result.queries == 3
    found, correct = SYSUMM01Protocol(trials=1).rank(query, gallery, k=3)[:2]
    assert sorted(found[0].tolist()) == [-1, 1, 2]
    assert found[1, 0] == 0
    assert correct.tolist() == [[False] * 3, [True, False, False], [True, False, False]]


def test_leaving_out_the_own_place_changes_the_numbers():  # T2
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])

    class Forgetful(SYSUMM01Protocol):
        locations = {}  # noqa: RUF012

    for search in ("all", "indoor"):
        right, wrong = (protocol(search).evaluate(query, gallery) for protocol in (SYSUMM01Protocol, Forgetful))
        assert (right.mAP - wrong.mAP).abs().mean() > 1e-3


def test_ranking_is_what_the_metrics_see():
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    protocol = SYSUMM01Protocol()
    found, correct = protocol.rank(query, gallery, trial=4, k=60)[:2]
    assert found.shape == correct.shape == (72, 60)
    assert correct[:, 0].double().mean() == protocol.evaluate(query, gallery).cmc[4, 0]
    assert ((found >= 0).sum(1) == torch.where(query.cameras == 3, 36, 48)).all()  # of 48, without camera 2
    assert not (gallery.cameras[found[query.cameras == 3]] == 2)[found[query.cameras == 3] >= 0].any()
    q, g = (torch.nn.functional.normalize(x.embeddings.double()) for x in (query, gallery))
    cosines = (q[:, None] * g[found[:, :36]]).sum(-1)
    assert (cosines.diff(dim=1) <= 0).all()
    short = protocol.rank(query, gallery, trial=4, k=3).rows
    assert short.tolist() == found[:, :3].tolist()


def test_indoor_search_skips_queries_without_a_match():
    gallery = EmbeddingSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([1, 4]), "visible")
    query = EmbeddingSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([6, 6]), "infrared")
    assert SYSUMM01Protocol("indoor").evaluate(query, gallery).valid_queries == (1,) * 10
    assert SYSUMM01Protocol("all").evaluate(query, gallery).valid_queries == (2,) * 10


def test_half_precision_embeddings_are_compared_in_double():
    query, gallery = (
        x._replace(embeddings=x.embeddings.half()) for x in (embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5]))
    )
    wide = [x._replace(embeddings=x.embeddings.double()) for x in (query, gallery)]
    assert SYSUMM01Protocol().evaluate(query, gallery).mAP.tolist() == SYSUMM01Protocol().evaluate(*wide).mAP.tolist()


def test_length_of_embeddings_does_not_matter():
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    expected = SYSUMM01Protocol().evaluate(query, gallery)
    longer = gallery._replace(embeddings=gallery.embeddings * torch.linspace(0.1, 9, len(gallery.embeddings))[:, None])
    torch.testing.assert_close(SYSUMM01Protocol().evaluate(query, longer).mAP, expected.mAP)


def test_result_prints_the_row_of_a_paper_and_saves_as_json():
    result = SYSUMM01Protocol().evaluate(embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5]))
    rank_1 = result.cmc[:, 0].numpy()
    assert 0.2 < rank_1.mean() < 0.99
    row = str(result)
    other = "not SYSU-MM01's test set but 72 queries of 12 people"
    assert row.startswith(f"SYSU-MM01 all search, single-shot, agw galleries × 10, {other}: rank-1 ")
    assert f"rank-1 {100 * rank_1.mean():.2f} ± {100 * rank_1.std():.2f}  rank-5" in row
    saved = json.loads(json.dumps(result.to_dict()))
    assert saved["mean"]["mAP"] == pytest.approx(result.mAP.mean().item())
    assert saved["trials"]["cmc"][3] == pytest.approx(result.cmc[3].tolist())
    assert saved["queries"] == 72
    assert saved["settings"] == {
        "query": "infrared",
        "gallery": "visible",
        "search": "all",
        "shots": 1,
        "galleries": "agw",
        "exclude": "same location",
        "locations": "{3: 2}",
        "distance": "cosine",
        "cmc_level": "identity",
        "feature": "embedding",
        "reranking": "none",
    }


def test_results_come_back_from_json():
    result = SYSUMM01Protocol().evaluate(embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5]))
    saved = json.loads(json.dumps(result.to_dict()))
    assert RetrievalResult.from_dict(saved).to_dict() == result.to_dict()
    del saved["settings"]
    with pytest.raises(ValueError, match=r"^values lack 'settings'; pass RetrievalResult.to_dict\(\).$"):
        RetrievalResult.from_dict(saved)


def test_table_of_results():
    result = SYSUMM01Protocol().evaluate(embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5]))
    head, short, long = format_results({"a": result, "another": result}).splitlines()
    assert head.split() == ["rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP"]
    assert short.split()[1:] == long.split()[1:]
    assert f"{100 * result.mAP.mean():.2f} ± {100 * result.mAP.std(correction=0):.2f}" in short
    assert len(head) == len(short) == len(long)
    with pytest.raises(ValueError, match="results must hold a result, got {}"):
        format_results({})


def test_protocols_by_name():
    assert {name: str(p)[:5] for name, p in create_protocols("regdb", trial=4, trained_on=4).items()} == {
        "visible → infrared": "RegDB",
        "infrared → visible": "RegDB",
    }
    assert [p.query_modality.value for p in create_protocols("llcm").values()] == ["visible", "infrared"]
    assert [p.search for p in create_protocols("sysu").values()] == ["all", "indoor"]
    with pytest.raises(ValueError, match="name must be one of 'sysu', 'regdb', 'llcm', got 'sysuu'. Did you mean"):
        create_protocols("sysuu")
    with pytest.raises(ValueError, match="trained_on must be the trial that is tested, 4, got 1"):
        create_protocols("regdb", trial=4, trained_on=1)
    with pytest.raises(TypeError, match="trial must be an integer from 1 to 10, got None"):
        create_protocols("regdb", trained_on=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "al"}, "search must be one of 'all', 'indoor', got 'al'. Did you mean 'all'"),
        ({"gallery": "random"}, "gallery must be one of 'agw', 'official', got 'random'"),
        ({"shots": 10}, 'shots must be 1 for the galleries of AGW, got 10. Only gallery="official" has'),
        ({"shots": 0}, "shots must be an integer of at least 1, got 0"),
        ({"trials": 0}, "trials must be an integer of at least 1, got 0"),
        ({"gallery": "official"}, 'permutations must be given for gallery="official", got None. SYSUMM01'),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        SYSUMM01Protocol(**options)


def test_wrong_embeddings():
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    protocol = SYSUMM01Protocol()
    with pytest.raises(ValueError, match=r"gallery.embeddings must have d = 8 like the others, got \(144, 4\)"):
        protocol.evaluate(query, gallery._replace(embeddings=gallery.embeddings[:, :4]))
    with pytest.raises(ValueError, match=r"query.cameras must have shape \(72,\), one for each embedding, got \(3,\)"):
        protocol.evaluate(query._replace(cameras=query.cameras[:3]), gallery)
    with pytest.raises(ValueError, match="gallery.modality must be 'infrared', not that of query, got 'visible'"):
        protocol.evaluate(gallery, gallery)
    with pytest.raises(ValueError, match=r"query.cameras must be among \(3, 6\), got \[1, 2, 4, 5\]"):
        protocol.evaluate(gallery._replace(modality="infrared"), gallery)
    with pytest.raises(ValueError, match=r"gallery.cameras must be among \(1, 2, 4, 5\), got \[3, 6\]"):
        protocol.evaluate(query, query._replace(modality="visible"))
    with pytest.raises(ValueError, match="gallery.feature must be that of query, 'embedding', got 'pool"):
        protocol.evaluate(query, gallery._replace(feature="pooled"))
    outdoor = gallery.select(gallery.cameras > 3)
    with pytest.raises(ValueError, match=r"gallery must have images of cameras \(1, 2\), got \[4, 5\]"):
        SYSUMM01Protocol("indoor").evaluate(query, outdoor)
    broken = gallery.embeddings.index_fill(0, torch.tensor(7), torch.nan)
    with pytest.raises(ValueError, match=r"gallery.embeddings\[7\] must be finite, got nan"):
        protocol.evaluate(query, gallery._replace(embeddings=broken))
    with pytest.raises(TypeError, match="query.identities must be integers, got torch.float32"):
        protocol.rank(query._replace(identities=query.identities.float()), gallery)
    with pytest.raises(ValueError, match="query_identities must have a match in the gallery for one query at least"):
        protocol.evaluate(query._replace(identities=query.identities + 100), gallery)
    with pytest.raises(ValueError, match="trial must be an integer from 0 to 9, got 10"):
        protocol.rank(query, gallery, trial=10)
    with pytest.raises(ValueError, match="k must be an integer of at least 1, got 0"):
        protocol.rank(query, gallery, k=0)
    official = SYSUMM01Protocol(gallery="official", permutations={})
    with pytest.raises(ValueError, match=r"permutations must order the 3 images of camera 1, identity 0 in 10 trials"):
        official.evaluate(query, gallery)
    identities, cameras = torch.tensor([1, 1]), torch.tensor([1, 1])
    for order in ([1, 2], [-1, 0], [0, 0]):
        official = SYSUMM01Protocol(gallery="official", permutations={(1, 1): np.array([order])}, trials=1)
        with pytest.raises(ValueError, match="permutations must order the 2 images of .* in 1 trials, from 0, got"):
            official.galleries(identities, cameras)


# RegDB and LLCM


def two_modalities(visible_cameras, infrared_cameras, **options):
    visible, infrared = embedding_set(0, visible_cameras, **options), embedding_set(1, infrared_cameras, **options)
    return visible._replace(modality="visible"), infrared._replace(modality="infrared")


@pytest.mark.parametrize("query", ["visible", "infrared"])
@pytest.mark.parametrize("cmc_level", ["image", "identity"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean", "dot"])
def test_regdb_equals_the_loop(query, cmc_level, distance):
    sets = two_modalities([1], [2], people=20, images=4, signal=0.8)
    probes, pool = sets if query == "visible" else sets[::-1]
    protocol = RegDBProtocol(query, trial=3, trained_on=3, cmc_level=cmc_level, distance=distance)
    result = protocol.evaluate(probes, pool)
    x, y = probes.embeddings.double(), pool.embeddings.double()
    if distance == "cosine":
        x, y = (rows / rows.norm(dim=1, keepdim=True) for rows in (x, y))
    distances = torch.cdist(x, y) if distance == "euclidean" else -x @ y.T
    nothing = [[False] * len(y)] * len(x)
    expected = references.metrics(
        distances.tolist(), probes.identities.tolist(), pool.identities.tolist(), nothing, cmc_level, 20
    )
    assert result.cmc[0].tolist() == pytest.approx(expected[0], abs=1e-12)
    assert [result.mAP.item(), result.mINP.item()] == pytest.approx(expected[1:3], abs=1e-12)
    assert result.valid_queries == (80,)
    assert result.settings["query"] == query
    assert (result.settings["trial"], result.settings["trained_on"]) == (3, 3)
    assert torch.equal(protocol.evaluate(pool, probes).cmc, result.cmc)


def test_regdb_refuses_a_model_of_another_trial():  # T4
    message = r"trained_on must be the trial that is tested, 3, got 1. It has seen people of trial 3's test; "
    with pytest.raises(ValueError, match=message):
        RegDBProtocol("visible", trial=3, trained_on=1)
    leaking = RegDBProtocol("visible", trial=3, trained_on=1, allow_other_trial=True)
    assert "trained on another trial" in str(leaking)
    assert RegDBProtocol("visible", trial=np.int64(4), trained_on=4).trial == 4
    for trial in (0, 11, 1.0, True):
        with pytest.raises((ValueError, TypeError), match="trial must be an integer from 1 to 10"):
            RegDBProtocol("visible", trial=trial, trained_on=1)


def test_average_over_the_trials_of_regdb():
    visible, infrared = two_modalities([1], [2])
    results = []
    for trial in range(1, 4):
        noisy = visible._replace(embeddings=visible.embeddings + 0.3 * trial)
        results.append(RegDBProtocol("visible", trial=trial, trained_on=trial).evaluate(noisy, infrared))
    average = RetrievalResult.average(results)
    assert average.mAP.tolist() == [result.mAP.item() for result in results]
    assert average.cmc.shape == (3, 20)
    assert average.settings["trial"] == average.settings["trained_on"] == "1, 2, 3"
    assert str(average).startswith("RegDB visible → infrared, image-level CMC × 3: rank-1 ")
    assert average.summary()["mAP"][0] == pytest.approx(sum(result.mAP.item() for result in results) / 3)
    with pytest.raises(ValueError, match=r"results must be each of another trial, got \[1, 1\]"):
        RetrievalResult.average([results[0], results[0]])
    other = RegDBProtocol("visible", trial=2, trained_on=2, cmc_level="identity").evaluate(visible, infrared)
    with pytest.raises(ValueError, match="results must have one protocol and one choice of settings, .*identity-level"):
        RetrievalResult.average([results[0], other])
    with pytest.raises(ValueError, match="results must hold a result, got 0"):
        RetrievalResult.average([])


def by_hand(probes, pool, rows, columns):
    """LLCM's numbers of one trial, from the loops."""
    probes, pool = probes.select(rows), pool.select(columns)
    x, y = (torch.nn.functional.normalize(part.embeddings.double()) for part in (probes, pool))
    labels = [part.tolist() for part in (probes.identities, probes.cameras, pool.identities, pool.cameras)]
    excluded = references.exclusions("camera", *labels, {})
    return references.metrics((1 - x @ y.T).tolist(), labels[0], labels[2], excluded, "identity", 20)


@pytest.mark.parametrize("convention", ["standard", "swapped", "infrared queries"])
def test_llcm_equals_the_loop(convention):
    visible, infrared = two_modalities([1, 2, 3], [1, 2, 4], images=4)
    if convention == "infrared queries":
        query, gallery, protocol = infrared, visible, LLCMProtocol("infrared", trials=3)
    else:
        query, gallery, protocol = visible, infrared, LLCMProtocol("visible", convention=convention, trials=3)
    result = protocol.evaluate(query, gallery)
    groups = sorted({*zip(gallery.identities.tolist(), gallery.cameras.tolist())})
    for trial in range(3):
        rng = random.Random(trial)
        draws = []
        for identity, camera in groups:
            rows = ((gallery.identities == identity) & (gallery.cameras == camera)).nonzero().flatten().tolist()
            draws.append(rng.choice(rows))
        draws, everyone = torch.tensor(draws), torch.arange(len(query.identities))
        if convention == "swapped":
            expected = by_hand(gallery, query, draws, everyone)
        else:
            expected = by_hand(query, gallery, everyone, draws)
        assert result.cmc[trial].tolist() == pytest.approx(expected[0], abs=1e-12)
        assert [result.mAP[trial].item(), result.mINP[trial].item()] == pytest.approx(expected[1:3], abs=1e-12)
        assert result.valid_queries[trial] == expected[3]
    found, correct = protocol.rank(query, gallery, trial=1, k=5)[:2]
    searched = query if convention == "swapped" else gallery
    probes = gallery.select(draws).identities if convention == "swapped" else query.identities
    assert len(found) == len(probes)
    assert (correct == (searched.identities[found] == probes[:, None])).all()
    assert int(protocol.rank(query, gallery, trial=1, k=1).matched.sum()) == result.valid_queries[1]
    assert correct[:, 0].double().mean().item() == pytest.approx(result.cmc[1, 0].item())


def test_llcm_conventions_differ():  # T7
    visible, infrared = two_modalities(range(1, 10), (1, 2, 4, 5, 6, 7, 8, 9), images=4)
    maps = [
        LLCMProtocol("visible", convention=convention).evaluate(visible, infrared).mAP.mean().item()
        for convention in ("standard", "swapped")
    ]
    assert abs(maps[0] - maps[1]) > 0.01
    with pytest.raises(ValueError, match="convention must be 'standard' for infrared queries, got 'swapped'"):
        LLCMProtocol("infrared", convention="swapped")
    with pytest.raises(ValueError, match="query must be one of|modality must be one of"):
        LLCMProtocol("thermal")


def test_llcm_leaves_out_the_query_s_own_camera_only_for_its_identity():
    rows = torch.eye(3)
    query = EmbeddingSet(rows[:1], torch.tensor([1]), torch.tensor([4]), "infrared")
    gallery = EmbeddingSet(rows[[0, 0, 1]], torch.tensor([1, 1, 2]), torch.tensor([4, 5, 4]), "visible")
    ranking = LLCMProtocol("infrared", trials=1).rank(query, gallery, k=3)
    assert ranking.rows.tolist() == [[1, 2, -1]]
    assert ranking.correct.tolist() == [[True, False, False]]
    assert ranking.matched.tolist() == [True]
    others = gallery._replace(identities=torch.tensor([1, 2, 2]))
    alone = LLCMProtocol("infrared", trials=1).rank(query, others, k=1)
    assert (alone.rows.tolist(), alone.matched.tolist()) == ([[1]], [False])  # its match is from its own camera


# Corrupted images


def test_corrupted_draws_meet_the_galleries_of_their_number():
    query = embedding_set(0, [3, 6])
    draws = [embedding_set(seed, [1, 2, 4, 5]) for seed in range(1, 13)]
    protocol = CorruptedProtocol(SYSUMM01Protocol(), draws=12)
    result = protocol.evaluate(iter(draws), query)
    expected = [SYSUMM01Protocol().evaluate(query, draw).mAP[i % 10].item() for i, draw in enumerate(draws)]
    assert result.mAP.tolist() == pytest.approx(expected)
    assert result.settings["draws"] == 12
    assert str(result).startswith("Corrupted SYSU-MM01 all search")
    with pytest.raises(ValueError, match="query must hold a set for each of 12 draws, got 5"):
        protocol.evaluate(draws[:5], query)
    with pytest.raises(ValueError, match="draws must be an integer of at least 1, got 0"):
        CorruptedProtocol(SYSUMM01Protocol(), draws=0)


@pytest.mark.parametrize("query", ["visible", "infrared"])
def test_corrupted_regdb_corrupts_what_is_visible(query):
    visible, infrared = two_modalities([1], [2])
    protocol = RegDBProtocol(query, trial=1, trained_on=1)
    pair = (visible, infrared) if query == "visible" else (infrared, visible)
    result = CorruptedProtocol(protocol, draws=2).evaluate([visible, visible], infrared)
    assert result.mAP.tolist() == [protocol.evaluate(*pair).mAP.item()] * 2


# What all protocols share


def test_distances_differ():  # T8, T10
    visible, infrared = two_modalities([1], [2], signal=0.8)
    visible = visible._replace(embeddings=visible.embeddings * torch.linspace(0.3, 3, len(visible[0]))[:, None])
    maps = {
        distance: RegDBProtocol("infrared", trial=1, trained_on=1, distance=distance).evaluate(infrared, visible).mAP
        for distance in ("cosine", "euclidean", "dot")
    }
    assert len({round(value.item(), 3) for value in maps.values()}) == 3


def test_reranking_is_named_and_used():
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    reranking = KReciprocalReranking(k1=5, k2=2)
    protocol = SYSUMM01Protocol(trials=2, reranking=reranking)
    result = protocol.evaluate(query, gallery)
    assert str(result).startswith(
        "SYSU-MM01 all search, single-shot, agw galleries × 2, k-reciprocal re-ranking (k1 = 5"
    )
    assert result.settings["reranking"] == "k-reciprocal re-ranking (k1 = 5, k2 = 2, λ = 0.3)"
    plain = SYSUMM01Protocol(trials=2).evaluate(query, gallery)
    assert (result.mAP - plain.mAP).abs().min() > 1e-3
    x, y = (torch.nn.functional.normalize(part.embeddings.double()) for part in (query, gallery))
    columns = protocol.galleries(gallery.identities, gallery.cameras)[1]
    excluded = (query.cameras[:, None] == 3) & (gallery.cameras[columns] == 2)
    expected = compute_metrics(
        reranking(x, y[columns]), query.identities, gallery.identities[columns], excluded=excluded
    )
    assert result.mAP[1].item() == pytest.approx(expected.mAP)
    correct = protocol.rank(query, gallery, trial=1).correct
    assert correct[:, 0].double().mean().item() == pytest.approx(result.cmc[1, 0].item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "l2"}, "distance must be one of 'cosine', 'euclidean', 'dot', got 'l2'"),
        ({"cmc_level": "images"}, "cmc_level must be one of 'identity', 'image', got 'images'. Did you mean 'image'"),
    ],
)
def test_wrong_common_options(options, message):
    with pytest.raises(ValueError, match=message):
        LLCMProtocol("visible", **options)


def test_wrong_types():
    with pytest.raises(
        TypeError, match="reranking must be a KReciprocalReranking, an AffinityInference or None, got 'bool'"
    ):
        LLCMProtocol("visible", reranking=True)
    with pytest.raises(TypeError, match="permutations must be a mapping: SYSUMM01.*, got 'str'"):
        SYSUMM01Protocol(gallery="official", permutations="rand_perm_cam.mat")
    with pytest.raises(TypeError, match="query must be an EmbeddingSet, got 'Tensor'"):
        LLCMProtocol("visible").evaluate(torch.eye(2), torch.eye(2))


def test_order_of_the_images_does_not_matter():
    visible, infrared = two_modalities([1], [2])
    protocol = RegDBProtocol("visible", trial=1, trained_on=1)
    order = torch.randperm(len(visible[0]), generator=torch.Generator().manual_seed(0))
    result, other = (
        protocol.evaluate(visible, infrared),
        protocol.evaluate(visible.select(order), infrared.select(order)),
    )
    torch.testing.assert_close(result.cmc, other.cmc)
    torch.testing.assert_close(result.mAP, other.mAP)


# Sets in any order, of arrays, or distances alone


def cases_of_protocols():
    """Protocols with the sets that they take: the queries and the gallery."""
    sysu = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    visible, infrared = two_modalities([1], [2])
    llcm_visible, llcm_infrared = two_modalities([1, 2, 3], [1, 2, 4], images=4)
    permutations = {(c, i): np.array([[2, 0, 1], [1, 2, 0]]) for c in (1, 2, 4, 5) for i in range(12)}
    return {
        "sysu": (SYSUMM01Protocol(), *sysu),
        "official": (SYSUMM01Protocol("indoor", gallery="official", permutations=permutations, trials=2), *sysu),
        "regdb": (RegDBProtocol("visible", trial=1, trained_on=1), visible, infrared),
        "llcm": (LLCMProtocol("infrared", trials=3), llcm_infrared, llcm_visible),
        "swapped": (LLCMProtocol("visible", convention="swapped", trials=3), llcm_visible, llcm_infrared),
    }


def assert_same(result, expected):
    assert torch.equal(result.cmc, expected.cmc)
    assert torch.equal(result.mAP, expected.mAP)
    assert torch.equal(result.mINP, expected.mINP)
    assert result.valid_queries == expected.valid_queries


@pytest.mark.parametrize("name", cases_of_protocols())
def test_sets_come_in_any_order_and_as_arrays(name):
    protocol, query, gallery = cases_of_protocols()[name]
    expected = protocol.evaluate(query, gallery)
    assert_same(protocol.evaluate(gallery, query), expected)
    arrays = [EmbeddingSet(*(x.numpy() for x in part[:3]), part.modality) for part in (query, gallery)]
    assert_same(protocol.evaluate(*arrays), expected)
    for ranking in (protocol.rank(query, gallery, trial=0), protocol.rank(gallery, query, trial=0)):
        first = ranking.correct[:, 0].sum().double() / expected.valid_queries[0]
        assert protocol.evaluate_trial(gallery, query).cmc[0] == first
        sides = {query.modality: query, gallery.modality: gallery}
        searching, searched = sides[ranking.query_modality.value], sides[ranking.gallery_modality.value]
        same = searched.identities[ranking.rows] == searching.identities[ranking.queries, None]
        assert torch.equal(ranking.correct, same & (ranking.rows >= 0))
        assert (ranking.distances.diff(dim=1) >= 0).logical_or(ranking.rows[:, 1:] < 0).all()


@pytest.mark.parametrize("name", cases_of_protocols())
@pytest.mark.parametrize("convert", [torch.Tensor.numpy, torch.Tensor.clone])
def test_given_distances_give_the_same_numbers(name, convert):
    protocol, query, gallery = cases_of_protocols()[name]
    x, y = (torch.nn.functional.normalize(part.embeddings.double()) for part in (query, gallery))
    labels = (query.identities, gallery.identities, query.cameras, gallery.cameras)
    result = protocol.evaluate_distances(convert(1 - x @ y.T), *map(convert, labels), feature="mine")
    assert_same(result, protocol.evaluate(query, gallery))
    assert (result.settings["distance"], result.settings["feature"]) == ("given", "mine")
    assert result.protocol.endswith(", given distances")
    if name == "regdb":
        assert_same(protocol.evaluate_distances(1 - x @ y.T, *labels[:2]), result)
    else:
        with pytest.raises(TypeError, match="query_cameras must be given for this protocol, got None"):
            protocol.evaluate_distances(1 - x @ y.T, *labels[:2])
    with pytest.raises(ValueError, match=r"gallery_identities must have shape \(\d+,\), .*, got \(3,\)"):
        protocol.evaluate_distances(1 - x @ y.T, labels[0], labels[1][:3], *labels[2:])


def test_swapped_convention_takes_images_in_any_order_of_the_set():
    # One infrared image per identity and camera: as many draws as images, in an order that is not that of the set.
    visible, infrared = two_modalities([1, 2, 3], [1, 2, 4], images=1)
    order = torch.randperm(len(infrared.identities), generator=torch.Generator().manual_seed(0))
    protocol = LLCMProtocol("visible", convention="swapped", trials=1)
    expected = protocol.evaluate(visible, infrared)
    torch.testing.assert_close(protocol.evaluate(visible, infrared.select(order)).mAP, expected.mAP)


# Ties


def integer_sets(seed=0):
    rng = np.random.default_rng(seed)
    rows = [torch.from_numpy(rng.integers(0, 4, (count, 6))).double() for count in (40, 80)]
    labels = [torch.from_numpy(rng.integers(0, 9, count)) for count in (40, 80)]
    cameras = [torch.ones(count, dtype=torch.long) for count in (40, 80)]
    return [EmbeddingSet(*x, m) for *x, m in zip(rows, labels, cameras, ("visible", "infrared"), strict=True)]


@pytest.mark.parametrize("distance", ["euclidean", "dot"])
def test_distances_of_integers_keep_their_ties(distance):
    query, gallery = integer_sets()
    x, y = query.embeddings[:, None], gallery.embeddings
    true = (x - y).square().sum(2) if distance == "euclidean" else -(x * y).sum(2)
    ranking = RegDBProtocol("visible", trial=1, trained_on=1, distance=distance).rank(query, gallery, k=80)
    assert ranking.rows.tolist() == true.sort(dim=1, stable=True).indices.tolist()
    found = true.gather(1, ranking.rows)
    assert ranking.distances.tolist() == (found.sqrt() if distance == "euclidean" else found).tolist()


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "dot"])
def test_equal_images_rank_in_the_order_of_the_gallery(distance):
    generator = torch.Generator().manual_seed(0)
    query, few = torch.randn(7, 511, generator=generator), torch.randn(19, 511, generator=generator)
    copies = torch.randint(19, (57,), generator=generator)
    sets = [
        EmbeddingSet(rows, torch.arange(len(rows)) % 5, torch.ones(len(rows), dtype=torch.long), modality)
        for rows, modality in ((query, "visible"), (few[copies], "infrared"))
    ]
    ranking = RegDBProtocol("visible", trial=1, trained_on=1, distance=distance).rank(*sets, k=57)
    for row in ranking.rows:
        for image in range(19):
            places = row[copies[row] == image]
            assert (places.diff() > 0).all()


def test_small_distances_do_not_tie():
    far = torch.full((1, 3), 1.0, dtype=torch.float64)
    steps = torch.tensor([5, 3, 1, 4, 2], dtype=torch.float64)[:, None] * 1e-9
    query = EmbeddingSet(far, torch.tensor([1]), torch.tensor([1]), "visible")
    gallery = EmbeddingSet(far + steps, torch.tensor([1, 2, 3, 4, 5]), torch.ones(5, dtype=torch.long), "infrared")
    protocol = RegDBProtocol("visible", trial=1, trained_on=1, distance="euclidean")
    assert protocol.rank(query, gallery, k=5).rows.tolist() == [[2, 4, 1, 3, 0]]


def test_official_galleries_are_camera_major_and_those_of_agw_identity_major():
    identities, cameras = torch.tensor([2, 1, 2, 1]), torch.tensor([1, 1, 4, 4])
    permutations = {(c, i): np.array([[0]]) for c in (1, 4) for i in (1, 2)}
    official = SYSUMM01Protocol(gallery="official", permutations=permutations, trials=1)
    assert official.galleries(identities, cameras)[0].tolist() == [1, 0, 3, 2]
    assert SYSUMM01Protocol(trials=1).galleries(identities, cameras)[0].tolist() == [1, 3, 0, 2]


# Senseless embeddings and options


def test_embeddings_without_a_length_are_refused():
    visible, infrared = two_modalities([1], [2])
    nothing = visible._replace(embeddings=torch.zeros_like(visible.embeddings))
    one = visible._replace(embeddings=visible.embeddings.index_fill(0, torch.tensor(3), 0.0))
    for distance in ("cosine", "euclidean", "dot"):
        protocol = RegDBProtocol("visible", trial=1, trained_on=1, distance=distance)
        with pytest.raises(ValueError, match="query.embeddings must not be all zero, got 'zeros'"):
            protocol.evaluate(nothing, infrared)
        if distance == "cosine":
            with pytest.raises(
                ValueError, match=r"query.embeddings\[3\] must have a length of at least 1e-12 .*, got 0"
            ):
                protocol.evaluate(one, infrared)
        else:
            assert protocol.evaluate(one, infrared).mAP.isfinite().all()


PERMUTATIONS = {(c, i): np.tile(np.arange(3), (10, 1)) for c in (1, 2, 4, 5) for i in range(12)}


@pytest.mark.parametrize(
    ("name", "base", "changed"),
    [
        ("regdb", {"trial": 3, "trained_on": 3}, {"trial": 4, "trained_on": 4}),
        ("regdb", {"trial": 3, "trained_on": 3}, {"trained_on": 4, "allow_other_trial": True}),
        ("sysu", {}, {"gallery": "official", "permutations": PERMUTATIONS}),
        ("sysu", {"gallery": "official", "permutations": PERMUTATIONS}, {"shots": 2}),
        ("sysu", {"gallery": "official", "permutations": PERMUTATIONS}, {"permutations": {**PERMUTATIONS, (1, 0): 0}}),
        *((name, base, {"distance": "euclidean"}) for name, base in (("sysu", {}), ("llcm", {}))),
        ("llcm", {}, {"reranking": KReciprocalReranking(k1=5, k2=2)}),
        ("regdb", {"trial": 3, "trained_on": 3}, {"reranking": KReciprocalReranking(k1=5, k2=2), "distance": "dot"}),
    ],
)
def test_every_argument_of_create_protocols_changes_something(name, base, changed):
    def describe(**options):
        return {
            key: (str(p), p.settings(), repr(getattr(p, "permutations", None)))
            for key, p in create_protocols(name, **options).items()
        }

    before, after = describe(**base), describe(**{**base, **changed})
    assert before.keys() == after.keys()
    assert all(before[key] != after[key] for key in before)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sysu", {"trial": 1}, "trial must be left at None for 'sysu', got 1. Only 'regdb' has it."),
        ("llcm", {"allow_other_trial": True}, "allow_other_trial must be left at False for 'llcm', got True"),
        (
            "regdb",
            {"trial": 1, "trained_on": 1, "shots": 10},
            "shots must be left at 1 for 'regdb', got 10. Only 'sysu'",
        ),
        ("llcm", {"gallery": "official"}, "gallery must be left at 'agw' for 'llcm', got 'official'"),
    ],
)
def test_options_of_another_data_set_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_protocols(name, **options)


# Draws of corrupted images


def test_corrupted_protocol_has_the_methods_of_the_others():
    query, draws = embedding_set(0, [3, 6]), [embedding_set(seed, [1, 2, 4, 5]) for seed in range(1, 4)]
    protocol = CorruptedProtocol(SYSUMM01Protocol(), draws=3)
    result = protocol.evaluate(query, draws)
    assert_same(protocol.evaluate(draws, query), result)
    assert protocol.evaluate_trial(query, iter(draws), 2).mAP == result.mAP[2]
    expected = SYSUMM01Protocol().rank(query, draws[1], trial=1, k=4)
    assert protocol.rank(query, draws, trial=1, k=4).rows.tolist() == expected.rows.tolist()
    with pytest.raises(TypeError, match="gallery must be an iterable of EmbeddingSet, one for each draw, got 'Embed"):
        protocol.evaluate(query, draws[0])
    with pytest.raises(TypeError, match="query must be the EmbeddingSet of the infrared images"):
        protocol.evaluate(draws, draws)
    with pytest.raises(ValueError, match="gallery must hold a set for draw 2, got 'fewer'"):
        protocol.rank(query, draws[:2], trial=2)


# Cameras of your own


@pytest.mark.parametrize("query", ["visible", "infrared"])
def test_the_published_protocols_are_presets_over_the_own_one(query):
    infrared, visible = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    pairs = [
        (RegDBProtocol(query, trial=1, trained_on=1), OwnProtocol(query)),
        (
            LLCMProtocol(query),
            OwnProtocol(query, gallery="one per camera", exclude="same camera", cmc_level="identity"),
        ),
    ]
    if query == "infrared":
        rules = {"gallery": "one per camera", "exclude": "same location", "locations": {3: 2}, "cmc_level": "identity"}
        pairs.append((SYSUMM01Protocol(), OwnProtocol(query, **rules)))
    for published, own in pairs:
        assert isinstance(published, OwnProtocol)
        assert_same(own.evaluate(infrared, visible), published.evaluate(infrared, visible))


def test_own_protocol_by_hand():
    # The visible query 1 from camera 1 is nearest to infrared image 0, of its own identity and camera; then to image 1
    # of identity 2; then to image 2 of identity 1 from camera 2, which is at the location of camera 1.
    query = EmbeddingSet(torch.tensor([[0.5]]), torch.tensor([1]), torch.tensor([1]), "visible")
    rows = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    gallery = EmbeddingSet(rows, torch.tensor([1, 2, 1, 1]), torch.tensor([1, 1, 2, 3]), "infrared")

    def precision(**options):
        return OwnProtocol("visible", distance="euclidean", **options).evaluate(query, gallery).mAP.item()

    assert precision() == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert precision(exclude="same camera") == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert precision(exclude="same location") == pytest.approx(1)
    assert precision(exclude="same location", locations={2: 1}) == pytest.approx(1)
    shown = OwnProtocol("visible", distance="euclidean", exclude="same location", locations={2: 1})
    assert shown.rank(query, gallery).rows[0, :2].tolist() == [3, -1]


@pytest.mark.parametrize("gallery_images", ["all", "one per camera"])
def test_images_without_a_label_take_no_part(gallery_images):
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    protocol = OwnProtocol("infrared", gallery=gallery_images)
    unlabelled = [
        part._replace(identities=part.identities.where(part.identities != part.identities[0], -1))
        for part in (query, gallery)
    ]
    rest = [part.select(part.identities >= 0) for part in unlabelled]
    assert_same(protocol.evaluate(*unlabelled), protocol.evaluate(*rest))
    ranking = protocol.rank(*unlabelled)
    assert (unlabelled[0].identities[ranking.queries] >= 0).all()
    assert (unlabelled[1].identities[ranking.rows[ranking.rows >= 0]] >= 0).all()


def test_queries_of_people_outside_the_gallery_do_not_count():
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    gallery = gallery.select(gallery.identities != query.identities[0])
    result = OwnProtocol("infrared").evaluate(query, gallery)
    assert result.valid_queries == (int((query.identities != query.identities[0]).sum()),)


@pytest.mark.parametrize("exclude", ["same camera", "same location"])
def test_own_protocol_without_cameras_cannot_exclude_any(exclude):
    rows, identities = torch.eye(2), torch.tensor([1, 2])
    sides = [EmbeddingSet(rows, identities, torch.zeros(2).long(), name) for name in ("infrared", "visible")]
    with pytest.raises(ValueError, match=f"^exclude must be 'none' where all images have one camera, got '{exclude}'."):
        OwnProtocol("infrared", exclude=exclude).evaluate(*sides)


def test_own_protocol_says_what_it_does():
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    protocol = OwnProtocol("infrared", gallery="one per camera", exclude="same location", locations={3: 2})
    result = protocol.evaluate(query, gallery)
    title = "infrared → visible, one image per camera × 10 but those of the same location, image-level CMC"
    assert result.protocol == title
    expected = {"galleries": "one per camera", "exclude": "same location", "locations": "{3: 2}"}
    assert expected.items() <= result.settings.items()
    assert OwnProtocol("visible").trials == 1
    distances = torch.rand(len(query.identities), len(gallery.identities))
    assert OwnProtocol("infrared").evaluate_distances(distances, query.identities, gallery.identities).mAP > 0


def test_sysu_on_other_data_says_so_and_on_its_own_does_not():
    identities, cameras, _ = sysu_gallery()
    people = torch.unique(identities)
    count = torch.full((96,), 3803 // 96)
    count[: 3803 % 96] += 1
    queries = people.repeat_interleave(count)
    distances = torch.rand(len(queries), len(identities), generator=torch.Generator().manual_seed(0))
    labels = (identities, torch.where(torch.arange(len(queries)) < 1883, 3, 6), cameras)
    result = SYSUMM01Protocol(trials=1).evaluate_distances(distances, queries, *labels)
    assert result.protocol == "SYSU-MM01 all search, single-shot, agw galleries × 1, given distances"
    labels = (identities, labels[1][1:], cameras)
    result = SYSUMM01Protocol(trials=1).evaluate_distances(distances[1:], queries[1:], *labels)
    assert "not SYSU-MM01's test set but 3,802 queries of 96 people" in result.protocol


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 2}, 'trials must be 1 for gallery="all", which is not drawn, got 2'),
        ({"locations": {3: 2}}, 'locations must be None without exclude="same location", got {3: 2}'),
    ],
)
def test_options_of_the_own_protocol_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        OwnProtocol("visible", **options)
