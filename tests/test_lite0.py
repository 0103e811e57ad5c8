"""The weights of examples/lite0.py are those of an ImageNet network, under timm's names."""

import importlib.util
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torchvision.transforms import v2

EXAMPLES = str(Path(__file__).parent.parent / "examples")
sys.path.insert(0, EXAMPLES)
import lite0  # noqa: E402

sys.path.remove(EXAMPLES)

installed = pytest.mark.skipif(importlib.util.find_spec(lite0.PACKAGE) is None, reason=f"needs {lite0.PACKAGE}")
pictures = importlib.util.find_spec("skimage")


@installed
@pytest.mark.skipif(pictures is None, reason="needs scikit-image, for its photographs")
@pytest.mark.parametrize(("photograph", "expected"), [("chelsea.png", "cat"), ("coffee.png", "espresso")])
def test_renamed_weights_classify_photographs(photograph, expected):
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(lite0.lite0_state_dict())
    image = Image.open(Path(pictures.origin).parent / "data" / photograph).convert("RGB")
    steps = [v2.Resize(256), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    with torch.no_grad():
        scores = network(2 * v2.Compose(steps)(image)[None] - 1).softmax(1)[0]
    assert expected in ImageNetInfo().index_to_description(int(scores.argmax()))
    assert scores.max() > 0.3


@installed
def test_every_name_is_translated_once():
    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    weights = lite0.lite0_state_dict()
    assert {name: w.shape for name, w in weights.items()} == {name: w.shape for name, w in expected.items()}


@installed
def test_trunk_holds_the_weights():
    backbone = lite0.create_lite0(pretrained=True, image_size=(96, 48), modality_specific_stages=0)
    weights, own = lite0.lite0_state_dict(), backbone.state_dict()
    for stages in ("visible_stages", "infrared_stages"):
        torch.testing.assert_close(own[f"{stages}.conv_stem.weight"], weights["conv_stem.weight"], rtol=0, atol=0)
    last = own["shared_stages.blocks_5_0_conv_pw.weight"]
    torch.testing.assert_close(last, weights["blocks.5.0.conv_pw.weight"], rtol=0, atol=0)
    assert backbone.out_channels == 672
    assert backbone.normalization == {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def test_missing_package_and_damaged_file(monkeypatch, tmp_path):
    monkeypatch.setattr(lite0, "find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vireid\[pretrained\]'"):
        lite0.lite0_state_dict()
    spec = importlib.util.spec_from_file_location("package", tmp_path / "__init__.py")
    monkeypatch.setattr(lite0, "find_spec", lambda _name: spec)
    with pytest.raises(FileNotFoundError, match=r"must hold models/efficientnet-lite0-57934424.pth, got no"):
        lite0.lite0_state_dict()
    (tmp_path / "models").mkdir()
    (tmp_path / lite0.FILE).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="must have the SHA-256 checksum 57934424.*, got .* Reinstall"):
        lite0.lite0_state_dict()
