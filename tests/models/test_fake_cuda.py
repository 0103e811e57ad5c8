"""Every network module runs on a CUDA device that does not exist: no synchronisation, no tensor left on the CPU."""

import pytest
import torch
from torch import nn

from tests.fake_cuda import run_on_fake_cuda
from vireid import MUN, TwoStreamEmbedder, create_backbone, models
from vireid.models import (
    AggregatedStage,
    AuxiliaryBatchNorm,
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
    MutualMeanClassifiers,
    NonLocalBlock,
    PrototypePartPooling,
    SpatialAggregation,
    SyncreticModality,
    TwoStreamBaseline,
    XModality,
    create_agw,
    create_deen,
    create_mpanet,
    create_pmt,
    create_saai,
    pair_by_identity,
)

SIZE = {"image_size": (64, 32)}
MAPS = torch.rand(2, 4, 8, 12, 6)
IMAGES = torch.rand(2, 4, 3, 64, 32)
IDENTITIES = torch.tensor([0, 0, 1, 1])


class Auxiliary(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))
        self.auxiliary = AuxiliaryBatchNorm(self.shared)

    def forward(self, feature_map):
        return self.auxiliary(self.shared, feature_map)


MODULES = {
    "IntraModalityLearner": (lambda: IntraModalityLearner(8), MAPS[:1]),
    "CrossModalityLearner": (lambda: CrossModalityLearner(8, pooling_ratios=(2, 5)), MAPS),
    "AuxiliaryGenerator": (lambda: AuxiliaryGenerator(8), MAPS),
    "FixedGenerator": (lambda: FixedGenerator("mean"), MAPS),
    "GeneralizedMeanPool": (GeneralizedMeanPool, MAPS[:1]),
    "learnable GeneralizedMeanPool": (lambda: GeneralizedMeanPool(learnable=True), MAPS[:1]),
    "BNNeck": (lambda: BNNeck(8), MAPS[:1, ..., 0, 0]),
    "ModalityAlleviation": (lambda: ModalityAlleviation(8), MAPS[:1]),
    "DualBNNeck": (lambda: DualBNNeck(8), MAPS[:1, ..., 0, 0]),
    "MaskPartPooling": (lambda: MaskPartPooling(8), MAPS[:1]),
    "PrototypePartPooling": (lambda: PrototypePartPooling(8, (12, 6)), MAPS[:1]),
    "NonLocalBlock": (lambda: NonLocalBlock(8), MAPS[:1]),
    "AuxiliaryBatchNorm": (Auxiliary, MAPS[:1]),
    "XModality": (XModality, IMAGES),
    "MixedModality": (MixedModality, IMAGES),
    "uniform MixedModality": (lambda: MixedModality(blend="uniform"), IMAGES),
    "learned MixedModality": (lambda: MixedModality(blend="learned"), IMAGES),
    "SyncreticModality": (SyncreticModality, IMAGES),
    "MiddleModality": (MiddleModality, IMAGES),
    "TwoStreamBackbone": (lambda: create_backbone("test_resnet", **SIZE), IMAGES),
    "zero-padding": (lambda: create_backbone("test_resnet", modality_specific_stages="zero-padding", **SIZE), IMAGES),
    "transformer": (lambda: create_backbone("test_vit", **SIZE), IMAGES),
    "MUN": (lambda: MUN(5, "test_resnet", **SIZE), IMAGES),
    "MUN with shared statistics": (lambda: MUN(5, "test_resnet", auxiliary_statistics="shared", **SIZE), IMAGES),
    "MUN with other classifiers": (
        lambda: MUN(5, "test_resnet", auxiliary_classifier=True, shared_classifier=True, **SIZE),
        IMAGES,
    ),
    "IntermediateModalityNetwork": (lambda: IntermediateModalityNetwork(5, "test_resnet", maker="x", **SIZE), IMAGES),
    "TwoStreamBaseline": (lambda: TwoStreamBaseline(5, "test_resnet", **SIZE), IMAGES),
    "TwoStreamBaseline with AuxiliaryBranch": (
        lambda: TwoStreamBaseline(5, "test_resnet", generator="inputs", **SIZE),
        IMAGES,
    ),
    "create_agw": (lambda: create_agw(5, "test_resnet", **SIZE), IMAGES),
    "MutualMeanClassifiers": (lambda: MutualMeanClassifiers(8, 5), MAPS[..., 0, 0]),
    "MPANet": (lambda: create_mpanet(5, "test_resnet", generator="random", **SIZE), IMAGES),
    "create_saai": (lambda: create_saai(5, "test_resnet", **SIZE), IMAGES),
    "AggregatedStage": (lambda: AggregatedStage(nn.Conv2d(8, 6, 1), 8, 6), MAPS[:1]),
    "ChannelAggregation": (lambda: ChannelAggregation(8, 8), MAPS),
    "SpatialAggregation": (lambda: SpatialAggregation(8, 8), MAPS),
    "DiverseEmbeddingExpansion": (lambda: DiverseEmbeddingExpansion(8), MAPS[:1]),
    "ExpandedPooling": (lambda: ExpandedPooling(8, 2), MAPS[:1]),
    "ExpandedNeck": (lambda: ExpandedNeck(4), MAPS[:1, :, :, 0, 0]),
    "DEEN": (lambda: create_deen(5, "test_resnet", generator="random", **SIZE), IMAGES),
    "create_pmt": (lambda: create_pmt(5, "test_vit", **SIZE), IMAGES),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODULES)
def test_forward(name, training):
    make, inputs = MODULES[name]
    run_on_fake_cuda(make().train(training), *inputs)


@pytest.mark.parametrize("feature", ["bn", "pooled"])
def test_embed(feature):
    embedder = TwoStreamEmbedder(create_backbone("test_resnet", **SIZE)).eval()
    model = MUN(5, embedder).eval()
    for network in (embedder, model):
        embeddings = run_on_fake_cuda(network, IMAGES[0], "infrared", method="embed", feature=feature)
        assert embeddings.shape == (4, 96)


def test_identities_are_not_read():
    generator = AuxiliaryGenerator(8)
    run_on_fake_cuda(generator, *MAPS, visible_identities=IDENTITIES, infrared_identities=IDENTITIES)
    run_on_fake_cuda(pair_by_identity, IDENTITIES, torch.tensor([True, False, True, False]))


def test_every_module_is_here():
    names = " ".join([*MODULES, "TwoStreamEmbedder"])  # the last one by test_embed
    missing = {
        name
        for name in models.__all__
        if isinstance(getattr(models, name), type)
        and issubclass(getattr(models, name), nn.Module)
        and name not in names
    }
    assert not missing
