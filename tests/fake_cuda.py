"""Run code on a "cuda" device that does not exist, to find synchronisations and tensors left on the CPU.

Fake tensors have a shape, a type and a device but no values. A module that mixes devices raises as on a real GPU;
`.item()`, `bool(tensor)`, boolean indexing and whatever else waits for the device raise `DataDependentOutputException`
or `DynamicOutputShapeException`. Only forward passes run: a backward pass needs a real device.
"""

import copy

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map


def run_on_fake_cuda(module, *arguments, method="__call__", **keywords):
    """Call a module, or one of its methods, on fake CUDA tensors and return its output.

    The module is copied first. Tensors among the arguments, nested ones too, are moved; all else is passed as it is.
    A plain function is taken as well: `run_on_fake_cuda(pairwise_distances, a, b)`. An output tensor on another device
    is an `AssertionError`.
    """
    mode = FakeTensorMode()

    def fake(value):
        if not isinstance(value, torch.Tensor):
            return value
        moved = mode.from_tensor(value.detach())
        with mode:
            return moved.to("cuda")

    if isinstance(module, nn.Module):
        module = copy.deepcopy(module)
        known = {}  # a parameter that goes by two names stays one
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    if id(parameter) not in known:
                        known[id(parameter)] = parameter, nn.Parameter(fake(parameter), parameter.requires_grad)
                    part._parameters[name] = known[id(parameter)][1]
            for name, buffer in part._buffers.items():
                part._buffers[name] = fake(buffer)
    arguments, keywords = tree_map(fake, (arguments, keywords))
    with mode:
        output = getattr(module, method)(*arguments, **keywords)
    for leaf in tree_leaves(output):
        if isinstance(leaf, torch.Tensor):
            assert leaf.device.type == "cuda", f"an output of shape {tuple(leaf.shape)} is on {leaf.device}"
    return output
