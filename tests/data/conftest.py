import shutil

import pytest

from vireid.data import generate_synthetic


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "Überwachung 夜"  # a path that is not ASCII
    return generate_synthetic(folder, train_identities=4, test_identities=3, images_per_camera=2, size=(48, 24))


@pytest.fixture
def tree(made, tmp_path):
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "SYSU-MM01")
