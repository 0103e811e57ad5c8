import pytest
import torch


@pytest.fixture
def batch():
    """Visible, infrared and auxiliary embeddings of five identities in no order, and their labels."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3, 12, 5, generator=generator, dtype=torch.float64)
    identities = torch.tensor([4, 0, 2, 4, 1, 1, 0, 2, 2, 4, 3, 3])
    return (*rows, identities)
