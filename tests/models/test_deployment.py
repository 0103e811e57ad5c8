"""MUN and the losses under the tools that people run them with."""

import copy
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from vireid import MUN, AuxiliaryGenerator, IdentityAlignmentLoss, ModalityAlignmentLoss
from vireid.losses import BatchHardTripletLoss, IdentityLoss, IdentityMMDLoss, MUNLoss

IDENTITIES = torch.tensor([0, 1, 0, 1])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MUN(num_identities=7, backbone="test_resnet", image_size=(64, 32))


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def compiled(function):
    """Without a graph break; the backend leaves the code generator of a C++ compiler out."""
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def test_generator_compiles():
    torch.manual_seed(0)
    generator, maps = AuxiliaryGenerator(8), torch.rand(2, 3, 8, 24, 12)
    expected = copy.deepcopy(generator)(*maps)
    actual = compiled(generator)(*maps)
    torch.testing.assert_close(actual, expected)
    actual.sum().backward()


LOSSES = {  # with how many sets of embeddings each takes
    "triplet": (BatchHardTripletLoss, 1),
    "identity": (IdentityLoss, 1),
    "mmd": (IdentityMMDLoss, 2),
    "unbiased mmd": (lambda: IdentityMMDLoss(unbiased=True), 2),
    "identity alignment": (lambda: IdentityAlignmentLoss(2.0), 3),
    "modality alignment": (lambda: ModalityAlignmentLoss(8, batch_size=4, iterations=9), 3),
    "by identity": (lambda: ModalityAlignmentLoss(8, batch_size=4, iterations=9, num_identities=2), 3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_compile(name):
    make, sets = LOSSES[name]
    loss, rows = make(), torch.rand(sets, 4, 8, requires_grad=True)
    expected = copy.deepcopy(loss)(*rows, IDENTITIES)
    actual = compiled(loss)(*rows, IDENTITIES)
    torch.testing.assert_close(actual, expected)
    actual.backward()


@pytest.mark.slow
def test_embed_and_forward_compile(model, images):
    model.eval()
    torch.testing.assert_close(compiled(model.embed)(images[0], "infrared"), model.embed(images[0], "infrared"))
    torch.testing.assert_close(compiled(model)(*images).auxiliary, model(*images).auxiliary)


@pytest.mark.parametrize("modality", [pytest.param("visible", marks=pytest.mark.slow), "infrared"])
def test_embed_exports_with_any_batch(model, images, modality, tmp_path):
    class Embedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model.eval().embedder

        def forward(self, images):
            return self.model.embed(images, modality)

    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(Embedding(), (images[0],), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "embedding.pt2")
    loaded = torch.export.load(tmp_path / "embedding.pt2").module()
    for batch in (images[0], images[1, :1]):
        torch.testing.assert_close(loaded(batch), model.embed(batch, modality))


def test_channels_last(model, images):
    model.eval()
    expected = model(*images).auxiliary
    actual = model.to(memory_format=torch.channels_last)(*(x.to(memory_format=torch.channels_last) for x in images))
    torch.testing.assert_close(actual.auxiliary, expected)


def test_training_step_in_bfloat16(model, images):
    criterion = MUNLoss(model.embedding_dim, batch_size=4, iterations=9)
    expected = criterion(copy.deepcopy(model)(*images), IDENTITIES).total
    criterion = MUNLoss(model.embedding_dim, batch_size=4, iterations=9)
    with torch.autocast("cpu", torch.bfloat16):
        total = criterion(model(*images), IDENTITIES).total
    total.backward()
    assert total.item() == pytest.approx(expected.item(), rel=0.1)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("autocast", [False, True])
def test_training_step_on_cuda(model, images, autocast):
    criterion = MUNLoss(model.embedding_dim, batch_size=4, iterations=9).cuda()
    model.cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        output = model(*images.cuda())
        torch.cuda.set_sync_debug_mode("error")  # a loss must not wait for the device
        try:
            total = criterion(output, IDENTITIES.cuda()).total
        finally:
            torch.cuda.set_sync_debug_mode("default")
    total.backward()
    assert total.isfinite()


DISTRIBUTED = """
    import gc
    import torch, torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from vireid import MUN
    from vireid.losses import MUNLoss

    def main():  # a model that outlived its process group would abort the interpreter at its end
        dist.init_process_group("gloo")
        torch.set_num_threads(1)
        torch.manual_seed(0)
        model = DistributedDataParallel(MUN(num_identities=7, backbone="test_resnet", image_size=(64, 32)))
        criterion = MUNLoss(model.module.embedding_dim, batch_size=4, iterations=9)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        torch.manual_seed(dist.get_rank())  # other images on every rank
        for _ in range(2):
            loss = criterion(model(*torch.rand(2, 4, 3, 64, 32)), torch.tensor([0, 1, 0, 1])).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        sums = torch.stack([parameter.detach().double().sum() for parameter in model.parameters()])
        others = [torch.zeros_like(sums) for _ in range(2)]
        dist.all_gather(others, sums)
        assert torch.equal(*others), "the ranks have other weights"
        assert not torch.equal(sums, torch.zeros_like(sums))

    main()
    gc.collect()  # of cycles as well
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_keep_the_same_weights(tmp_path):
    (tmp_path / "step.py").write_text(textwrap.dedent(DISTRIBUTED))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "step.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
