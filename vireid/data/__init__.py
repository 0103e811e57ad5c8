"""Readers of the public data sets and of your own, a synthetic one, aligned batches and augmentations."""

from vireid.data.corruptions import CORRUPTIONS, RandomCorruption, corrupt
from vireid.data.crops import crop_boxes
from vireid.data.datasets import LLCM, SYSUMM01, DatasetReport, PersonDataset, RegDB, check_dataset, create_dataset
from vireid.data.folders import RecordList, read_folders, read_table
from vireid.data.images import Pair, PairedImages, PersonImages, Record, check_images, check_modalities, read_image
from vireid.data.mixing import (
    EachImage,
    MixedViews,
    ModerateLinearEnhancement,
    RadicalLinearEnhancement,
    SelfPatchMix,
    SoftErasing,
)
from vireid.data.recipes import create_test_transform, create_train_transform
from vireid.data.samplers import CrossModalityIdentitySampler
from vireid.data.sources import DataSource, open_test_data, recognise_dataset
from vireid.data.splits import OwnDataset, split_identities
from vireid.data.synthetic import generate_synthetic
from vireid.data.transforms import (
    ChannelAdaptiveGray,
    ChannelErasing,
    ChannelExchange,
    Normalize,
    RandomFlip,
    RandomPadCrop,
    TwoViews,
)

__all__ = [
    "CORRUPTIONS",
    "LLCM",
    "SYSUMM01",
    "ChannelAdaptiveGray",
    "ChannelErasing",
    "ChannelExchange",
    "CrossModalityIdentitySampler",
    "DataSource",
    "DatasetReport",
    "EachImage",
    "MixedViews",
    "ModerateLinearEnhancement",
    "Normalize",
    "OwnDataset",
    "Pair",
    "PairedImages",
    "PersonDataset",
    "PersonImages",
    "RadicalLinearEnhancement",
    "RandomCorruption",
    "RandomFlip",
    "RandomPadCrop",
    "Record",
    "RecordList",
    "RegDB",
    "SelfPatchMix",
    "SoftErasing",
    "TwoViews",
    "check_dataset",
    "check_images",
    "check_modalities",
    "corrupt",
    "create_dataset",
    "create_test_transform",
    "create_train_transform",
    "crop_boxes",
    "generate_synthetic",
    "open_test_data",
    "read_folders",
    "read_image",
    "read_table",
    "recognise_dataset",
    "split_identities",
]
