"""Data: readers of the public data sets, a synthetic one, aligned batches and augmentations."""

from vireid.data.datasets import LLCM, SYSUMM01, DatasetReport, PersonDataset, RegDB, check_dataset
from vireid.data.images import PairedImages, PersonImages, Record, check_images, read_image
from vireid.data.samplers import CrossModalityIdentitySampler
from vireid.data.synthetic import generate_synthetic
from vireid.data.transforms import (
    ChannelAdaptiveGray,
    ChannelErasing,
    ChannelExchange,
    create_test_transform,
    create_train_transform,
)

__all__ = [
    "LLCM",
    "SYSUMM01",
    "ChannelAdaptiveGray",
    "ChannelErasing",
    "ChannelExchange",
    "CrossModalityIdentitySampler",
    "DatasetReport",
    "PairedImages",
    "PersonDataset",
    "PersonImages",
    "Record",
    "RegDB",
    "check_dataset",
    "check_images",
    "create_test_transform",
    "create_train_transform",
    "generate_synthetic",
    "read_image",
]
