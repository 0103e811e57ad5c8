"""How much faster the metric losses of MUN are than loops over the identities, and that they compute the same.

    python benchmarks/losses.py

Identity alignment, modality alignment and batch-hard triplet together, forward and backward, at P = 8, K = 4, d = 2048,
on one thread. The loop is the plain way of writing them: PyTorch operations for one identity, or one anchor, at a time.
Both run in turn in one process; times are those of the processor. The projections W of Eq. 13 are the same three matrix
products in both, which nobody writes as a loop; they are left out first and taken in then.
"""

import argparse
import time

import _record
import torch

from vireid.losses import BatchHardTripletLoss, IdentityAlignmentLoss, ModalityAlignmentLoss

P, K, D, REPEATS = 8, 4, 2048, 30
IDENTITIES = torch.arange(P).repeat_interleave(K)


def alignment_in_a_loop(v, r, a, margin=0.55):
    centres = [{i: rows[i == IDENTITIES].mean(0) for i in range(P)} for rows in (v, r, a)]
    total = 0
    for i in range(P):
        anchor = centres[2][i]
        positives = [(anchor - centres[m][i]).norm() for m in (0, 1)]
        negatives = [(anchor - centres[m][q]).norm() for m in (0, 1) for q in range(P) if q != i]
        total = total + torch.relu(margin + torch.stack(positives).max() - torch.stack(negatives).min())
    return total


def mmd_in_a_loop(x, y):
    total = 0
    for i in range(P):
        rows = torch.cat([x[i == IDENTITIES], y[i == IDENTITIES]])
        squared = (rows[:, None] - rows[None]).square().sum(2)
        bandwidth = squared.detach().sum() / (len(rows) ** 2 - len(rows))
        kernel = sum(torch.exp(-squared / (bandwidth * 2.0**s)) for s in range(-2, 3))
        total = total + kernel[:K, :K].mean() + kernel[K:, K:].mean() - 2 * kernel[:K, K:].mean()
    return total / P


def triplet_in_a_loop(rows, labels, margin=0.3):
    terms = []
    for i, anchor in enumerate(rows):
        distances = (rows - anchor).square().sum(1).clamp_min(1e-12).sqrt()
        same = labels == labels[i]
        terms.append(torch.relu(margin + distances[same].max() - distances[~same].min()))
    return torch.stack(terms).mean()


def main():
    args = _record.parse(
        argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    )
    torch.set_num_threads(1)
    with _record.measuring(args) as figures:
        figures["without W"] = compare("none")
        figures["with W"] = compare("identity")


def compare(projection):
    torch.manual_seed(0)
    rows = torch.randn(3, P * K, D, requires_grad=True)
    identity, triplet = IdentityAlignmentLoss(), BatchHardTripletLoss()
    # β is 1 where there is no history: in evaluation mode there never is one.
    modality = ModalityAlignmentLoss(D, batch_size=P * K, iterations=1, projection=projection).eval()

    def loops():
        v, r, a = rows
        t_v, t_r, t_a = (project(m) for project, m in zip(modality.projections, rows, strict=True))
        total = alignment_in_a_loop(v, r, a) + mmd_in_a_loop(t_v, t_a) + mmd_in_a_loop(t_a, t_r)
        return total + triplet_in_a_loop(torch.cat([v, r]), IDENTITIES.repeat(2))

    def ours():
        v, r, a = rows
        total = identity(v, r, a, IDENTITIES) + modality(v, r, a, IDENTITIES)
        return total + triplet(torch.cat([v, r]), IDENTITIES.repeat(2))

    ways = {"loops": loops, "vireid": ours}
    times, gradients = {name: [] for name in ways}, {}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.process_time()
            (gradients[name],) = torch.autograd.grad(way(), rows)
            times[name].append(1000 * (time.process_time() - start))
    difference = (gradients["loops"] - gradients["vireid"]).norm() / gradients["loops"].norm()
    measures = {f"{name}, ms": _record.spread(values) for name, values in times.items()}
    return measures | {"ratio": _record.ratio(*times.values()), "gradients differ by": float(f"{difference:.0e}")}


if __name__ == "__main__":
    main()
