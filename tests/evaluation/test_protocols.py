import json

import numpy as np
import pytest
import torch

from tests.evaluation import references
from vireid.evaluation import EmbeddingSet, SYSUMM01Protocol

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
    return EmbeddingSet(rows, identities, cameras)


@pytest.mark.parametrize("search", ["all", "indoor"])
def test_evaluation_equals_the_loop(search):
    query, gallery = embedding_set(0, [3, 6]), embedding_set(1, [1, 2, 4, 5])
    gallery = EmbeddingSet(*(field[(gallery.identities != 5) | (gallery.cameras != 2)] for field in gallery))
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
    gallery = EmbeddingSet(torch.eye(3), torch.tensor([1, 2, 3]), torch.tensor([2, 1, 4]))
    query = EmbeddingSet(torch.eye(3)[[0, 0, 1]], torch.tensor([1, 1, 2]), torch.tensor([3, 6, 3]))
    result = SYSUMM01Protocol(trials=1).evaluate(query, gallery)
    assert result.valid_queries == (2,)
    assert result.queries == 3
    found, correct = SYSUMM01Protocol(trials=1).rank(query, gallery, k=3)
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
    found, correct = protocol.rank(query, gallery, trial=4, k=60)
    assert found.shape == correct.shape == (72, 60)
    assert correct[:, 0].double().mean() == protocol.evaluate(query, gallery).cmc[4, 0]
    assert ((found >= 0).sum(1) == torch.where(query.cameras == 3, 36, 48)).all()  # of 48, without camera 2
    assert not (gallery.cameras[found[query.cameras == 3]] == 2)[found[query.cameras == 3] >= 0].any()
    q, g = (torch.nn.functional.normalize(x.embeddings.double()) for x in (query, gallery))
    cosines = (q[:, None] * g[found[:, :36]]).sum(-1)
    assert (cosines.diff(dim=1) <= 0).all()
    short, _ = protocol.rank(query, gallery, trial=4, k=3)
    assert short.tolist() == found[:, :3].tolist()


def test_indoor_search_skips_queries_without_a_match():
    gallery = EmbeddingSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([1, 4]))
    query = EmbeddingSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([6, 6]))
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
    assert row.startswith("SYSU-MM01 all search, single-shot, agw galleries × 10: rank-1 ")
    assert f"rank-1 {100 * rank_1.mean():.2f} ± {100 * rank_1.std():.2f}  rank-5" in row
    saved = json.loads(json.dumps(result.to_dict()))
    assert saved["mean"]["mAP"] == pytest.approx(result.mAP.mean().item())
    assert saved["trials"]["cmc"][3] == pytest.approx(result.cmc[3].tolist())
    assert saved["queries"] == 72
    assert saved["settings"] == {"search": "all", "shots": 1, "gallery": "agw", "cmc_level": "identity"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "al"}, "search must be one of 'all', 'indoor', got 'al'. Did you mean 'all'"),
        ({"gallery": "random"}, "gallery must be one of 'agw', 'official', got 'random'"),
        ({"shots": 10}, 'shots must be 1 for the galleries of AGW, got 10. Only gallery="official" has'),
        ({"shots": 0}, "shots must be at least 1, got 0"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
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
    with pytest.raises(ValueError, match=r"query.cameras must be among \(3, 6\), got \[1, 2, 4, 5\]"):
        protocol.evaluate(gallery, query)
    with pytest.raises(ValueError, match=r"gallery.cameras must be among \(1, 2, 4, 5\), got \[3, 6\]"):
        protocol.evaluate(query, query)
    outdoor = EmbeddingSet(*(field[gallery.cameras > 3] for field in gallery))
    with pytest.raises(ValueError, match=r"gallery must have images of cameras \(1, 2\), got \[4, 5\]"):
        SYSUMM01Protocol("indoor").evaluate(query, outdoor)
    broken = gallery.embeddings.index_fill(0, torch.tensor(7), torch.nan)
    with pytest.raises(ValueError, match=r"gallery.embeddings\[7\] must be finite, got nan"):
        protocol.evaluate(query, gallery._replace(embeddings=broken))
    with pytest.raises(TypeError, match="query.identities must be integers, got torch.float32"):
        protocol.rank(query._replace(identities=query.identities.float()), gallery)
    with pytest.raises(ValueError, match="query_identities must have a match in the gallery for one query at least"):
        protocol.evaluate(query._replace(identities=query.identities + 100), gallery)
    with pytest.raises(ValueError, match="trial must be from 0 to 9, got 10"):
        protocol.rank(query, gallery, trial=10)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        protocol.rank(query, gallery, k=0)
    official = SYSUMM01Protocol(gallery="official", permutations={})
    with pytest.raises(ValueError, match=r"permutations must order the 3 images of camera 1, identity 0 in 10 trials"):
        official.evaluate(query, gallery)
    identities, cameras = torch.tensor([1, 1]), torch.tensor([1, 1])
    for order in ([1, 2], [-1, 0], [0, 0]):
        official = SYSUMM01Protocol(gallery="official", permutations={(1, 1): np.array([order])}, trials=1)
        with pytest.raises(ValueError, match="permutations must order the 2 images of .* in 1 trials, from 0, got"):
            official.galleries(identities, cameras)
