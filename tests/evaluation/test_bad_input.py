"""The campaign of bad input for the evaluation; `GalleryIndex` has its own tests."""

import inspect

import numpy as np
import pytest
import torch

from tests.bad_input import case, choice, flag, integer, number, parameters, problems, tensor
from vireid import evaluation
from vireid.evaluation import (
    AffinityInference,
    Calibration,
    CorruptedProtocol,
    EmbeddingSet,
    KReciprocalReranking,
    LLCMProtocol,
    OwnProtocol,
    RegDBProtocol,
    RetrievalResult,
    SYSUMM01Protocol,
    calibrate,
    compare_pairs,
    compare_runs,
    compare_tracklets,
    compute_error_rates,
    compute_metrics,
    compute_open_set_metrics,
    create_protocols,
    create_reranking,
    describe_run,
    evaluate,
    exclude_same_camera,
    exclude_same_location,
    extract_embeddings,
    format_results,
    format_runs,
    pool_tracklets,
)

ROWS, LABELS, CAMERAS = torch.eye(4), torch.arange(4), torch.tensor([3, 3, 6, 6])
INFRARED = EmbeddingSet(ROWS, LABELS, CAMERAS, "infrared")
VISIBLE = EmbeddingSet(ROWS, LABELS, torch.tensor([1, 2, 4, 5]), "visible")
IMAGES = [(torch.ones(3, 4, 4), 7, 1), (torch.zeros(3, 4, 4), 8, 1)]
RESULT = LLCMProtocol("infrared").evaluate(INFRARED, VISIBLE)
METRICS = LLCMProtocol("infrared").evaluate_trial(INFRARED, VISIBLE)
PERMUTATIONS = {(1, 0): np.array([[0]])}
RUN = describe_run({"all": RESULT}, fingerprint="0f", counts={"test identities": 4})
OTHER_RUNS = {"a": RUN, "b": {**RUN, "data": {}}}
NOT_RUNS = [None, 3, "text", [], {}, RESULT, {"data": {}}, object()]
OTHERS = [None, 3, 2.5, "text", [3], object(), torch.ones(2)]  # for arguments that take objects


def mean_colour(images, modality):
    """Embed a batch of images."""
    return images.mean((2, 3)) + 1


def integers(*others):
    """Values that no vector of integers has."""
    floats = [torch.rand(4), [0.5, 1.5, 2.5, 3.5], torch.ones(4, dtype=torch.bool), np.ones(4, complex)]
    return [None, 3, 2.5, "text", ["a", "b", "c", "d"], object(), {}, LABELS[:3], LABELS[None], *floats, *others]


def embedding_sets(part):
    """Sets that no protocol takes."""
    rows = part.embeddings
    changes = [
        {"embeddings": x}
        for x in (
            None,
            "text",
            rows[0],
            rows[:3],
            rows[:, :0],
            rows.long(),
            rows.to(torch.complex64),
            rows * torch.nan,
            rows * 0,
            rows[:, :, None, None],
        )
    ]
    changes += [{name: x} for name in ("identities", "cameras") for x in (None, "text", LABELS.float(), LABELS[:3])]
    changes += [{name: LABELS > 1} for name in ("identities", "cameras")]
    changes += [{"identities": LABELS.to(torch.complex64)}, {"modality": "auxiliary"}, {"modality": None}]
    return [*OTHERS, *(part._replace(**change) for change in changes)]


COMMON = {
    "distance": choice("cosin", "l2"),
    "cmc_level": choice("images"),
    "reranking": [3, True, "yes", KReciprocalReranking, [], object()],
}
PROTOCOL = LLCMProtocol("infrared")
PAIR = {"query": INFRARED, "gallery": VISIBLE}
REGDB = {"query": "visible", "trial": 1, "trained_on": 1}
RERANKING = KReciprocalReranking(k1=2, k2=1)
DISTANCES = {
    "distances": torch.rand(4, 4),
    "query_identities": LABELS,
    "gallery_identities": LABELS,
    "query_cameras": CAMERAS,
    "gallery_cameras": VISIBLE.cameras,
}
MATRICES = tensor(torch.rand(4), torch.rand(4, 4, 4), torch.eye(4) * torch.nan, torch.eye(4).to(torch.complex64))
MATRICES = [x for x in MATRICES if not isinstance(x, list)] + [torch.eye(4, dtype=torch.bool), [[1.0], [1.0, 2.0]]]
EXTRACTION = {
    "batch_size": integer(least=1),
    "workers": integer(least=0),
    "device": [3, 2.5, [], "gpu", "cuda:x", object(), b"cpu"],
    "autocast": [3, "bfloat16", [], True, object()],
    "flip": choice("average", "men"),
    "progress": flag(),
    "cache": [3, 2.5, [], {}, True, object(), torch.ones(2)],
}
MODELS = [
    *[x for x in OTHERS if not callable(x)],
    lambda images, modality: (images, images),
    lambda images, modality: None,
    lambda images, modality: images,
    lambda images, modality: images[:, :, 0, 0].long(),
    lambda images, modality: images[:1, :, 0, 0],
    lambda images, modality: {"embeddings": images},
]
DATASETS = [None, 3, 2.5, object(), [], {}, [1, 2], [(torch.ones(3, 4, 4), 1)], [("a", "b", "c")]]
SIDES = {"visible": IMAGES, "infrared": IMAGES}
PEOPLE = {"query": INFRARED._replace(embeddings=torch.arange(16.0).sin().view(4, 4)), "gallery": VISIBLE}
NEGATIVE = [part._replace(identities=LABELS - 1) for part in (INFRARED, VISIBLE)]
OPEN_SET = {
    "distances": torch.rand(4, 4),
    "query_identities": LABELS + 2,
    "gallery_identities": LABELS,
    "false_positive_rates": [0.5],
}
NOT_PATHS = [None, 3, 2.5, [], {}, True, object(), torch.ones(2), b"folder"]
CALIBRATION = calibrate(**PEOPLE, false_accept_rate=0.5)

CASES = {
    "compute_metrics": case(
        compute_metrics,
        {"distances": torch.rand(4, 4), "query_identities": LABELS, "gallery_identities": LABELS},
        distances=MATRICES,
        query_identities=integers(LABELS + 9),
        gallery_identities=integers(),
        excluded=[3, 2.5, "text", object(), {}, torch.eye(4), torch.ones(3, 4, dtype=torch.bool), [True]],
        cmc_level=choice("images"),
        max_rank=integer(least=1),
    ),
    "exclude_same_location": case(
        exclude_same_location,
        {"query_cameras": CAMERAS, "gallery_cameras": CAMERAS},
        query_cameras=[x for x in integers() if not (torch.is_tensor(x) and x.shape == (3,))],
        gallery_cameras=[x for x in integers() if not (torch.is_tensor(x) and x.shape == (3,))],
        locations=[3, 2.5, "text", [3], object(), {3: None}, {3: 2.5}, {"3": 2}, {None: 2}],
    ),
    "exclude_same_camera": case(
        exclude_same_camera,
        {
            "query_identities": LABELS,
            "query_cameras": CAMERAS,
            "gallery_identities": LABELS,
            "gallery_cameras": CAMERAS,
        },
        query_identities=[x for x in integers() if not (torch.is_tensor(x) and x.shape == (3,))],
        query_cameras=integers(),
        gallery_identities=[x for x in integers() if not (torch.is_tensor(x) and x.shape == (3,))],
        gallery_cameras=integers(),
    ),
    "AffinityInference": case(AffinityInference, k1=integer(least=1), k2=integer(least=1)),
    "AffinityInference.__call__": case(
        AffinityInference(k1=2, k2=2),
        {"queries": torch.rand(4, 8), "gallery": torch.rand(5, 8)},
        queries=tensor(torch.rand(8), torch.rand(0, 8), torch.ones(4, 8).long(), torch.full((4, 8), torch.nan)),
        gallery=tensor(torch.rand(8), torch.rand(5, 7), torch.rand(1, 8), torch.full((5, 8), torch.inf)),
    ),
    "KReciprocalReranking": case(
        KReciprocalReranking, k1=integer(least=1), k2=integer(least=1), weight=number(least=0, most=1)
    ),
    "KReciprocalReranking.__call__": case(
        RERANKING,
        {"queries": ROWS, "gallery": ROWS + 0.1},
        queries=tensor(ROWS[0], ROWS.long(), ROWS * torch.nan, ROWS[:, :0]),
        gallery=tensor(ROWS[0], ROWS.long(), ROWS * torch.inf, ROWS[:, :2]),
    ),
    "SYSUMM01Protocol": case(
        SYSUMM01Protocol,
        search=choice("al", "outdoor"),
        shots=integer(least=1),
        gallery=choice("random", "offical"),
        permutations=[3, "rand_perm_cam.mat", [], PERMUTATIONS, object()],
        trials=integer(least=1),
        **COMMON,
    ),
    "RegDBProtocol": case(
        RegDBProtocol,
        REGDB,
        query=choice("thermal", "auxiliary"),
        trial=integer(least=1, most=10),
        trained_on=[*integer(least=1, most=10), 2],
        allow_other_trial=flag(),
        **COMMON,
    ),
    "LLCMProtocol": case(
        LLCMProtocol,
        {"query": "infrared"},
        query=choice("thermal", "auxiliary"),
        convention=choice("swapped", "swaped"),
        trials=integer(least=1),
        **COMMON,
    ),
    "OwnProtocol": case(
        lambda query, **options: OwnProtocol(query, **{"gallery": "one per camera", **options}),
        {"query": "infrared", "exclude": "same location"},
        query=choice("thermal", "auxiliary"),
        gallery=choice("one", "one per cameras"),
        exclude=choice("camera", "same place"),
        locations=[3, 2.5, "text", [3], object(), {3: None}, {3: 2.5}, {"3": 2}, {None: 2}],
        trials=[x for x in integer(least=1) if x is not None],
        **COMMON,
    ),
    "compare_pairs": case(
        compare_pairs,
        PEOPLE,
        query=[*embedding_sets(INFRARED), NEGATIVE[0]],
        gallery=[x for x in [*embedding_sets(VISIBLE), NEGATIVE[1]] if x is not None],
        distance=COMMON["distance"],
        exclude=choice("same location", "camera"),
    ),
    "calibrate": case(
        calibrate,
        {**PEOPLE, "false_accept_rate": 0.5},
        query=[*embedding_sets(INFRARED), NEGATIVE[0]],
        gallery=[x for x in [*embedding_sets(VISIBLE), NEGATIVE[1]] if x is not None],
        false_accept_rate=[*number(above=0, below=1), 1e-9],
        distance=COMMON["distance"],
        exclude=choice("same location", "camera"),
        confidence=number(above=0, below=1),
        seed=integer(least=0),
    ),
    "Calibration.save": case(CALIBRATION.save, path=NOT_PATHS),
    "Calibration.load": case(Calibration.load, path=[*NOT_PATHS, "no/such/folder", "no.json"]),
    "compute_error_rates": case(
        compute_error_rates,
        {"distances": torch.rand(4, 4), "same": torch.eye(4, dtype=torch.bool)},
        distances=[x for x in MATRICES if not torch.is_tensor(x) or x.shape == (4, 4)],  # of any shape, like `same`
        same=[None, 3, 2.5, "text", object(), {}, torch.eye(4), torch.ones(4, 4, dtype=torch.bool), [True, False]],
    ),
    "compute_open_set_metrics": case(
        compute_open_set_metrics,
        OPEN_SET,
        distances=MATRICES,
        query_identities=integers(LABELS, LABELS + 9, LABELS - 1),
        gallery_identities=integers(LABELS - 1),
        excluded=[3, 2.5, "text", object(), {}, torch.eye(4), torch.ones(3, 4, dtype=torch.bool), [True]],
        false_positive_rates=[
            None,
            0.5,
            "text",
            b"05",
            [],
            {},
            object(),
            [None],
            ["0.5"],
            [0.0],
            [1.0],
            [torch.nan],
            [1e-9],
        ],
    ),
    "pool_tracklets": case(
        pool_tracklets,
        {"embeddings": ROWS, "tracklets": LABELS},
        embeddings=tensor(ROWS[0], ROWS.long(), ROWS[:, :0], ROWS * torch.nan, ROWS[:, :, None, None]),
        tracklets=integers(),
        how=choice("max", "men"),
    ),
    "compare_tracklets": case(
        compare_tracklets,
        {"distances": ROWS, "query_tracklets": LABELS, "gallery_tracklets": LABELS},
        distances=tensor(ROWS[0], ROWS.long(), ROWS[:, :0], ROWS * torch.nan),
        query_tracklets=integers(),
        gallery_tracklets=[x for x in integers() if x is not None],
        how=choice("min", "mini"),
    ),
    "CorruptedProtocol": case(CorruptedProtocol, {"protocol": PROTOCOL}, protocol=OTHERS, draws=integer(least=1)),
    "RetrievalProtocol.evaluate": case(
        PROTOCOL.evaluate, PAIR, query=embedding_sets(INFRARED), gallery=embedding_sets(VISIBLE)
    ),
    "RetrievalProtocol.evaluate_trial": case(
        PROTOCOL.evaluate_trial,
        PAIR,
        query=embedding_sets(INFRARED),
        gallery=[*embedding_sets(VISIBLE), INFRARED],
        trial=integer(least=0, most=9),
    ),
    "RetrievalProtocol.rank": case(
        PROTOCOL.rank,
        PAIR,
        query=embedding_sets(INFRARED),
        gallery=embedding_sets(VISIBLE),
        trial=integer(least=0, most=9),
        k=integer(least=1),
    ),
    "RetrievalProtocol.evaluate_distances": case(
        SYSUMM01Protocol().evaluate_distances,
        DISTANCES,
        distances=MATRICES,
        query_identities=integers(LABELS + 9),
        gallery_identities=integers(),
        query_cameras=integers(LABELS + 9),
        gallery_cameras=integers(LABELS + 9),
        feature=[None, 3, [], object()],
    ),
    "CorruptedProtocol.evaluate": case(
        CorruptedProtocol(SYSUMM01Protocol(), draws=2).evaluate,
        {"query": INFRARED, "gallery": [VISIBLE, VISIBLE]},
        query=embedding_sets(INFRARED),
        gallery=[None, 3, 2.5, object(), [], [VISIBLE], VISIBLE],
    ),
    "CorruptedProtocol.evaluate_trial": case(
        CorruptedProtocol(SYSUMM01Protocol(), draws=2).evaluate_trial,
        {"query": INFRARED, "gallery": [VISIBLE, VISIBLE]},
        query=OTHERS,
        gallery=[None, 3, 2.5, object(), [], VISIBLE],
        trial=integer(least=0, most=1),
    ),
    "CorruptedProtocol.rank": case(
        CorruptedProtocol(SYSUMM01Protocol(), draws=2).rank,
        {"query": INFRARED, "gallery": [VISIBLE, VISIBLE]},
        query=OTHERS,
        gallery=[None, 3, 2.5, object(), [], VISIBLE],
        trial=integer(least=0, most=1),
        k=integer(least=1),
    ),
    "SYSUMM01Protocol.galleries": case(
        SYSUMM01Protocol().galleries,
        {"identities": LABELS, "cameras": VISIBLE.cameras},
        identities=[x for x in integers() if not (torch.is_tensor(x) and x.shape == (3,))],
        cameras=integers(),
    ),
    "create_protocols": case(
        lambda **options: create_protocols(**{"trial": 1, "trained_on": 1, **options}),
        {"name": "regdb"},
        name=choice("sysuu", "reg"),
        trial=integer(least=1, most=10),
        trained_on=[*integer(least=1, most=10), 2],
        allow_other_trial=flag(),
        gallery=choice("official"),
        permutations=[3, "rand_perm_cam.mat", [], PERMUTATIONS, object()],
        shots=integer(least=1),
        distance=COMMON["distance"],
        reranking=COMMON["reranking"],
    ),
    "create_reranking": case(create_reranking, name=choice("affinty", "k_reciprocal")),
    "EmbeddingSet.select": case(INFRARED.select, rows=[*[x for x in OTHERS if x is not OTHERS[-1]], LABELS + 2]),
    "RetrievalResult.of_trials": case(
        RetrievalResult.of_trials,
        {"trials": [METRICS], "protocol": "LLCM", "settings": {}},
        trials=[None, 3, object(), [], ["text"], [None], METRICS],
        protocol=[None, 3, [], object()],
        settings=[None, 3, [], "text", object()],
    ),
    "RetrievalResult.average": case(
        RetrievalResult.average, results=[None, 3, object(), [], [None], "text", RESULT, {"a": RESULT}]
    ),
    "RetrievalResult.from_dict": case(
        RetrievalResult.from_dict,
        values=[
            None,
            3,
            "text",
            [],
            *({**RESULT.to_dict(), name: bad} for name in ("trials", "valid_queries", "settings") for bad in (None, 3)),
            {**RESULT.to_dict(), "trials": {"cmc": [], "mAP": [], "mINP": []}},
        ],
    ),
    "describe_run": case(
        describe_run,
        {"results": {"all": RESULT}, "fingerprint": "0f", "counts": {"test identities": 4}},
        results=[None, 3, "text", [], {}, [RESULT], {"a": None}, RESULT],
        fingerprint=[None, 3, 2.5, [], object()],
        counts=[None, 3, "text", [], object()],
        settings=[3, "text", [], object()],
        command=[None, 3, "train.py", {}, [3], object()],
    ),
    "compare_runs": case(compare_runs, {"first": RUN, "second": RUN}, first=NOT_RUNS, second=NOT_RUNS),
    "format_runs": case(
        format_runs, runs=[None, 3, "text", [], {}, RUN, [RUN], *({"a": bad} for bad in NOT_RUNS), OTHER_RUNS]
    ),
    "format_results": case(format_results, results=[None, 3, "text", [], {}, [RESULT], {"a": None}, RESULT]),
    "extract_embeddings": case(
        extract_embeddings,
        {"model": mean_colour, "images": IMAGES, "modality": "visible"},
        model=MODELS,
        images=DATASETS,
        modality=choice("thermal", "auxiliary"),
        **EXTRACTION,
    ),
    "evaluate": case(
        evaluate,
        {"model": mean_colour, "images_by_modality": SIDES, "protocols": LLCMProtocol("visible")},
        model=MODELS,
        images_by_modality=[None, 3, "text", [], {}, {"visible": IMAGES}, {**SIDES, "thermal": IMAGES}],
        protocols=[None, 3, "sysu", [], {}, {"a": None}, LLCMProtocol],
        **EXTRACTION,
    ),
}

ELSEWHERE = {  # and why
    "GalleryIndex": "test_index.py",
    "SearchResult": "made by the library",
    "Ranking": "made by the library",
    "RetrievalMetrics": "made by the library",
    "Calibration": "made by the library; its save and load are here",
    "ErrorRates": "made by the library",
    "OpenSetMetrics": "made by the library",
    "PairDistances": "made by the library",
    "Tracklets": "made by the library",
    "RetrievalResult": "made by the library",
    "RetrievalProtocol": "the base of the protocols, which have its arguments",
    "EmbeddingSet": "checked where it is used",
}


@pytest.mark.parametrize(("name", "argument"), parameters(CASES))
def test_bad_input_is_refused_clearly(name, argument):
    assert problems(CASES[name], argument) == []


def test_every_public_name_is_in_the_campaign():
    for name in set(evaluation.__all__) - set(ELSEWHERE):
        arguments = set(inspect.signature(getattr(evaluation, name)).parameters)
        assert arguments <= set(CASES[name].bad), f"{name}: {arguments - set(CASES[name].bad)}"
