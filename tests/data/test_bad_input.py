import atexit
import inspect
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vireid.data
from tests.bad_input import case, choice, flag, integer, number, parameters, problems, size, tensor
from vireid.data import (
    LLCM,
    SYSUMM01,
    ChannelAdaptiveGray,
    ChannelErasing,
    ChannelExchange,
    CrossModalityIdentitySampler,
    EachImage,
    MixedViews,
    ModerateLinearEnhancement,
    Normalize,
    OwnDataset,
    PairedImages,
    PersonDataset,
    PersonImages,
    RadicalLinearEnhancement,
    RandomCorruption,
    RandomFlip,
    RandomPadCrop,
    Record,
    RecordList,
    RegDB,
    SelfPatchMix,
    SoftErasing,
    TwoViews,
    check_dataset,
    check_images,
    check_modalities,
    corrupt,
    create_dataset,
    create_test_transform,
    create_train_transform,
    crop_boxes,
    generate_synthetic,
    open_test_data,
    read_folders,
    read_image,
    read_table,
    recognise_dataset,
    split_identities,
)

FOLDER = tempfile.TemporaryDirectory()  # the table is made when the module is read
atexit.register(FOLDER.cleanup)
ROOT = Path(FOLDER.name)
IMAGE = ROOT / "image.png"
Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 4, 3)).save(IMAGE)
for name, content in {"text.jpg": b"no image", "cut.png": IMAGE.read_bytes()[:50], "empty.png": b""}.items():
    (ROOT / name).write_bytes(content)
DATA = generate_synthetic(ROOT / "data", train_identities=2, test_identities=1, images_per_camera=1, size=(32, 16))

(ROOT / "people.csv").write_text("path,modality\nimage.png,visible\n")
FOLDERS = {
    "visible": "cam[1245]",
    "infrared": "cam[36]",
    "pattern": r"cam(?P<camera>\d)/(?P<identity>\d+)/",
    "root": DATA,
}
OWN = read_folders(**FOLDERS)

RECORDS = [Record(IMAGE, 1, 1, "visible"), Record(IMAGE, 1, 1, "infrared"), Record(IMAGE, 2, 1, "infrared")]
PAIRS = PairedImages(RECORDS, torch.clone, torch.clone)
SAMPLER = CrossModalityIdentitySampler([0, 1], [0, 1], identities_per_batch=1)
BYTES = torch.zeros(3, 8, 4, dtype=torch.uint8)

FUNCTION = [3, "gray", [], torch.ones(2), True, 0]
PATH = [None, 3, 2.5, [], object(), b"folder", True]
NOWHERE = [*PATH, ROOT / "nowhere", str(IMAGE), "\0"]
UNREADABLE = [ROOT / "text.jpg", ROOT / "cut.png", ROOT / "empty.png", ROOT, "\0"]
RANGE = ["16", 3, (1,), (1, 2, 3), (2, 1), (1, 1), (0, float("nan")), (None, 1), ("0", "1"), (True, 2), [], 0]
CHANNELS = [None, 0.5, "rgb", (0.5,), (0.5,) * 4, (0.5, 0.5, "0.5"), (None,) * 3, (float("nan"),) * 3, (True,) * 3, {}]
STD = [*CHANNELS, (0, 1, 1), (1, -1, 1), (float("inf"), 1, 1)]
MODALITY = choice("thermal", "Visible", "auxiliary")
IMAGES = tensor(torch.rand(4), torch.rand(1, 8, 4), torch.rand(8, 4, 3), torch.rand(3, 0, 4), torch.rand(2, 3, 4, 0))
BOXES = [[0, 0, 2, 2]]
MAPPING = [3, "text", [1], [(1, "a")], {1}, object(), True]
RECORD_LISTS = [None, 3, "text", [1], [None], ["a.jpg"], [(IMAGE, 1, 1, "visible")], {}, [], object()]
LABELS = [
    None,
    3,
    "text",
    [],
    ["a", "b"],
    [0.5, 1.0],
    [[0], [1]],
    [True, False],
    [1j, 0j],
    [None],
    torch.rand(3),
    {},
    [2**70],
]
TRANSFORM = {"size": size(), "mean": CHANNELS, "std": STD, "interpolation": choice("linear", "nearest")}
SIZE = [value for value in size() if value is not None]  # None keeps an image's size

RECTANGLE = {
    "area": [None, 0.3, "ab", (0.1,), (0.1, 0.2, 0.3), (0.5, 0.2), (0, 0.2), (0.1, 1.1), (None, 0.2), (True, True)],
    "aspect": number(most=1, above=0),
}
ERASINGS = {"SoftErasing": SoftErasing, "SelfPatchMix": SelfPatchMix}
CASES = {
    "Record": case(
        Record,
        {"path": IMAGE, "identity": 1, "camera": 1, "modality": "visible"},
        path=PATH,
        identity=integer(),
        camera=integer(),
        modality=MODALITY,
    ),
    "PersonImages": case(
        PersonImages,
        {"records": RECORDS},
        records=RECORD_LISTS,
        transform=FUNCTION,
        corruption=FUNCTION,
        value_range=RANGE,
        decoder=choice("pilow"),
    ),
    "PairedImages": case(
        PairedImages,
        {"records": RECORDS, "visible_transform": abs, "infrared_transform": abs},
        records=[*RECORD_LISTS, RECORDS[:1], RECORDS[1:]],
        visible_transform=[None, *FUNCTION],
        infrared_transform=[None, *FUNCTION],
        value_range=RANGE,
        decoder=choice("pilow"),
    ),
    "PairedImages.getitem": case(
        lambda pair: PAIRS[pair], {"pair": (0, 0)}, pair=[None, 0, (0,), (0, 0, 0), "00", {0, 1}, 0.5, (0, 1)]
    ),
    "read_image": case(
        read_image,
        {"path": IMAGE},
        path=[*PATH, *UNREADABLE, ROOT / "missing.jpg"],
        value_range=RANGE,
        decoder=choice("pilow"),
    ),
    "check_images": case(check_images, {}, records=[value for value in RECORD_LISTS if value not in ([], {})]),
    "check_modalities": case(
        check_modalities,
        {"records": []},
        records=[value for value in RECORD_LISTS if value not in ([], {})],
        sample=[value for value in integer(1) if value is not None],
    ),
    "CrossModalityIdentitySampler": case(
        CrossModalityIdentitySampler,
        {"visible_identities": [0, 1], "infrared_identities": [0, 1], "identities_per_batch": 1},
        visible_identities=LABELS,
        infrared_identities=LABELS,
        identities_per_batch=integer(1, 2),
        images_per_identity=integer(1),
        replacement=flag(),
        batches_per_epoch=[value for value in integer(1) if value is not None],
        num_replicas=integer(1),
        rank=integer(0, 0),
        generator=[0, "seed", np.random.default_rng(0), torch, True],
    ),
    "CrossModalityIdentitySampler.set_epoch": case(
        SAMPLER.set_epoch, {"epoch": 0}, epoch=integer(0), first_batch=integer(0, 1)
    ),
    "SYSUMM01": case(SYSUMM01, {}, root=[*NOWHERE, ROOT]),
    "RegDB": case(RegDB, {"root": ROOT, "trial": 1}, root=[*NOWHERE, ROOT], trial=integer(1, 10)),
    "LLCM": case(LLCM, {}, root=[*NOWHERE, ROOT]),
    "create_dataset": case(
        create_dataset,
        {"name": "regdb", "root": ROOT, "trial": 1},
        name=choice("SYSU", "regd"),
        root=[*NOWHERE, ROOT],
        trial=integer(1, 10),
    ),
    "create_dataset.sysu": case(
        create_dataset,
        {"name": "sysu", "root": DATA},
        root=NOWHERE,
        trial=[value for value in integer(1, 10) if value is not None],
    ),
    "check_dataset": case(check_dataset, {}, dataset=[None, 3, "sysu", [], object(), RECORDS]),
    "PersonDataset.test_images": case(
        SYSUMM01(DATA).test_images, {}, transform=FUNCTION, value_range=RANGE, decoder=choice("pilow")
    ),
    "generate_synthetic": case(
        generate_synthetic,
        {"root": ROOT / "new", "train_identities": 2, "test_identities": 1, "images_per_camera": 1, "size": (32, 16)},
        root=[*PATH, ROOT, IMAGE],
        layout=choice("SYSU", "market"),
        train_identities=integer(2),
        test_identities=integer(1),
        images_per_camera=integer(1),
        cameras=[3, "12", [1], [3, 7], [], [1.5, 3], ["1", "3"], [None], [True, 3], {1: 3}],
        absence=number(0, 1),
        size=[*size(), (31, 16), (32, 15)],
        difficulty=number(0, 1),
        seed=integer(0),
        workers=integer(1),
        progress=flag(),
    ),
    "corrupt": case(
        corrupt,
        {"image": BYTES, "name": "rain", "severity": 1},
        image=[*IMAGES, torch.rand(3, 8, 4), BYTES[None], BYTES.bool(), BYTES.long()],
        name=choice("fogg", "Fog"),
        severity=integer(1, 5),
        seed=integer(0, 2**32 - 1),
    ),
    "RandomCorruption": case(
        RandomCorruption,
        {},
        size=[*SIZE],
        corruptions=[None, "fog", [], ["haze"], [None], 3, {}, [3], object()],
        severities=[None, 3, "3", [], [0], [6], [1.5], ["1"], [None], [True], {}, object()],
        seed=integer(0),
        draw=integer(0),
    ),
    "RandomCorruption.call": case(
        RandomCorruption(corruptions=["rain"], size=None),
        {"image": BYTES, "key": "me"},
        image=[*IMAGES, torch.rand(3, 8, 4), BYTES[None]],
        key=[None, 3, b"me", [], object(), IMAGE],
    ),
    "RandomCorruption.choose": case(RandomCorruption().choose, {}, key=[None, 3, b"me", [], object(), IMAGE]),
    "Normalize": case(Normalize, {}, mean=CHANNELS, std=STD),
    "Normalize.forward": case(Normalize(), {}, images=[*IMAGES, torch.rand(3, 8, 4), BYTES.bool(), BYTES.long()]),
    "RandomPadCrop": case(RandomPadCrop, {}, padding=integer(0)),
    "RandomPadCrop.forward": case(RandomPadCrop(2), {}, images=[*IMAGES, torch.rand(3, 2, 4), torch.rand(3, 4, 2)]),
    "RandomFlip": case(RandomFlip, {}, p=number(0, 1)),
    "RandomFlip.forward": case(RandomFlip(), {}, images=IMAGES),
    "ChannelExchange": case(ChannelExchange, {}, p=number(0, 1)),
    "ChannelExchange.forward": case(ChannelExchange(), {}, images=IMAGES),
    "ChannelAdaptiveGray": case(ChannelAdaptiveGray, {}, p=number(0, 1)),
    "ChannelAdaptiveGray.forward": case(ChannelAdaptiveGray(), {}, images=[*IMAGES, BYTES]),
    "ChannelErasing": case(
        ChannelErasing,
        {},
        p=number(0, 1),
        **RECTANGLE,
        fill=CHANNELS,
    ),
    "ChannelErasing.forward": case(ChannelErasing(), {}, images=[*IMAGES, BYTES]),
    **{name: case(transform, {}, p=number(0, 1), **RECTANGLE) for name, transform in ERASINGS.items()},
    "ModerateLinearEnhancement": case(ModerateLinearEnhancement, {}, p=number(0, 1), concentration=number(above=0)),
    "RadicalLinearEnhancement": case(
        RadicalLinearEnhancement, {}, p=number(0, 1), concentration=number(above=0), **RECTANGLE
    ),
    **{
        f"{transform.__name__}.forward": case(transform(), {}, images=[*IMAGES, BYTES])
        for transform in (*ERASINGS.values(), ModerateLinearEnhancement, RadicalLinearEnhancement)
    },
    "EachImage": case(EachImage, {}, transform=[None, *FUNCTION]),
    "EachImage.forward": case(EachImage(torch.clone), {}, images=IMAGES),
    "MixedViews": case(
        MixedViews,
        {"erase": abs, "mix": abs},
        erase=[None, *FUNCTION],
        mix=[None, *FUNCTION],
        views=integer(2),
        erased_first=flag(),
    ),
    "MixedViews.forward": case(MixedViews(torch.clone, torch.clone), {}, images=IMAGES),
    "TwoViews": case(TwoViews, {"first": abs, "second": abs}, first=[None, *FUNCTION], second=[None, *FUNCTION]),
    "TwoViews.forward": case(TwoViews(torch.clone, torch.clone), {}, images=IMAGES),
    "create_test_transform": case(create_test_transform, {}, **TRANSFORM),
    "create_test_transform.call": case(
        lambda images: create_test_transform((4, 4), interpolation="lanczos")(images),  # noqa: PLW0108 - its argument is
        {},  # called otherwise
        images=[*IMAGES, torch.rand(3, 8, 4), BYTES.bool()],
    ),
    "create_train_transform": case(
        create_train_transform,
        {"modality": "visible"},
        modality=MODALITY,
        recipe=[*(value for value in choice("cajj", "MUN") if value != {}), {}, {0: "cajj"}, {1: "mun"}, {0: 3}],
        padding=[value for value in integer(0) if value is not None],
        **TRANSFORM,
    ),
}

CASES |= {
    "RecordList": case(
        RecordList,
        {"records": OWN},
        records=[value for value in RECORD_LISTS if value not in ([], {})],
        names=MAPPING,
        camera_names=MAPPING,
        splits=MAPPING,
    ),
    "read_folders": case(
        read_folders,
        FOLDERS,
        visible=[*PATH, DATA / "nowhere", "cam7", "nowhere*", str(IMAGE), "\0", "exp"],
        infrared=[*PATH, DATA / "nowhere", "cam7", "nowhere*", str(IMAGE), "\0", "exp", ".", "cam*"],
        pattern=[
            3,
            [],
            {},
            object(),
            True,
            b".*",
            re.compile(b".*"),
            "(",
            "(?P<id>.)",
            "(.)",
            "$",
            "[^c]",
            "(?P<identity>.*)",
        ],
        root=[value for value in NOWHERE if value is not None],
    ),
    "read_table": case(
        read_table,
        {"path": ROOT / "people.csv"},
        path=[*PATH, ROOT, ROOT / "nowhere.csv", "\0"],
        root=[value for value in NOWHERE if value is not None],
    ),
    "recognise_dataset": case(recognise_dataset, {}, root=[*PATH, ROOT / "nowhere", "\0"]),
    "open_test_data": case(
        open_test_data,
        {"given": {}},
        given=[None, 3, "sysu", [], object(), {"test": 0.5, "dataset": "folder"}],
        training=[3, "sysu", [1], object()],
    ),
    "split_identities": case(
        split_identities,
        {"records": OWN},
        records=[*RECORD_LISTS, RECORDS, OWN[:8]],
        test=[value for value in number(0, 1) if value is not None],
        seed=integer(0),
        query=MODALITY,
        queries_only=[*number(0, 1), 1],
        gallery_only=number(0, 1),
    ),
    "OwnDataset": case(
        OwnDataset,
        {"train": OWN[:3], "test": ()},
        train=[value for value in RECORD_LISTS if value not in ([], {})],
        test=[value for value in [*RECORD_LISTS, OWN[:1], OWN[1:2]] if value not in ([], {})],
        unlabelled=[value for value in [*RECORD_LISTS, OWN[:1]] if value not in ([], {})],
        names=MAPPING,
        camera_names=MAPPING,
    ),
    "OwnDataset.test_images": case(
        split_identities(OWN).test_images, {}, transform=FUNCTION, value_range=RANGE, decoder=choice("pilow")
    ),
    "crop_boxes": case(
        crop_boxes,
        {"frame": BYTES, "boxes": BOXES},
        frame=[
            *IMAGES,
            torch.rand(3, 8, 4),
            BYTES[None],
            BYTES.bool(),
            BYTES.numpy(),
            BYTES.long(),
            BYTES.numpy()[None],
            np.ones((4, 4)),
        ],
        boxes=[
            None,
            3,
            "text",
            object(),
            {},
            True,
            [1, 2, 3, 4],
            [[1, 2, 3]],
            [[1, 2, 3], [1]],
            [["0", "0", "2", "2"]],
            [[None] * 4],
            [[True] * 4],
            [[0j] * 4],
            [[0, 0, float("nan"), 1]],
            [[0, 0, float("inf"), 1]],
            [[2, 0, 1, 1]],
            [[0, 0, 0, 0]],
            [[9, 9, 12, 12]],
            np.zeros((1, 1, 4)),
            torch.rand(2, 5),
            torch.ones(1, 4, dtype=torch.bool),
        ],
        channels=choice("RGB", "gbr"),
    ),
}

NOT_IN_THE_CAMPAIGN = {
    "CORRUPTIONS": "a tuple of names",
    "DataSource": "holds the arguments of the readers, which check them",
    "DatasetReport": "made by check_dataset",
    "Pair": "made by the sampler; PairedImages checks it",
    "PersonDataset": "the base of the readers, which are tested",
}


@pytest.mark.parametrize(("name", "argument"), parameters(CASES))
def test_bad_input_is_refused_clearly(name, argument):
    assert problems(CASES[name], argument) == []


def test_every_public_name_is_in_the_campaign():
    assert issubclass(SYSUMM01, PersonDataset)
    for name in set(vireid.data.__all__) - set(NOT_IN_THE_CAMPAIGN):
        expected = set(inspect.signature(getattr(vireid.data, name)).parameters)
        assert set(CASES[name].bad) == expected, name
