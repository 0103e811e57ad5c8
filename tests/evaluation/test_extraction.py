import functools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vireid import MUN
from vireid._files import save_tensors
from vireid.evaluation import EmbeddingSet, extract_embeddings


class Notes:
    """What a model remembers, which is no part of its state for the cache."""

    def __init__(self, stop=None):
        self.modes, self.seen, self.stop = [], 0, stop

    def fingerprint(self):
        return ""


class Model(nn.Module):
    """Embeds the mean colour, times 2 in infrared; remembers in which mode it ran."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.inner = nn.Dropout()
        self.notes = Notes()

    def embed(self, images, modality):
        self.notes.modes.append((self.training, self.inner.training, torch.is_grad_enabled()))
        return self.scale * images.mean((2, 3)) * (2 if modality == "infrared" else 1)


def images_of(count, value=1.0):
    """Images of the colours 0, 1, …, with their number as identity."""
    return [(torch.full((3, 2, 2), value * number), number, number % 6) for number in range(count)]


def test_everything_arrives_in_order():
    result = extract_embeddings(Model(), images_of(7), "infrared", batch_size=3)
    assert result.embeddings[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert result.identities.tolist() == list(range(7))
    assert result.cameras.tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert (result.modality, result.feature) == ("infrared", "Model.embed")
    visible = extract_embeddings(Model(), images_of(7), "visible", batch_size=3, workers=2)
    assert visible.embeddings[:, 0].tolist() == list(range(7))


def test_runs_in_evaluation_mode_and_restores_the_modes():
    model = Model()
    model.inner.eval()
    extract_embeddings(model, images_of(2), "visible")
    assert model.notes.modes == [(False, False, False)]
    assert (model.training, model.inner.training) == (True, False)

    class Failing(list):
        def __getitem__(self, index):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        extract_embeddings(model, Failing(images_of(2)), "visible")
    assert (model.training, model.inner.training) == (True, False)


def test_embeddings_can_be_trained_on():
    result = extract_embeddings(Model(), images_of(2), "visible")
    nn.Linear(3, 1)(result.embeddings).sum().backward()


def test_equals_embedding_one_by_one():
    torch.manual_seed(0)
    model = MUN(5, "test_resnet", image_size=(64, 32))
    images = [(torch.rand(3, 64, 32), label, label) for label in range(5)]
    result = extract_embeddings(model, images, "visible", batch_size=3)
    expected = torch.cat([model.eval().embed(image[None], "visible") for image, _, _ in images])
    torch.testing.assert_close(result.embeddings, expected)
    mixed = extract_embeddings(model, images, "visible", autocast=torch.bfloat16)
    assert mixed.feature == "MUN.embed, bfloat16"
    assert 0 < (mixed.embeddings - expected).abs().max() < 0.05


class Sides(nn.Module):
    """Embeds the brightness of the left and of the right half, as a direction."""

    def embed(self, images, modality):
        halves = images.mean(1).chunk(2, dim=2)
        return nn.functional.normalize(torch.stack([half.mean((1, 2)) for half in halves], dim=1))


def test_flips():
    image = torch.tensor([3.0, 4.0]).expand(3, 1, 2)
    results = {
        flip: extract_embeddings(Sides(), [(image, 0, 1)], "visible", flip=flip)
        for flip in ("none", "mean", "mean-raw", "sum", "concatenate")
    }
    expected = {
        "none": [0.6, 0.8],
        "mean": [0.5**0.5] * 2,
        "mean-raw": [0.7, 0.7],
        "sum": [1.4, 1.4],
        "concatenate": [0.6, 0.8, 0.8, 0.6],
    }
    for flip, values in expected.items():
        assert results[flip].embeddings[0].tolist() == pytest.approx(values)
    assert results["mean-raw"].feature == "Sides.embed, flip mean-raw"


def test_device_type_and_labels_of_the_result():
    result = extract_embeddings(Model().half(), images_of(3), "visible", device="cpu")
    assert result.embeddings.dtype == torch.float32
    assert result.embeddings.device.type == "cpu"
    assert not result.embeddings.is_inference()


class Counted(Model):
    """Counts the images that it embeds, and stops at one of them."""

    def __init__(self, stop=None):
        super().__init__()
        self.notes = Notes(stop)

    def embed(self, images, modality):
        for number in images[:, 0, 0, 0].tolist():
            if number == self.notes.stop:
                raise KeyboardInterrupt
            self.notes.seen += 1
        return super().embed(images, modality)


class Fingerprinted(list):
    def fingerprint(self):
        return f"{len(self)} images"


def test_cache_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr("vireid.evaluation.extraction._PART", 4)
    images = Fingerprinted(images_of(10))
    expected = extract_embeddings(Model(), images, "visible")
    with pytest.raises(KeyboardInterrupt):
        extract_embeddings(Counted(stop=9), images, "visible", batch_size=2, cache=tmp_path)
    model = Counted()
    result = extract_embeddings(model, images, "visible", batch_size=2, cache=tmp_path)
    assert model.notes.seen == 2  # the last part alone
    for ours, theirs in zip(result[:3], expected[:3]):
        assert torch.equal(ours, theirs)
    model = Counted()
    assert torch.equal(extract_embeddings(model, images, "visible", cache=tmp_path)[0], expected[0])
    assert model.notes.seen == 0
    for kept in tmp_path.rglob("*.safetensors"):
        kept.write_bytes(kept.read_bytes()[:50])  # damaged: made anew
    assert torch.equal(extract_embeddings(model, images, "visible", cache=tmp_path)[0], expected[0])
    assert model.notes.seen == 10


@pytest.mark.parametrize("change", ["weights", "modality", "flip", "autocast", "images"])
def test_cache_is_of_one_model_and_its_data(tmp_path, change):
    images, model = Fingerprinted(images_of(5)), Counted()
    extract_embeddings(model, images, "visible", cache=tmp_path)
    if change == "weights":
        model.scale.data += 1
    images = Fingerprinted(images_of(6)) if change == "images" else images
    options = {"flip": {"flip": "mean"}, "autocast": {"autocast": torch.bfloat16}}.get(change, {})
    modality = "infrared" if change == "modality" else "visible"
    expected = extract_embeddings(model, images, modality, **options)
    model.notes.seen = 0
    assert torch.equal(extract_embeddings(model, images, modality, cache=tmp_path, **options)[0], expected[0])
    assert model.notes.seen >= 5


def test_what_is_cached_has_a_fingerprint(tmp_path):
    with pytest.raises(TypeError, match=r"images must have a fingerprint\(\) for the cache, .*, got 'list'"):
        extract_embeddings(Model(), images_of(2), "visible", cache=tmp_path)


def test_progress(capsys):
    extract_embeddings(Model(), images_of(7), "infrared", batch_size=3, progress=True)
    assert "infrared images: 100%" in capsys.readouterr().err


SEVERAL = """
    import torch, torch.distributed as dist
    from tests.evaluation.test_extraction import Model, images_of
    from vireid.evaluation import extract_embeddings

    dist.init_process_group("gloo")
    for count in (7, 1):
        expected = [float(number) for number in range(count)]
        result = extract_embeddings(Model(), images_of(count), "visible", batch_size=2)
        assert result.embeddings[:, 0].tolist() == expected, result
        assert result.identities.tolist() == list(range(count))
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_share_the_work(tmp_path):
    (tmp_path / "several.py").write_text(textwrap.dedent(SEVERAL))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, str(tmp_path / "several.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


class Broken(Model):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def embed(self, images, modality):
        return self.change(super().embed(images, modality))


def test_errors():
    with pytest.raises(ValueError, match="images must hold an image, got 0"):
        extract_embeddings(Model(), [], "visible")
    with pytest.raises(ValueError, match=r"images.embeddings\[0\] must be finite, got nan"):
        extract_embeddings(Model(), images_of(3, torch.nan), "visible")
    broken = Broken(lambda x: torch.where(x == 4, torch.inf, x))
    with pytest.raises(ValueError, match=r"images.embeddings\[4\] must be finite, got inf"):  # 4: counted over batches
        extract_embeddings(broken, images_of(6), "visible", batch_size=3)
    with pytest.raises(
        ValueError, match=r"model must return embeddings of shape \(b, d\) with b = 3, got \(3, 3, 1, 1\). Pool"
    ):
        extract_embeddings(Broken(lambda x: x[..., None, None]), images_of(3), "visible")
    with pytest.raises(ValueError, match=r"model must return embeddings of shape \(b, d\) with b = 3, got \(2, 3\)"):
        extract_embeddings(Broken(lambda x: x[1:]), images_of(3), "visible")
    with pytest.raises(ValueError, match="modality must be one of 'visible', 'infrared', got 'thermal'"):
        extract_embeddings(Model(), images_of(3), "thermal")
    with pytest.raises(ValueError, match="flip must be one of .*, got 'average'"):
        extract_embeddings(Model(), images_of(3), "visible", flip="average")
    with pytest.raises(TypeError, match=r"model must have embed\(images, modality\) or be a function .*, got 'str'"):
        extract_embeddings("MUN", images_of(3), "visible")
    with pytest.raises(TypeError, match=r"model must return embeddings as one tensor, got 'tuple of 2'. Pick the embe"):
        extract_embeddings(lambda images, modality: (images, images), images_of(3), "visible")
    with pytest.raises(TypeError, match="model must return floating-point embeddings, got torch.int64"):
        extract_embeddings(lambda images, modality: images[:, :, 0, 0].long(), images_of(3), "visible")
    with pytest.raises(TypeError, match=r"images must give \(image, identity, camera\), .*, got 'Tensor, Tensor'"):
        extract_embeddings(Model(), [(torch.ones(3, 2, 2), 1)], "visible")
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got 0"):
        extract_embeddings(Model(), images_of(3), "visible", batch_size=0)


def test_errors_of_a_set():
    rows, labels = torch.eye(3), torch.arange(3)
    for embeddings, identities, cameras, error, message in [
        (rows[0], labels, labels, ValueError, r"query.embeddings must have shape \(b, d\), got \(3,\)"),
        (rows.long(), labels, labels, TypeError, "query.embeddings must be floating point, got torch.int64"),
        (rows, labels[:2], labels, ValueError, r"query.identities must have shape \(3,\), one for each embedding"),
        (rows, labels, labels[:2], ValueError, r"query.cameras must have shape \(3,\), one for each embedding"),
        (rows, labels, labels.float(), TypeError, "query.cameras must be integers, got torch.float32"),
        (rows / (2 - labels[:, None]), labels, labels, ValueError, r"query.embeddings\[2\] must be finite, got nan"),
    ]:
        with pytest.raises(error, match=message):
            EmbeddingSet(embeddings, identities, cameras, "visible").check("query")
    with pytest.raises(ValueError, match="query.modality must be one of 'visible', 'infrared', got 'auxiliary'"):
        EmbeddingSet(rows, labels, labels, "auxiliary").check("query")


def test_selection():
    rows = EmbeddingSet(torch.eye(3), torch.arange(3), torch.arange(3) + 5, "visible", "mine")
    for chosen in (torch.tensor([2, 0]), torch.tensor([True, False, True])):
        part = rows.select(chosen)
        assert torch.equal(part.embeddings, torch.eye(3)[chosen])
        assert torch.equal(part.cameras - part.identities, torch.tensor([5, 5]))
        assert (part.modality, part.feature) == ("visible", "mine")


# Any function that embeds


def test_any_function_embeds():
    model = Model().eval()
    expected = extract_embeddings(model, images_of(5), "infrared").embeddings

    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = model

        def forward(self, images, modality):
            return self.network.embed(images, modality)

    for embed, name in [
        (model.embed, "Model.embed"),
        (lambda images, modality: 1 * model.embed(images, modality), "test_any_function_embeds.<locals>.<lambda>"),
        (functools.partial(model.embed), "Model.embed"),
        (nn.DataParallel(Foreign()), "DataParallel"),
    ]:
        result = extract_embeddings(embed, images_of(5), "infrared")
        assert torch.equal(result.embeddings, expected)
        assert result.feature == name
    model.train()
    for method in (model.embed, functools.partial(model.embed)):
        model.notes.modes.clear()
        extract_embeddings(method, images_of(2), "visible")
        assert model.notes.modes == [(False, False, False)]
        assert model.training


def test_models_and_images_that_do_not_fit_are_told_with_the_remedy():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = images_of(3)
    for model in (network, lambda images: images.mean((2, 3))):
        with pytest.raises(
            TypeError, match=r"^model must take \(images, modality\), got .* lambda images, modality: model"
        ):
            extract_embeddings(model, images, "visible")
    pixels = [((255 * image).byte(), identity, camera) for image, identity, camera in (images[i] for i in range(3))]
    with pytest.raises(
        ValueError, match=r"^images must be of a type that the model takes, got uint8. Give them a trans"
    ):
        extract_embeddings(lambda images, modality: network(images), pixels, "visible")
    several = [(torch.rand(3, 4 + i, 4), i, 1) for i in range(3)]
    for workers in (0, 1):
        with pytest.raises(ValueError, match="^images must have one size, got several. Give them a transform"):
            extract_embeddings(lambda images, modality: images.mean((2, 3)), several, "visible", workers=workers)


def test_arrays_become_tensors():
    rows = EmbeddingSet(np.eye(3, dtype=np.float32), np.arange(3, dtype=np.uint16), np.arange(3), "visible")
    rows.check("query")
    assert rows._replace(cameras=np.array([4, 5, 6])).select(np.array([2, 0])).cameras.tolist() == [6, 4]
    with pytest.raises(ValueError, match="rows must be rows of a set of 3"):
        rows.select(torch.tensor([3]))


# What the cache tells apart


class Wrapper:
    def __init__(self, network, scale=1.0):
        self.network, self.scale = network, scale

    def embed(self, images, modality):
        return self.scale * self.network.embed(images, modality)


class Power(nn.Module):
    """A network with an argument that is no parameter and is not printed."""

    def __init__(self, p=1.0):
        super().__init__()
        self.p = p

    def embed(self, images, modality, *, feature="bn"):
        return images.mean((2, 3)) ** self.p * (1 if feature == "bn" else 2)


def pairs_to_tell_apart():
    network, other = Power(), Power(2.0)
    return {
        "argument": (network, other),
        "feature": (network.embed, functools.partial(network.embed, feature="pool")),
        "features": tuple(functools.partial(network.embed, feature=name) for name in ("bn", "pool")),
        "wrapper": (Wrapper(network), Wrapper(network, 2.0)),
        "wrapped": (Wrapper(network), Wrapper(other)),
        "function": (lambda x, m: x.mean((2, 3)), lambda x, m: x.amax((2, 3)) + 1),
        "constant": (lambda x, m: 2 * x.mean((2, 3)), lambda x, m: 3 * x.mean((2, 3))),
        "closure": tuple((lambda x, m, net=net: net.embed(x, m)) for net in (network, other)),
        "cell": (lambda x, m: 1 * network.embed(x, m), lambda x, m: 1 * other.embed(x, m)),
        "buffer": (Wrapper(network, torch.ones(3)), Wrapper(network, torch.tensor([1.0, 2.0, 1.0]))),
    }


@pytest.mark.parametrize("pair", pairs_to_tell_apart())
def test_cache_tells_models_apart_and_finds_them_again(tmp_path, pair):
    images = Fingerprinted(images_of(4))
    for model in pairs_to_tell_apart()[pair]:
        expected = extract_embeddings(model, images, "visible").embeddings
        assert torch.equal(extract_embeddings(model, images, "visible", cache=tmp_path).embeddings, expected)
    assert len(list(tmp_path.iterdir())) == 2
    for model in pairs_to_tell_apart()[pair]:
        extract_embeddings(model, images, "visible", cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


FOUND_AGAIN = """
    import sys
    from tests.evaluation.test_extraction import Fingerprinted, Model, images_of
    from vireid.evaluation import extract_embeddings

    model = Model()
    extract_embeddings(model, Fingerprinted(images_of(4)), "visible", cache=sys.argv[1])
    extract_embeddings(lambda x, m: model.embed(x, m), Fingerprinted(images_of(4)), "visible", cache=sys.argv[1])
"""


@pytest.mark.slow
def test_cache_is_found_by_other_processes(tmp_path):
    (tmp_path / "extract.py").write_text(textwrap.dedent(FOUND_AGAIN))
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, str(tmp_path / "extract.py"), str(tmp_path / "cache")]
        subprocess.run(command, env=environment, check=True)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_unknown_state_asks_for_a_fingerprint(tmp_path):
    model = Wrapper(Model())
    model.lock = threading.Lock()
    with pytest.raises(
        TypeError, match=r"model must consist of .* cache, got 'lock'. Give it a method fingerprint\(\)"
    ):
        extract_embeddings(model, Fingerprinted(images_of(2)), "visible", cache=tmp_path)
    model.fingerprint = lambda: "version 1"
    extract_embeddings(model, Fingerprinted(images_of(2)), "visible", cache=tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda embeddings, identities, cameras: (embeddings[:2], identities[:2], cameras[:2]),
        lambda embeddings, identities, cameras: (embeddings.double(), identities, cameras),
        lambda embeddings, identities, cameras: (embeddings * torch.nan, identities, cameras),
        lambda embeddings, identities, cameras: (embeddings, identities.float(), cameras),
        lambda embeddings, identities, cameras: (embeddings, identities, cameras[:1]),
        lambda embeddings, identities, cameras: (embeddings[0], identities, cameras),
    ],
)
def test_parts_that_do_not_fit_are_made_anew(tmp_path, damage):
    images, model = Fingerprinted(images_of(4)), Counted()
    expected = extract_embeddings(model, images, "visible", cache=tmp_path)
    (kept,) = tmp_path.rglob("*.safetensors")
    save_tensors(kept, dict(zip(("embeddings", "identities", "cameras"), damage(*expected[:3]), strict=True)), {})
    result = extract_embeddings(model, images, "visible", cache=tmp_path)
    assert torch.equal(result.embeddings, expected.embeddings)
    assert model.notes.seen == 8


def test_flipped_bits_are_seen(tmp_path):
    images, model = Fingerprinted(images_of(4)), Counted()
    expected = extract_embeddings(model, images, "visible", cache=tmp_path)
    (kept,) = tmp_path.rglob("*.safetensors")
    whole = kept.read_bytes()
    for place in range(0, len(whole), 7):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        result = extract_embeddings(model, images, "visible", cache=tmp_path)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(result[:3], expected[:3]))


def test_full_disk_costs_the_cache_only(tmp_path, monkeypatch):
    monkeypatch.setattr("vireid.evaluation.extraction._PART", 2)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vireid.evaluation.cache.save_tensors", full)
    with pytest.warns(UserWarning, match="computed, but not kept in the cache: .*No space left on device") as told:
        result = extract_embeddings(Model(), Fingerprinted(images_of(6)), "visible", cache=tmp_path)
    assert len(told) == 1
    assert result.identities.tolist() == list(range(6))


class Killed(list):
    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_worker_is_told():
    with pytest.raises(RuntimeError, match="A process that loads images was killed. Memory or shared memory ran out"):
        extract_embeddings(Model(), Killed(images_of(3)), "visible", workers=1)
