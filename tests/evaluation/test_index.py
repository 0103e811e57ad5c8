import pickle
import threading

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from vireid.evaluation import GalleryIndex
from vireid.evaluation import nearest as nearest_module

METRICS = pytest.mark.parametrize("metric", ["cosine", "euclidean"])


def random(*shape, seed=0, steps=0):
    """Normal values, or with steps so few whole ones that rows repeat and distances tie."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randint(1, steps + 1, shape, generator=generator).float()
        if steps
        else torch.randn(shape, generator=generator)
    )


def nearest(queries, rows, k, metric):
    """Distances and places by sorting all distances, computed in float64 from rows of float32 and rounded to it."""
    if metric == "cosine":
        queries, rows = (normalize(x.double(), dim=1).float() for x in (queries, rows))
    squared = (queries.double()[:, None] - rows.double()).square().sum(2)
    distances = (squared / 2 if metric == "cosine" else squared.sqrt()).float()
    distances, places = distances.sort(dim=1, stable=True)
    return distances[:, :k], places[:, :k]


def assert_nearest(found, rows, queries, k, metric, tolerance=2e-6):
    """Right distances of every row, in order, ties by row, and none further than the k nearest but for rounding."""
    distances, places = nearest(queries, rows, len(rows), metric)
    kept = min(k, len(rows))
    of_place = distances.gather(1, places.argsort(1))
    chosen = found.rows[:, :kept]
    assert chosen.ge(0).all()
    assert all(len(set(row)) == kept for row in chosen.tolist())
    torch.testing.assert_close(found.distances[:, :kept], of_place.gather(1, chosen), rtol=0, atol=0)
    assert found.distances[:, :kept].diff(dim=1).ge(0).all()
    tied = found.distances[:, :kept].diff(dim=1) == 0
    assert chosen.diff(dim=1)[tied].gt(0).all()
    squares = (x[:, :kept].double() ** (1 if metric == "cosine" else 2) for x in (found.distances, distances))
    torch.testing.assert_close(*squares, rtol=tolerance, atol=tolerance)
    assert found.distances[:, kept:].eq(torch.inf).all()
    assert found.rows[:, kept:].eq(-1).all()
    assert found.rows.shape == found.distances.shape == (len(queries), k)


def filled(rows, metric, names=None):
    index = GalleryIndex(rows.shape[1], metric=metric)
    index.add(rows, names)
    return index


def assert_equal(actual, expected):
    for one, other in zip(actual[:2], expected[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_by_hand():
    rows = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0], [-1.0, 0.0]])
    found = filled(rows, "cosine", ["a", "b", "c", "d"]).search(torch.tensor([[5.0, 0.0]]), k=4)
    assert found.rows.tolist() == [[0, 2, 1, 3]]
    assert found.names == [["a", "c", "b", "d"]]
    assert found.distances[0].tolist() == pytest.approx([0, 1 - 0.5**0.5, 1, 2])
    found = filled(rows, "euclidean").search(torch.tensor([[5.0, 0.0]]), k=3)
    assert found.rows.tolist() == [[0, 2, 1]]
    assert found.distances[0].tolist() == pytest.approx([3, 13**0.5, 26**0.5])


@METRICS
def test_equals_distances_in_float64(metric):
    rows, queries = random(700, 24), random(50, 24, seed=1)
    expected = 1 - normalize(queries.double(), dim=1) @ normalize(rows.double(), dim=1).T
    if metric == "euclidean":
        expected = torch.cdist(queries.double(), rows.double())
    expected, places = expected.topk(9, largest=False)
    distances, found, _ = filled(rows, metric).search(queries, k=9)
    torch.testing.assert_close(distances.double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, places)


@METRICS
@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 300),
    dim=st.integers(1, 5),
    k=st.integers(1, 20),
    chunk=st.integers(1, 50),
    group=st.sampled_from([1, 2, 8]),
    fast=st.booleans(),
    steps=st.sampled_from([0, 1, 2, 5]),
    offset=st.sampled_from([0.0, 1000.0]),
    seed=st.integers(0, 1000),
)
def test_equals_sorting_whatever_the_chunks_and_ties(metric, size, dim, k, chunk, group, fast, steps, offset, seed):
    rows, queries = (
        random(size, dim, seed=seed, steps=steps) + offset,
        random(7, dim, seed=seed + 1, steps=steps) + offset,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_module, "CHUNK", 8 * chunk)
        patch.setattr(nearest_module, "_choose_group", lambda *sizes: group)
        patch.setattr(nearest_module, "_multiplies_bfloat16", lambda: fast)
        found = filled(rows, metric).search(queries, k)
    assert_nearest(found, rows, queries, k, metric, 2e-6 if offset == 0 else 1e-5)


def test_groups_grow_with_the_gallery():
    groups = {1: 1, 5_000: 1, 20_000: 2, 1_000_000: 16, 10**12: 256}
    assert {rows: nearest_module._choose_group(rows, 20) for rows in groups} == groups


@pytest.mark.parametrize("k", [20, 5_000])
def test_the_best_scores_of_all_groups_take_512_mebibytes_at_most(k, monkeypatch):
    sizes = []

    def find(x, stored, k, dtype, cosine):
        sizes.append(4 * len(x) * len(stored) / nearest_module._choose_group(len(stored), k))
        return torch.zeros(len(x), k), torch.zeros(len(x), k, dtype=torch.int64), torch.ones(len(x), dtype=torch.bool)

    monkeypatch.setattr(nearest_module, "_find", find)
    nearest_module.find_nearest(torch.ones(1500, 1), torch.ones(300_000, 1), k, "cosine")
    assert max(sizes) <= 2**29


@METRICS
def test_many_blocks_of_queries_with_repeated_rows(metric, monkeypatch):
    monkeypatch.setattr(nearest_module, "CHUNK", 256)
    monkeypatch.setattr(nearest_module, "_choose_group", lambda *sizes: 8)
    rows = random(300, 16)[torch.randint(300, (1500,), generator=torch.Generator().manual_seed(1))]
    queries = random(1100, 16, seed=2)
    assert_nearest(filled(rows, metric).search(queries, 12), rows, queries, 12, metric)


@METRICS
def test_every_block_nearer_than_the_one_before(metric, monkeypatch):
    monkeypatch.setattr(nearest_module, "CHUNK", 128)
    monkeypatch.setattr(nearest_module, "_choose_group", lambda *sizes: 8)
    query = torch.ones(1, 4)
    rows = query + torch.linspace(3, 0, 900)[:, None] * torch.tensor([1.0, 0, 0, -0.5])
    assert_nearest(filled(rows, metric).search(query, 5), rows, query, 5, metric)


def test_rows_close_together_and_far_from_the_origin_are_told_apart():
    rows = torch.tensor([1000.0, 1000.0]) + 2**-10 * random(500, 2, steps=40)
    assert_nearest(filled(rows, "euclidean").search(rows, 7), rows, rows, 7, "euclidean", 1e-7)


def test_precision_of_products_changes_no_distance():
    rows, queries = random(2000, 64), random(20, 64, seed=1)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = filled(rows, "cosine").search(queries)
    finally:
        torch.set_float32_matmul_precision(before)
    assert_nearest(found, rows, queries, 10, "cosine", 1e-2)


def spread(seed=0):
    """Rows around 40 centres, so that many are about as near as the k-th nearest, from very close to far apart."""
    widths = torch.logspace(-4, 0, 40)[torch.arange(4000) % 40, None]
    return normalize(random(40, 64)[torch.arange(4000) % 40] + widths * random(4000, 64, seed=seed + 2), dim=1)


def test_products_in_bfloat16_miss_no_row(monkeypatch):
    rows, queries, asked = spread(), spread(seed=1)[:400], []
    find = nearest_module._find

    def listen(x, stored, k, dtype, cosine):
        asked.append((dtype, len(x)))
        return find(x, stored, k, dtype, cosine)

    monkeypatch.setattr(nearest_module, "_find", listen)
    monkeypatch.setattr(nearest_module, "_multiplies_bfloat16", lambda: True)
    found = filled(rows, "cosine").search(queries, 15)
    assert_nearest(found, rows, queries, 15, "cosine", 1e-7)
    (fast, of_all), (exact, of_some) = asked
    assert (fast, exact, of_all) == (torch.bfloat16, torch.float32, 400)
    assert 0 < of_some < 400  # some queries are proven and some are not
    monkeypatch.setattr(nearest_module, "_multiplies_bfloat16", lambda: False)
    assert_equal(filled(rows, "cosine").search(queries, 15), found)
    assert asked[2:] == [(torch.float32, 400)]


@pytest.mark.parametrize("dim", [2, 64, 2048])
def test_the_bound_holds_for_products_in_bfloat16(dim):
    x, y = (normalize(random(1000, dim, seed=seed).abs() ** 3, dim=1) for seed in (0, 1))  # the scores are large
    lost = (x - x.bfloat16()).norm(dim=1, keepdim=True) + 2**-8
    bound = (torch.mm(x.bfloat16(), y.bfloat16().T).double() + lost) / (1 - 2**-8) + (dim + 2) * 2**-23
    assert (x.double() @ y.double().T < bound).all()


@METRICS
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 1000)), min_size=1, max_size=12))
def test_adding_and_removing_equals_an_index_built_anew(metric, steps):
    index, rows, named = GalleryIndex(3, metric=metric), {}, 0
    for adds, size, seed in steps:
        if adds:
            new = dict(zip(map(str, range(named, named + size)), random(size, 3, seed=seed, steps=3), strict=True))
            index.add(torch.stack([*new.values()]), list(new))
            rows, named = rows | new, named + size
        else:
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
            gone = [list(rows)[i] for i in order[:size]]
            index.remove(gone)
            rows = {name: row for name, row in rows.items() if name not in gone}
    assert index.names == list(rows)
    assert len(index) == len(rows)
    if rows:
        anew = filled(torch.stack([*rows.values()]), metric, list(rows))
        queries = random(4, 3, steps=3)
        assert_equal(index.search(queries, 300), anew.search(queries, 300))


def test_order_of_rows_does_not_matter_without_ties():
    rows, queries, order = random(200, 8), random(9, 8, seed=1), torch.randperm(200)
    found, expected = filled(rows[order], "cosine").search(queries), filled(rows, "cosine").search(queries)
    assert_equal((found.distances, order[found.rows]), expected)


def test_growth_does_not_copy_the_rows_each_time():
    index, storages = GalleryIndex(2), set()
    for _ in range(400):
        index.add(torch.ones(1, 2))
        storages.add(index._gallery[0].shape)
    assert len(storages) < 20
    assert len(index._gallery[0]) <= 600


def test_a_search_that_has_begun_sees_no_row_that_is_added_afterwards():
    index = filled(random(6, 3), "cosine")
    index.add(random(1, 3))  # leaves room
    stored, known = index._gallery
    for size in (1, 20):
        index.add(random(size, 3))
        assert len(known) <= 8  # rows without a value lie beyond
    assert len(index) == 28
    assert torch.equal(stored[:8], index._gallery[0][:8])


def test_inputs_are_kept_and_modes_of_gradients_do_not_matter():
    rows = random(5, 3)
    before = rows.clone()
    index = GalleryIndex(3)
    with torch.inference_mode():
        index.add(rows, list("abcde"))
        index.remove(["e"])
        index.add(rows[:1])
    index.add(rows.requires_grad_())
    assert not index.search(rows).distances.requires_grad
    torch.testing.assert_close(rows.detach(), before)
    index.names.clear()
    assert index.names == ["a", "b", "c", "d", *[""] * 6]


@METRICS
def test_saved_and_loaded(metric, tmp_path):
    index, queries = filled(random(50, 6), metric, [str(i) for i in range(50)]), random(4, 6, seed=1)
    index.remove(["6", "0"])
    index.save(tmp_path / "new" / "gallery.safetensors")
    loaded = GalleryIndex.load(tmp_path / "new" / "gallery.safetensors")
    assert_equal(loaded.search(queries), index.search(queries))
    assert (loaded.dim, loaded.metric, loaded.names) == (6, metric, index.names)
    for changed in (index, loaded):
        changed.add(random(1, 6))
    assert_equal(loaded.search(queries, 49), index.search(queries, 49))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["gallery.safetensors"]


def test_an_empty_index_is_saved_and_loaded(tmp_path):
    GalleryIndex(6).save(tmp_path / "gallery")
    assert len(GalleryIndex.load(tmp_path / "gallery")) == 0


def test_a_failed_save_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "gallery"
    filled(random(5, 3), "cosine").save(path)
    before = path.read_bytes()

    def fail(tensors, file, metadata):
        file.write_bytes(b"half of it")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", fail)
        with pytest.raises(OSError, match="disk full"):
            filled(random(9, 3), "cosine").save(path)
    assert path.read_bytes() == before
    with pytest.raises(OSError, match="directory"):
        filled(random(9, 3), "cosine").save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gallery"]


def test_loading_what_is_not_an_index(tmp_path):
    path = tmp_path / "gallery"
    with pytest.raises(FileNotFoundError, match="path must be a file, got .*gallery"):
        GalleryIndex.load(path)
    filled(random(50, 3), "cosine").save(path)
    whole = path.read_bytes()
    for content in (whole[:-7], whole[:20], b"", pickle.dumps({"rows": [1.0]})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="path must be a.* file, got .*gallery|got .*/gallery'"):
            GalleryIndex.load(path)
    names = torch.tensor(list(b'["a", ""]'), dtype=torch.uint8)
    tensors = {"embeddings": torch.ones(2, 3), "names": names}
    metadata = {"format": "pt", "vireid": "GalleryIndex", "version": "3", "metric": "cosine"}
    for changed, metadata_changed, message in (
        (
            {},
            {"vireid": "MUN"},
            r"path must be a file of GalleryIndex.save.*got .*'vireid': 'MUN'",
        ),
        ({}, {"version": "2"}, "path must be a file of .*got .*'version': '2'.*One has .*'version': '3'"),
        ({}, {"metric": "cosin"}, "metric must be one of .* got 'cosin'"),
        ({"embeddings": torch.ones(3)}, {}, "path must hold finite float32 rows n d"),
        ({"embeddings": torch.full((2, 3), torch.nan)}, {}, "path must hold finite float32 rows"),
        ({"embeddings": torch.ones(2, 3).double()}, {}, "path must hold finite float32 rows"),
        ({"embeddings": torch.ones(3, 3)}, {}, "path must hold a name for each of 3 rows"),
        ({"names": names[:-1]}, {}, "path must hold names in JSON"),
        ({"names": names[4:]}, {}, "path must hold names in JSON"),
        ({"names": torch.tensor(list(b"[1, 2]"), dtype=torch.uint8)}, {}, "path must hold a name for each"),
    ):
        safetensors.torch.save_file(tensors | changed, path, metadata | metadata_changed)
        with pytest.raises(ValueError, match=message):
            GalleryIndex.load(path)
    for present, value in tensors.items():
        safetensors.torch.save_file({present: value}, path, metadata)
        with pytest.raises(ValueError, match="path must hold embeddings and names"):
            GalleryIndex.load(path)
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(ValueError, match="path must be a file of"):
        GalleryIndex.load(path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.ones(2, 4),), ValueError, r"embeddings must have d = 3, got \(2, 4\)"),
        ((torch.ones(3),), ValueError, r"embeddings must have shape \(b, d\), got \(3,\)"),
        ((torch.ones(2, 3).long(),), TypeError, "embeddings must be floating point"),
        (([[1.0, 2.0, 3.0]],), TypeError, "embeddings must be a tensor, got 'list'"),
        (
            (torch.tensor([[1.0, 2, 3]] * 30_000 + [[1, torch.nan, 1]]),),
            ValueError,
            r"embeddings\[30000\] must be finite, got nan",
        ),
        (
            (torch.tensor([[1.0, 2, 3]] * 30_000 + [[0, 0, 0]]),),
            ValueError,
            r"embeddings\[30000\] must be longer than zero",
        ),
        ((torch.ones(2, 3), ["a"]), ValueError, "names must have one for each of 2 rows, got 1"),
        ((torch.ones(2, 3), "ab"), TypeError, "names must be a list of strings, got 'ab'"),
        ((torch.ones(1, 3), [2]), TypeError, r"names must be a list of strings, got \[2\]"),
    ],
)
def test_what_add_refuses_leaves_the_index_as_it_was(arguments, error, message):
    index, queries = filled(random(6, 3), "cosine"), random(2, 3, seed=1)
    before = index.search(queries)
    with pytest.raises(error, match=message):
        index.add(*arguments)
    assert len(index) == 6
    assert_equal(index.search(queries), before)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["b", "x", "y"], ValueError, r"names must be in the index, got \['x'\]"),
        ([1], TypeError, r"names must be a list of strings, got \[1\]"),
        ("b", TypeError, "names must be a list of strings, got 'b'"),
    ],
)
def test_what_remove_refuses_leaves_the_index_as_it_was(names, error, message):
    index = filled(random(6, 3), "cosine", list("abcdef"))
    with pytest.raises(error, match=message):
        index.remove(names)
    assert index.names == list("abcdef")


def test_rows_too_long_for_float32_are_refused():
    with pytest.raises(ValueError, match=r"squared embeddings\[1\] must be finite, got inf"):
        filled(torch.tensor([[1.0], [1e300]], dtype=torch.float64), "euclidean")
    with pytest.raises(ValueError, match=r"squared embeddings\[0\] must be finite, got inf"):
        filled(torch.tensor([[1e25]]), "euclidean")
    assert filled(torch.tensor([[1e-30, 1e-30]]), "cosine").search(torch.tensor([[1e30, 0.0]])).distances[0, 0] < 0.3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.ones(1, 4),), ValueError, r"queries must have d = 3, got \(1, 4\)"),
        ((torch.zeros(1, 3),), ValueError, r"queries\[0\] must be longer than zero"),
        ((torch.full((1, 3), torch.inf),), ValueError, r"queries\[0\] must be finite, got inf"),
        ((torch.ones(1, 3).int(),), TypeError, "queries must be floating point"),
        ((torch.ones(1, 3), 0), ValueError, "k must be an integer of at least 1, got 0"),
    ],
)
def test_what_search_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        filled(random(6, 3), "cosine").search(*arguments)


def test_an_empty_index_cannot_be_searched():
    index = filled(random(6, 3), "cosine")
    index.remove([""])
    with pytest.raises(RuntimeError, match="index must hold a row, got 0. Call add first."):
        index.search(torch.ones(1, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim must be an integer of at least 1, got 0"),
        ({"metric": "cosin"}, "metric must be one of 'cosine', 'euclidean', got 'cosin'. Did you mean 'cosine'?"),
    ],
)
def test_arguments_of_the_index(arguments, message):
    with pytest.raises(ValueError, match=message):
        GalleryIndex(**{"dim": 3} | arguments)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@METRICS
def test_device_does_not_matter(metric):
    rows, queries = random(3000, 64).repeat(2, 1), random(50, 64, seed=1)
    index = GalleryIndex(64, metric=metric, device="cuda")
    index.add(rows)
    found = index.search(queries, 15)
    assert_equal(found, filled(rows, metric).search(queries, 15))


def test_names_are_found_saved_and_removed(tmp_path):
    index = GalleryIndex(2, metric="euclidean")
    index.add(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), names=["a/é.jpg", "b"])
    index.add(torch.tensor([[2.0, 0.0]]))
    index.add(torch.tensor([[3.0, 0.0], [9.0, 0.0]]), names=("d", "b"))
    assert index.search(torch.tensor([[2.9, 0.0]]), 6).names == [["d", "", "b", "a/é.jpg", "b", ""]]
    index.remove(["b"])
    index.save(tmp_path / "gallery")
    loaded = GalleryIndex.load(tmp_path / "gallery")
    assert index.names == loaded.names == ["a/é.jpg", "", "d"]
    assert loaded.search(torch.tensor([[2.9, 0.0]]), 2).names == [["d", ""]]
    assert len(index) == 3


def test_rows_beyond_the_threshold_are_nobody():
    index = filled(torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]), "euclidean")
    found = index.search(torch.tensor([[3.0, 4.0], [100.0, 0.0]]), 3, threshold=5.0)
    assert found.distances.tolist() == [[0, 5, 5], [torch.inf] * 3]
    assert found.rows.tolist() == [[1, 0, 2], [-1, -1, -1]]
    assert index.search(torch.tensor([[3.0, 4.0]]), 3, threshold=4.999).rows.tolist() == [[1, -1, -1]]
    for threshold in (-1, float("nan"), "1", [1.0]):
        with pytest.raises((ValueError, TypeError), match="threshold must be a finite number of at least 0"):
            index.search(torch.ones(1, 2), threshold=threshold)


def test_threads_lose_no_row(tmp_path):
    index, failed = GalleryIndex(4, metric="euclidean"), []
    start = threading.Barrier(9)

    def change(number):
        start.wait()
        for turn in range(30):
            value = torch.full((2, 4), float(number))
            index.add(value, names=[f"{number} {turn}", f"{number} gone"])
            if index.search(value, 1).names[0][0].split()[0] != str(number):
                failed.append(number)
            index.remove([f"{number} gone"])

    def search():
        start.wait()
        for _ in range(100):
            if len(index):
                found = index.search(torch.zeros(1, 4), 40)
                distances = [2 * int(name.split()[0]) if name else torch.inf for name in found.names[0]]
                if found.distances[0].tolist() != distances or (found.rows[0] >= 0).tolist() != [
                    *map(bool, found.names[0])
                ]:
                    failed.append(found)
            index.save(tmp_path / "gallery")
            GalleryIndex.load(tmp_path / "gallery")

    threads = [threading.Thread(target=change, args=(number,)) for number in range(1, 9)] + [
        threading.Thread(target=search)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert failed == []
    assert len(index) == 240
    assert sorted(index.names) == sorted(f"{number} {turn}" for number in range(1, 9) for turn in range(30))


def test_an_index_can_be_copied():
    index = filled(random(5, 3), "cosine")
    copied = pickle.loads(pickle.dumps(index))
    copied.add(random(1, 3))
    assert (len(index), len(copied)) == (5, 6)


def test_a_flipped_bit_in_the_file_is_noticed(tmp_path):
    path = tmp_path / "gallery"
    filled(random(20, 3), "cosine").save(path)
    whole = path.read_bytes()
    for place in torch.randint(len(whole), (50,), generator=torch.Generator().manual_seed(0)).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="path must be an undamaged file, got"):
            GalleryIndex.load(path)
