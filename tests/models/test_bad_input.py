"""The campaign of bad input over the networks."""

import inspect
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.bad_input import case, choice, flag, integer, number, parameters, problems, size, tensor
from vireid import MUN, TwoStreamEmbedder, create_backbone, models
from vireid.models import (
    DEEN,
    AggregatedStage,
    AuxiliaryBatchNorm,
    AuxiliaryBranch,
    AuxiliaryGenerator,
    BNNeck,
    ChannelAggregation,
    CrossModalityLearner,
    DiverseEmbeddingExpansion,
    DualBNNeck,
    ExpandedNeck,
    ExpandedPooling,
    FixedGenerator,
    GeneralizedMeanPool,
    IntermediateModalityNetwork,
    IntraModalityLearner,
    MaskPartPooling,
    MiddleModality,
    MixedModality,
    ModalityAlleviation,
    MPANet,
    MutualMeanClassifiers,
    NonLocalBlock,
    PrototypePartPooling,
    SpatialAggregation,
    SyncreticModality,
    TwoStreamBackbone,
    TwoStreamBaseline,
    XModality,
    check_export,
    create_agw,
    create_deen,
    create_mpanet,
    create_pmt,
    create_saai,
    export,
    load_exported,
    pair_by_identity,
)

SIZE = {"image_size": (64, 32)}
NO_MODULE = ["layer4", 3, [], {}, object(), torch.ones(2), nn.Conv2d]
NO_FLOAT = [torch.ones(4, 8, 6, 6).byte(), torch.ones(4, 8, 6, 6).bool(), torch.ones(4, 8, 6, 6, dtype=torch.complex64)]
NO_MAP = tensor(
    torch.rand(4, 8),
    torch.rand(8, 6, 6),
    torch.rand(4, 7, 6, 6),
    torch.rand(4, 8, 6, 6, device="meta"),
    torch.rand(4, 8, 6, 6).double(),
    torch.rand(4, 8, 6, 6).half(),
    *NO_FLOAT,
)
NO_IMAGES = tensor(
    torch.rand(3, 64, 32),
    torch.rand(4, 1, 64, 32),
    torch.rand(4, 64, 32, 3),
    torch.ones(4, 3, 64, 32).byte(),
    torch.ones(4, 3, 64, 32, dtype=torch.complex64),
)
NO_TYPED_IMAGES = [*NO_IMAGES, *(torch.rand(4, 3, 64, 32).to(other) for other in ("meta", torch.half, torch.double))]
NO_FITTING_IMAGES = [*NO_TYPED_IMAGES, torch.rand(4, 3, 96, 48), torch.rand(4, 3, 32, 64)]
NO_IDENTITIES = tensor(
    torch.rand(4),
    torch.tensor([0, 0, 1]),
    torch.tensor([[0], [0], [1], [1]]),
    torch.ones(4).bool(),
    torch.ones(4, dtype=torch.complex64),
    torch.zeros(4, dtype=torch.long, device="meta"),
    torch.tensor([0, 1, 0, 1]),
)
NO_ROWS = tensor(
    torch.rand(8),
    torch.rand(4, 7),
    torch.rand(4, 8, 1, 1),
    torch.rand(0, 8),
    torch.ones(4, 8).int(),
    torch.rand(4, 8).half(),
)
NO_BACKBONE = [
    None,
    3,
    [],
    {},
    object(),
    torch.ones(2),
    nn.Conv2d(3, 8, 1),
    (nn.Conv2d(3, 8, 1),),
    (1, 2),
    "",
    "resnet5O",
    b"resnet50",
    "../resnet50",
    (nn.Conv2d(4, 8, 1), nn.ReLU()),
    (nn.Conv2d(3, 8, 1), nn.Flatten()),
]
NO_PREPROCESSING = [
    3,
    "imagenet",
    [],
    {},
    {"mean": (0, 0, 0)},
    {"size": (64, 32), "colour": 1},
    {"size": (0, 32)},
    {"size": (10**6, 10**6)},
    {"size": (64, 32), "std": (0, 1, 1)},
    {"size": (64, 32), "mean": (0, 0)},
    {"size": (64, 32), "mean": 0.5},
    {"size": (64, 32), "mean": ("a", "b", "c")},
    {"size": (64, 32), "std": (float("nan"), 1, 1)},
]
NO_PIXELS = [
    torch.rand(4, 3, 64, 32),
    torch.ones(4, 3, 64, 32).int(),
    torch.ones(3, 64, 32).byte(),
    torch.ones(4, 1, 64, 32).byte(),
    torch.ones(4, 64, 32, 3).byte(),
    torch.ones(4, 3, 32, 64).byte(),
]
NO_STRING = [None, 3, [], {}, b"mit", object()]
NO_FOLDER = [None, 3, 2.5, [], {}, object(), b"folder"]

backbone = create_backbone("test_resnet", **SIZE)
embedder = TwoStreamEmbedder(backbone).eval()
model = MUN(5, embedder)
baseline = TwoStreamBaseline(5, embedder)
mpanet = create_mpanet(5, backbone)
deen = create_deen(5, "test_resnet", **SIZE)
intermediate = IntermediateModalityNetwork(5, embedder, maker="mixed")
maps = {name: torch.rand(4, 8, 6, 6) for name in ("visible_map", "infrared_map")}
images = {name: torch.rand(4, 3, 64, 32) for name in ("visible", "infrared")}
identities = torch.tensor([0, 0, 1, 1])
embed = {"images": images["visible"], "modality": "visible"}
generator = {
    "expansion": integer(least=1),
    "kernel_sizes": [None, 5, "57", (5,), (5, 7, 9), (4, 7), (5, 0), (5.5, 7), (True, 5)],
}
ratios = [None, 2, "24", (), (0,), (-2,), (2.5,), (None,), ("2",), torch.tensor([2, 4])]
network = {"backbone": NO_BACKBONE, "pretrained": [None, "no", 0, 1, []], "image_size": size()[1:]}
statistics = choice("owm", "share")


def from_pretrained(**options):
    """Load a checkpoint that is there."""
    with tempfile.TemporaryDirectory() as folder:
        embedder.save_pretrained(folder)
        return TwoStreamEmbedder.from_pretrained(**{"source": folder} | options)


def save_pretrained(**options):
    with tempfile.TemporaryDirectory() as folder:
        embedder.save_pretrained(**{"folder": folder} | options)


def export_int8(**options):
    with tempfile.TemporaryDirectory() as folder:
        export(**{"embedder": embedder, "modality": "visible", "path": f"{folder}/x.onnx"} | options)


def load_file(**options):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.pt2").write_bytes(PT2)
        return load_exported(**{"path": f"{folder}/x.pt2", "trusted": True} | options)


def export_pt2():
    with tempfile.TemporaryDirectory() as folder:
        return export(embedder, "visible", f"{folder}/x.pt2").path.read_bytes()


def create_named_backbone(backbone="test_resnet", **options):
    """As the networks call it: errors say "backbone", the name of their argument."""
    return create_backbone(backbone, **{**SIZE, **options})


PT2 = export_pt2()
exported = load_file()
pixels = torch.ones(4, 3, 64, 32).byte()

CASES = {
    "IntraModalityLearner": case(
        IntraModalityLearner,
        {"channels": 8},
        channels=[*integer(least=2), 7],
        initial_scale=number(above=0, most=1),
        start=choice("input"),
        **generator,
    ),
    "IntraModalityLearner.forward": case(IntraModalityLearner(8), {}, feature_map=NO_MAP),
    "CrossModalityLearner": case(
        CrossModalityLearner,
        {"channels": 8},
        channels=integer(least=1),
        pooling_ratios=ratios,
        groups=[*integer(least=1), 3],
        initial_scale=number(above=0, most=1),
        start=choice("input"),
    ),
    "CrossModalityLearner.forward": case(
        CrossModalityLearner(8), maps, visible_map=NO_MAP, infrared_map=[*NO_MAP, torch.rand(3, 8, 6, 6)]
    ),
    "AuxiliaryGenerator": case(
        AuxiliaryGenerator,
        {"channels": 8},
        channels=[*integer(least=2), 7],
        pooling_ratios=ratios,
        groups=[*integer(least=1), 3],
        initial_scale=number(above=0, most=1),
        start=choice("input"),
        **generator,
    ),
    "AuxiliaryGenerator.forward": case(
        AuxiliaryGenerator(8),
        {**maps, "visible_identities": identities, "infrared_identities": identities},
        visible_map=NO_MAP,
        infrared_map=[*NO_MAP, torch.rand(3, 8, 6, 6)],
        visible_identities=NO_IDENTITIES[:-1],
        infrared_identities=NO_IDENTITIES,
    ),
    "FixedGenerator": case(FixedGenerator, {"of": "mean"}, of=choice("visibles")),
    "FixedGenerator.forward": case(
        FixedGenerator("mean"), maps, visible_map=tensor(torch.rand(4, 8)), infrared_map=tensor(torch.rand(3, 8, 6, 6))
    ),
    "pair_by_identity": case(
        pair_by_identity,
        {"identities": identities, "infrared": torch.tensor([False, True, True, False])},
        identities=tensor(
            torch.rand(4), identities[None], identities.bool(), identities + 0j, torch.tensor([0, 0, 0, 1])
        ),
        infrared=tensor(identities, torch.rand(4), torch.tensor([True, False]), torch.ones(4, device="meta").bool()),
    ),
    "GeneralizedMeanPool": case(GeneralizedMeanPool, {}, p=number(above=0), learnable=flag(), eps=number(above=0)),
    "GeneralizedMeanPool.forward": case(
        GeneralizedMeanPool(), {}, feature_map=tensor(torch.rand(4, 8), torch.rand(4, 8, 6), *NO_FLOAT)
    ),
    "BNNeck": case(BNNeck, {}, channels=integer(least=1)),
    "BNNeck.forward": case(
        BNNeck(8),
        {},
        embeddings=tensor(
            torch.rand(8),
            torch.rand(4, 7),
            torch.rand(4, 8, 1, 1),
            torch.rand(1, 8),
            torch.rand(0, 8),
            torch.rand(4, 8).half(),
            torch.ones(4, 8).int(),
            torch.rand(4, 8, device="meta"),
        ),
    ),
    "DualBNNeck": case(DualBNNeck, {}, channels=integer(least=1)),
    "DualBNNeck.forward": case(
        DualBNNeck(8), {}, embeddings=tensor(torch.rand(8), torch.rand(4, 7), torch.rand(1, 8), torch.ones(4, 8).int())
    ),
    "MaskPartPooling": case(MaskPartPooling, {"channels": 8}, channels=integer(least=1), parts=integer(least=1)),
    "MaskPartPooling.forward": case(MaskPartPooling(8), {}, feature_map=NO_MAP),
    "MaskPartPooling.masks": case(MaskPartPooling(8).masks, {}, feature_map=NO_MAP),
    "PrototypePartPooling": case(
        PrototypePartPooling,
        {"channels": 8, "size": (6, 6)},
        channels=integer(least=1),
        size=size(),
        parts=integer(least=1),
    ),
    "PrototypePartPooling.forward": case(
        PrototypePartPooling(8, (6, 6)), {}, feature_map=[*NO_MAP, torch.rand(4, 8, 6, 5)]
    ),
    "PrototypePartPooling.masks": case(
        PrototypePartPooling(8, (6, 6)).masks, {}, feature_map=[*NO_MAP, torch.rand(4, 8, 6, 5)]
    ),
    "NonLocalBlock": case(
        NonLocalBlock, {"channels": 8}, channels=integer(least=1), inter_channels=integer(least=1)[1:]
    ),
    "NonLocalBlock.forward": case(NonLocalBlock(8), {}, feature_map=NO_MAP),
    "ModalityAlleviation": case(
        ModalityAlleviation, {"channels": 8}, channels=integer(least=1), reduction=integer(least=1)
    ),
    "ModalityAlleviation.forward": case(
        ModalityAlleviation(8), {}, feature_map=[*NO_MAP, torch.rand(4, 8, 1, 1), torch.rand(4, 8, 0, 2)]
    ),
    "AuxiliaryBatchNorm": case(AuxiliaryBatchNorm, {}, module=[None, *NO_MODULE]),
    "AuxiliaryBranch": case(
        AuxiliaryBranch,
        {"embedder": embedder},
        embedder=[*NO_BACKBONE, backbone],
        generator=[None, "input", *NO_MODULE],
    ),
    "AuxiliaryBranch.forward": case(
        AuxiliaryBranch(embedder),
        {"embedder": embedder, "visible_map": torch.rand(4, 32, 16, 8), "infrared_map": torch.rand(4, 32, 16, 8)},
        embedder=[*NO_BACKBONE, backbone],
        visible_map=NO_MAP,
        infrared_map=[*NO_MAP, torch.rand(3, 32, 16, 8), torch.rand(0, 32, 16, 8)],
    ),
    "XModality.forward": case(
        XModality(), images, visible=NO_TYPED_IMAGES, infrared=[*NO_TYPED_IMAGES, torch.rand(3, 3, 64, 32)]
    ),
    "MixedModality": case(MixedModality, {}, weight=number(above=0, below=1), blend=choice("learnt")),
    "MixedModality.forward": case(
        MixedModality(), images, visible=NO_IMAGES, infrared=[*NO_IMAGES, torch.rand(3, 3, 64, 32)]
    ),
    "SyncreticModality.forward": case(
        SyncreticModality(), images, visible=NO_TYPED_IMAGES, infrared=[*NO_TYPED_IMAGES, torch.rand(3, 3, 64, 32)]
    ),
    "MiddleModality.forward": case(
        MiddleModality(), images, visible=NO_TYPED_IMAGES, infrared=[*NO_TYPED_IMAGES, torch.rand(3, 3, 64, 32)]
    ),
    "MiddleModality.middle_images": case(
        MiddleModality().middle_images,
        images,
        visible=NO_TYPED_IMAGES,
        infrared=[*NO_TYPED_IMAGES, torch.rand(3, 3, 64, 32)],
    ),
    "TwoStreamBackbone": case(
        TwoStreamBackbone,
        {"first_stages": nn.Conv2d(3, 8, 1), "shared_stages": nn.Conv2d(8, 8, 1), "cut_channels": 8, "out_channels": 8},
        first_stages=[None, *NO_MODULE],
        shared_stages=[None, *NO_MODULE],
        cut_channels=integer(least=1),
        out_channels=integer(least=1),
    ),
    "TwoStreamBackbone.first_stages": case(
        backbone.first_stages, embed, images=NO_IMAGES, modality=choice("infared", "auxiliary")
    ),
    "TwoStreamBackbone.forward": case(backbone, images, visible=NO_IMAGES, infrared=NO_IMAGES),
    "TwoStreamBackbone.first_maps": case(backbone.first_maps, images, visible=NO_IMAGES, infrared=NO_IMAGES),
    "create_backbone": case(
        create_named_backbone,
        backbone=[*choice("resnet5O"), "resnet50.nonsense", "../resnet50"],
        modality_specific_stages=integer(least=0, most=3),
        pretrained=flag(),
        checkpoint=[3, 2.5, [], {}, object(), b"x.pth", "nowhere.pth", "."],
        last_stride=[value for value in integer(least=1, most=2) if value is not None],
        image_size=[*size(), (1, 1), (10**6, 10**6)],
        non_local=["yes", 1, 2.5, [2], {"a": 1}, {0: 1}, {2: 0}, {2: 1.5}, {None: 1}, {9: 1}, None],
        style_gates=integer(least=0, most=4),
        single_stream=flag(),
        last_module=["layer9", "", "layer1", "fc", 3, b"layer2", ["layer2"]],
        patch_stride=[value for value in integer(least=1) if value is not None] + [12],  # of a vision transformer
        class_token=[*flag(), True],
        aggregated_stages=integer(least=0, most=3),
        expansion_branches=integer(least=0),
        timm_options=[3, "drop", [], object(), {"drop": 0.1}, {3: 1}, {"img_size": 96}, {"drop_rate": object()}],
    ),
    "TwoStreamEmbedder": case(
        TwoStreamEmbedder,
        {"backbone": backbone},
        backbone=[None, *NO_MODULE, "resnet50", nn.Conv2d(3, 8, 1)],
        pool=NO_MODULE,
        neck=NO_MODULE,
        preprocessing=NO_PREPROCESSING,
    ),
    "TwoStreamEmbedder.embed": case(
        embedder.embed,
        embed,
        images=NO_FITTING_IMAGES,
        modality=choice("infared", "auxiliary"),
        feature=choice("pool", "BN"),
    ),
    "TwoStreamEmbedder.normalize": case(
        embedder.normalize,
        {"visible": torch.rand(4, 96), "infrared": torch.rand(4, 96)},
        visible=tensor(torch.rand(4), torch.rand(4, 8, 1, 1), torch.ones(4, 96).int(), torch.rand(0, 96)),
        infrared=tensor(torch.rand(4), torch.rand(4, 95), torch.ones(4, 96).int(), torch.rand(4, 96, device="meta")),
    ),
    "TwoStreamEmbedder.neck_of": case(embedder.neck_of, {}, modality=choice("infared", "auxiliary")),
    "TwoStreamEmbedder.forward": case(
        embedder, embed, images=NO_FITTING_IMAGES, modality=choice("infared"), feature=choice("pool")
    ),
    "TwoStreamEmbedder.check_images": case(
        embedder.check_images, {"argument": "images", "images": images["visible"]}, images=NO_FITTING_IMAGES
    ),
    "TwoStreamEmbedder.save_pretrained": case(
        save_pretrained, {}, folder=NO_FOLDER, data=NO_STRING, licence=NO_STRING, results=NO_STRING
    ),
    "TwoStreamEmbedder.from_pretrained": case(
        from_pretrained,
        {},
        source=[*NO_FOLDER, "nowhere", Path("nowhere"), "name/model", "hub:", "hub:model", "hub:a/b/c", "hub:../.."],
        backbone=[*NO_MODULE, "resnet50"],
        pool=NO_MODULE,
        neck=NO_MODULE,
    ),
    "TwoStreamEmbedder.push_to_hub": case(
        embedder.push_to_hub,
        {"repository": "name/model"},
        repository=[None, 3, [], {}, object(), b"name/model", "", "model", "a/b/c", "../model", "name/ model"],
        private=flag(),
        data=NO_STRING,
        licence=NO_STRING,
        results=NO_STRING,
    ),
    "MUN": case(
        MUN,
        {"num_identities": 5, "backbone": embedder},
        num_identities=integer(least=1),
        generator=NO_MODULE,
        shared_classifier=flag(),
        auxiliary_classifier=flag(),
        auxiliary_statistics=statistics,
        **network,
    ),
    "MUN.forward": case(
        model, images, visible=NO_FITTING_IMAGES, infrared=[*NO_FITTING_IMAGES, torch.rand(3, 3, 64, 32)]
    ),
    "MUN.forward_maps": case(
        model.forward_maps,
        {name: torch.rand(4, 32, 16, 8) for name in ("visible_map", "infrared_map", "auxiliary_map")},
        visible_map=tensor(torch.rand(4, 32)),
        infrared_map=tensor(torch.rand(3, 32, 16, 8), torch.rand(4, 32)),
        auxiliary_map=tensor(torch.rand(4, 32, 16, 9), torch.rand(4, 32)),
    ),
    "MUN.embed": case(model.embed, embed, images=NO_FITTING_IMAGES, modality=choice("infared"), feature=choice("pool")),
    "TwoStreamBaseline": case(
        TwoStreamBaseline,
        {"num_identities": 5, "backbone": embedder},
        num_identities=integer(least=1),
        shared_classifier=flag(),
        generator=["input", *NO_MODULE],
        **network,
    ),
    "TwoStreamBaseline.forward": case(baseline, images, visible=NO_FITTING_IMAGES, infrared=NO_FITTING_IMAGES),
    "TwoStreamBaseline.forward, with a generator": case(
        TwoStreamBaseline(5, embedder, generator="random"), images, infrared=[torch.rand(3, 3, 64, 32)]
    ),
    "TwoStreamBaseline.embed": case(
        baseline.embed, embed, images=NO_FITTING_IMAGES, modality=choice("infared"), feature=choice("pool")
    ),
    "IntermediateModalityNetwork": case(
        IntermediateModalityNetwork,
        {"num_identities": 5, "backbone": embedder, "maker": "x"},
        num_identities=integer(least=1),
        maker=choice("xx", "mun"),
        stages=choice("shared"),
        auxiliary_statistics=statistics,
        **network,
    ),
    "IntermediateModalityNetwork.forward": case(
        intermediate, images, visible=NO_FITTING_IMAGES, infrared=[*NO_FITTING_IMAGES, torch.rand(3, 3, 64, 32)]
    ),
    "IntermediateModalityNetwork.embed": case(
        intermediate.embed, embed, images=NO_FITTING_IMAGES, modality=choice("infared"), feature=choice("pool")
    ),
    "export": case(
        export_int8,
        {"precision": "int8", "images": pixels},
        embedder=[None, *NO_MODULE, backbone, model],
        modality=choice("infared", "auxiliary"),
        path=[*NO_FOLDER[:-1], "x", "x.pt", Path("x.onnx.txt"), b"x"],
        precision=choice("float64", "fp16", "int4"),
        calibration=[3, "0.3", [0.3], object(), {"threshold": float("nan")}, {"threshold": torch.ones(2)}, {"a": {1}}],
        images=[*NO_PIXELS, None, 3, "text", [], {}, object(), torch.tensor(1), ["x.jpg"], [None], pixels[:0]],
    ),
    "load_exported": case(
        load_file,
        path=[*NO_FOLDER[:-1], "x", "x.pt", "nowhere.onnx", "nowhere.pt2", Path("nowhere.onnx"), __file__],
        trusted=flag(),
    ),
    "check_export": case(
        check_export,
        {"exported": exported, "embedder": embedder, "images": pixels},
        exported=[*NO_FOLDER[:-1], "x", "nowhere.onnx", "nowhere.pt2", embedder, __file__],
        embedder=[None, *NO_MODULE, backbone, model, TwoStreamEmbedder(backbone, preprocessing={"size": (96, 48)})],
        images=[*NO_PIXELS, None, 3, "text", [], {}, object(), torch.tensor(1), ["x.jpg"], [None], pixels[:1]],
        gallery=[3, "text", [1.0], torch.rand(4), torch.rand(4, 95), torch.rand(0, 96), torch.ones(4, 96).int()],
        batch_size=integer(least=1),
    ),
    "ExportedEmbedder.embed": case(
        exported.embed,
        {"images": pixels, "modality": "visible"},
        images=tensor(pixels[:0], *NO_PIXELS),
        modality=choice("infrared", "infared", "auxiliary"),
    ),
    "create_agw": case(
        create_agw,
        {"num_identities": 5, "backbone": "test_resnet", **SIZE},
        num_identities=integer(least=1),
        backbone=[None, 3, [], {}, object(), "", "resnet5O"],
        pretrained=flag(),
        image_size=size(),
        generator=["input", *NO_MODULE],
    ),
    "MutualMeanClassifiers": case(
        MutualMeanClassifiers,
        {"embedding_dim": 8, "num_identities": 5},
        embedding_dim=integer(least=1),
        num_identities=integer(least=1),
        rate=number(above=0, most=1),
    ),
    "MutualMeanClassifiers.set_epoch": case(MutualMeanClassifiers(8, 5).set_epoch, {}, epoch=integer(least=0)),
    "MutualMeanClassifiers.forward": case(
        MutualMeanClassifiers(8, 5), {name: torch.rand(4, 8) for name in images}, visible=NO_ROWS, infrared=NO_ROWS
    ),
    "MPANet": case(
        MPANet,
        {"num_identities": 5, "embedder": mpanet.embedder},
        num_identities=integer(least=1),
        embedder=[*NO_BACKBONE, backbone, embedder],
        rate=number(above=0, most=1),
        generator=["input", *NO_MODULE],
    ),
    "MPANet.forward": case(mpanet, images, visible=NO_FITTING_IMAGES, infrared=NO_FITTING_IMAGES),
    "MPANet.embed": case(
        mpanet.embed, embed, images=NO_FITTING_IMAGES, modality=choice("infared"), feature=choice("pool")
    ),
    "create_mpanet": case(
        create_mpanet,
        {"num_identities": 5, "backbone": backbone},
        num_identities=integer(least=1),
        parts=integer(least=1),
        generator=["input", *NO_MODULE],
        **network,
    ),
    "create_saai": case(
        create_saai,
        {"num_identities": 5, "backbone": backbone},
        num_identities=integer(least=1),
        parts=integer(least=1),
        generator=["input", *NO_MODULE],
        **network,
    ),
    "create_saai, of a name": case(
        create_saai, {"num_identities": 5, "backbone": "test_resnet", **SIZE}, style_gates=integer(least=0, most=4)
    ),
    "AggregatedStage": case(
        AggregatedStage,
        {"stage": nn.Identity(), "low_channels": 8, "channels": 8},
        stage=[None, *NO_MODULE],
        low_channels=integer(least=1),
        channels=integer(least=1),
        stride=integer(least=1),
    ),
    "AggregatedStage.forward": case(AggregatedStage(nn.Conv2d(8, 8, 1), 8, 8), {}, low_map=NO_MAP),
    "ChannelAggregation": case(
        ChannelAggregation,
        {"low_channels": 8, "channels": 8},
        low_channels=integer(least=1),
        channels=integer(least=1),
        stride=integer(least=1),
    ),
    "ChannelAggregation.forward": case(
        ChannelAggregation(8, 8),
        {"feature_map": maps["visible_map"], "low_map": maps["visible_map"]},
        feature_map=NO_MAP,
        low_map=[*NO_MAP, torch.rand(3, 8, 6, 6), torch.rand(4, 8, 5, 6)],
    ),
    "SpatialAggregation": case(
        SpatialAggregation,
        {"low_channels": 8, "channels": 8},
        low_channels=integer(least=1),
        channels=integer(least=1),
    ),
    "SpatialAggregation.forward": case(
        SpatialAggregation(8, 8),
        {"feature_map": maps["visible_map"], "low_map": maps["visible_map"]},
        feature_map=NO_MAP,
        low_map=[*NO_MAP, torch.rand(3, 8, 6, 6)],
    ),
    "DiverseEmbeddingExpansion": case(
        DiverseEmbeddingExpansion,
        {"channels": 8},
        channels=integer(least=1),
        branches=integer(least=1),
        dilations=[None, 3, "123", (), (0,), (1, 2.5), (True,), {}, object()],
        dropout=number(least=0, below=1),
    ),
    "DiverseEmbeddingExpansion.forward": case(DiverseEmbeddingExpansion(8), {}, feature_map=NO_MAP),
    "ExpandedPooling": case(ExpandedPooling, {"channels": 8}, channels=integer(least=1), copies=integer(least=1)),
    "ExpandedPooling.forward": case(
        ExpandedPooling(8), {}, feature_map=tensor(torch.rand(6, 8), torch.rand(6, 7, 6, 6), torch.rand(4, 8, 6, 6))
    ),
    "ExpandedNeck": case(ExpandedNeck, {}, channels=integer(least=1)),
    "ExpandedNeck.forward": case(
        ExpandedNeck(8),
        {},
        embeddings=tensor(torch.rand(24), torch.rand(4, 12), torch.rand(4, 0), torch.ones(4, 24).int()),
    ),
    "DEEN": case(
        DEEN,
        {"num_identities": 5, "embedder": deen.embedder},
        num_identities=integer(least=1),
        embedder=[None, 3, [], {}, object(), backbone, embedder],
        generator=["input", *NO_MODULE],
    ),
    "DEEN.forward": case(deen, images, visible=NO_FITTING_IMAGES, infrared=NO_FITTING_IMAGES),
    "DEEN.embed": case(deen.embed, embed, images=NO_FITTING_IMAGES, modality=choice("infared"), feature=choice("pool")),
    "create_deen": case(
        create_deen,
        {"num_identities": 5, "backbone": "test_resnet", **SIZE},
        num_identities=integer(least=1),
        backbone=[None, 3, [], {}, object(), "", "resnet5O"],
        pretrained=flag(),
        image_size=size(),
        branches=integer(least=1),
        aggregated_stages=integer(least=0, most=3),
        generator=["input", *NO_MODULE],
    ),
    "create_pmt": case(
        create_pmt,
        {"num_identities": 5, "backbone": "test_vit", **SIZE},
        num_identities=integer(least=1),
        backbone=[None, 3, [], {}, object(), "", "test_vi"],
        pretrained=flag(),
        image_size=size(),
        patch_stride=[value for value in integer(least=1) if value is not None],
        generator=["input", *NO_MODULE],
    ),
}

EXCEPTIONS = {
    "AuxiliaryBatchNorm.forward",  # its arguments are those of the module
    "BaselineOutput",
    "ExportReport",
    "ExportedEmbedder",
    "ParityReport",  # which export, load_exported and check_export make
    "DEENOutput",
    "MPANetOutput",
    "MUNOutput",
    "MutualMeanLogits",  # tuples, which networks fill
    "create_saai.style_gates",  # in "create_saai, of a name"
    "lock_folder",
    "load_training_state",
    "save_training_state",  # in tests/models/test_checkpoints.py
    "XModality",
    "SyncreticModality",
    "MiddleModality",  # take no arguments
    "TwoStreamEmbedder.check_images.argument",  # a name for the error
    "create_backbone.name",  # called backbone in errors, as in the networks
}


@pytest.mark.parametrize(("name", "argument"), parameters(CASES))
def test_bad_input_is_refused_clearly(name, argument):
    assert problems(CASES[name], argument) == []


@pytest.mark.parametrize("create", [create_agw, create_mpanet, create_saai, create_deen, create_pmt])
def test_identities_are_judged_before_a_network_is_made(create):
    with pytest.raises(ValueError, match="num_identities must be an integer of at least 1, got 0"):
        create(0, "no_network")


def public():
    """Every argument of every public name, as ``name.argument`` of the table."""
    for name in set(models.__all__) - EXCEPTIONS:
        thing = getattr(models, name)
        yield from ((name, argument) for argument in inspect.signature(thing).parameters)
        if isinstance(thing, type):
            for key, method in vars(thing).items():
                function = getattr(method, "__func__", method)
                if inspect.isfunction(function) and not key.startswith("_"):
                    arguments = [a for a in inspect.signature(function).parameters if a not in {"self", "cls"}]
                    yield from ((f"{name}.{key}", argument) for argument in arguments)


def test_every_public_name_is_in_the_campaign():
    missing = [
        f"{name}.{argument}"
        for name, argument in public()
        if not {name, f"{name}.{argument}"} & EXCEPTIONS and argument not in getattr(CASES.get(name), "bad", ())
    ]
    assert not missing
