import pytest
import torch
from torch.utils.data import Dataset

from tests.evaluation.test_extraction import Model, images_of
from vireid.evaluation import (
    CorruptedProtocol,
    LLCMProtocol,
    RegDBProtocol,
    evaluate,
    extract_embeddings,
)
from vireid.modality import Modality


class Images(Dataset):
    def __init__(self, seed, camera, people=6):
        generator = torch.Generator().manual_seed(seed)
        self.images = [
            (torch.rand(3, 4, 4, generator=generator) * (label + 1), label, camera) for label in range(people)
        ] * 2

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_equals_extraction_and_evaluation():
    model, images = Model(), {"infrared": Images(0, 2), "visible": Images(1, 1)}
    protocols = {"a": LLCMProtocol("infrared", trials=2), "b": RegDBProtocol("visible", trial=1, trained_on=1)}
    results = evaluate(model, images, protocols, batch_size=5, flip="concatenate")
    sets = [extract_embeddings(model, images[m], m, flip="concatenate") for m in ("visible", "infrared")]
    assert list(results) == ["a", "b"]
    for name, protocol in protocols.items():
        assert results[name].to_dict() == protocol.evaluate(*sets).to_dict()
    (only,) = evaluate(model, images, protocols["a"], flip="concatenate").items()
    assert only[0] == str(protocols["a"])
    assert only[1].to_dict() == results["a"].to_dict()
    keyed = {Modality.VISIBLE: images["visible"], Modality.INFRARED: images["infrared"]}
    assert evaluate(model, keyed, protocols, flip="concatenate")["b"].to_dict() == results["b"].to_dict()


def test_corrupted_images_are_a_list_of_datasets():
    model, infrared, draws = Model(), Images(0, 2), [Images(seed, 1) for seed in (1, 2)]
    protocol = CorruptedProtocol(RegDBProtocol("visible", trial=1, trained_on=1), draws=2)
    (result,) = evaluate(model, {"visible": draws, "infrared": infrared}, protocol).values()
    sets = [extract_embeddings(model, draw, "visible") for draw in draws]
    assert result.to_dict() == protocol.evaluate(sets, extract_embeddings(model, infrared, "infrared")).to_dict()


def test_errors():
    images, protocol = {"visible": images_of(3), "infrared": images_of(3)}, LLCMProtocol("visible")
    with pytest.raises(ValueError, match=r"images_by_modality must have the keys .*, got \['visible'\]"):
        evaluate(Model(), {"visible": images_of(3)}, protocol)
    with pytest.raises(TypeError, match="images_by_modality must map 'visible' and 'infrared' to images, got 'list'"):
        evaluate(Model(), [images_of(3)], protocol)
    with pytest.raises(ValueError, match="protocols must hold a protocol, got {}"):
        evaluate(Model(), images, {})
    with pytest.raises(TypeError, match=r"protocols\['sysu'\] must be a protocol, got 'str'"):
        evaluate(Model(), images, {"sysu": "sysu"})
    with pytest.raises(TypeError, match="protocols must be a protocol, or a mapping of names to protocols, got 'str'"):
        evaluate(Model(), images, "sysu")
