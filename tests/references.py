"""Slow float64 loops, written from the equations and not from the code under test."""

import math

import torch


def intra_modality_learner(state, feature_map, eps=1e-5):
    """Eq. 1-5, pixel by pixel, in training mode; `state` holds the weights by the names of IntraModalityLearner."""
    channels = feature_map.shape[1]
    halves = feature_map[:, : channels // 2], feature_map[:, channels // 2 :]  # Eq. 1
    fields = torch.cat([depthwise(half, state[f"depthwise.{i}.weight"]) for i, half in enumerate(halves)], 1)  # Eq. 2
    expanded = pointwise(batch_norm(fields, state, "expand.0", eps), state, "expand.1")  # Eq. 3
    structured = depthwise(expanded.clamp(min=0), state["spatial.weight"]) + expanded  # Eq. 4
    reduced = pointwise(batch_norm(structured, state, "reduce.0", eps), state, "reduce.1")
    return reduced * state["scale.weight"].view(1, -1, 1, 1)  # Eq. 5


def cross_modality_learner(state, visible_map, infrared_map, ratios, eps=1e-5):
    """Eq. 6-9, pixel by pixel, in training mode."""
    rebuilt = []
    for feature_map in (visible_map, infrared_map):
        height, width = feature_map.shape[2:]
        for i, ratio in enumerate(ratios):
            weight = state[f"rebuild.{i}.weight"]  # in out r r
            scale = torch.zeros_like(feature_map)
            for y in range(height):
                for x in range(width):
                    top, left = y - y % ratio, x - x % ratio
                    cell = feature_map[:, :, top : top + ratio, left : left + ratio].mean((2, 3))  # Eq. 6, b c
                    scale[:, :, y, x] = cell @ weight[:, :, y % ratio, x % ratio]  # Eq. 7
            rebuilt.append(scale)
    stacked = torch.cat(rebuilt, 1)  # Eq. 8
    fused = pointwise(batch_norm(stacked, state, "fuse.0", eps), state, "fuse.1")
    return fused * state["scale.weight"].view(1, -1, 1, 1)  # Eq. 9


def depthwise(feature_map, weight):
    batch, channels, height, width = feature_map.shape
    size = weight.shape[-1]
    padded = torch.zeros(batch, channels, height + size - 1, width + size - 1, dtype=feature_map.dtype)
    padded[:, :, size // 2 : size // 2 + height, size // 2 : size // 2 + width] = feature_map
    result = torch.zeros_like(feature_map)
    for y in range(height):
        for x in range(width):
            result[:, :, y, x] = (padded[:, :, y : y + size, x : x + size] * weight[:, 0]).sum((2, 3))
    return result


def pointwise(feature_map, state, name):
    mixed = torch.einsum("bchw,oc->bohw", feature_map, state[f"{name}.weight"][:, :, 0, 0])
    return mixed + state[f"{name}.bias"].view(1, -1, 1, 1)


def batch_norm(feature_map, state, name, eps):
    mean = feature_map.mean((0, 2, 3), keepdim=True)
    variance = ((feature_map - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scaled = (feature_map - mean) / (variance + eps).sqrt()
    return scaled * state[f"{name}.weight"].view(1, -1, 1, 1) + state[f"{name}.bias"].view(1, -1, 1, 1)


def identity_loss(logits, identities):
    """Eq. 10."""
    terms = [math.log(sum(math.exp(z) for z in row)) - row[y] for row, y in zip(logits.tolist(), identities.tolist())]
    return sum(terms) / len(terms)


def batch_hard_triplet(embeddings, identities, margin):
    terms = []
    for i, anchor in enumerate(embeddings):
        distances = [(distance(anchor, row), int(y), j) for j, (row, y) in enumerate(zip(embeddings, identities))]
        positives = [d for d, y, j in distances if y == identities[i] and j != i]
        negatives = [d for d, y, _ in distances if y != identities[i]]
        if positives and negatives:
            terms.append(max(0.0, margin + max(positives) - min(negatives)))
    return sum(terms) / len(terms) if terms else 0.0


def identity_alignment(rows, labels, margin, hinge=True, reduction="sum"):
    """Eq. 12; `rows` and `labels` are keyed by the letters v, r and a."""
    centres = {m: {int(y): rows[m][labels[m] == y].mean(0) for y in labels[m].unique()} for m in "vra"}
    total = 0.0
    for i, anchor in centres["a"].items():
        if i not in centres["v"] or i not in centres["r"]:
            continue
        positive = max(distance(anchor, centres[m][i]) for m in "vr")
        negatives = [distance(anchor, centre) for m in "vr" for q, centre in centres[m].items() if q != i]
        if negatives:
            term = margin + positive - min(negatives)
            total += max(0.0, term) if hinge else term
    return total / len(centres["a"]) if reduction == "mean" else total


def identity_mmd(x, y, x_identities, y_identities, unbiased=False):
    """Eq. 16 with the kernel of A28, the mean over the identities of both sets."""
    shared = sorted({int(i) for i in x_identities} & {int(i) for i in y_identities})
    values = []
    for identity in shared:
        values.append(mmd(x[x_identities == identity], y[y_identities == identity], unbiased))
    return sum(values) / len(values) if values else 0.0


def mmd(x, y, unbiased=False):
    both = [*x, *y]
    squares = [float(((p - q) ** 2).sum()) for i, p in enumerate(both) for j, q in enumerate(both) if i != j]
    bandwidth = sum(squares) / len(squares)

    def kernel(p, q):
        return sum(math.exp(-float(((p - q) ** 2).sum()) / (bandwidth * 2.0 ** (i - 2))) for i in range(5))

    def mean_within(rows):
        values = [kernel(p, q) for i, p in enumerate(rows) for j, q in enumerate(rows) if not (unbiased and i == j)]
        return sum(values) / len(values)

    if unbiased and min(len(x), len(y)) < 2:
        return 0.0
    between = [kernel(p, q) for p in x for q in y]
    return mean_within(x) + mean_within(y) - 2 * sum(between) / len(between)


def modality_alignment(batches, identities, projections, iterations, bridge=True):
    """Eq. 13-16: the loss of every batch of a run; `batches` holds (v, r, a) triples, `projections` W per modality."""
    history, losses = None, []
    for i, modalities in enumerate(batches):
        beta = 1e-8 + (1 - 1e-8) * i / (iterations - 1)
        current = [rows @ weight.T for rows, weight in zip(modalities, projections)]
        if history is not None:
            current = [beta * new + (1 - beta) * old for new, old in zip(current, history)]
        history = current
        v, r = current[:2]
        pairs = [(v, current[2]), (current[2], r)] if bridge else [(v, r)]
        losses.append(sum(identity_mmd(x, y, identities, identities) for x, y in pairs))
    return losses


def distance(p, q):
    return math.sqrt(float(((p - q) ** 2).sum()))


def weighted_regularized_triplet(embeddings, identities, legacy=False, squared=False):
    """AGW's loss or CAJ's squared one, anchor by anchor; `legacy` with the weights and bounds of their code."""
    terms = []
    for i, identity in enumerate(identities.tolist()):
        distances = [math.dist(embeddings[i].tolist(), row.tolist()) for row in embeddings]
        means = []
        for sign, among in ((1, identities == identity), (-1, identities != identity)):
            logits = [sign * d * bool(member) for d, member in zip(distances, among)]
            if legacy:
                top = max(logits)
                powers = [math.exp(logit - top) * bool(member) for logit, member in zip(logits, among)]
                total = sum(powers) + 1e-6
            else:
                if not among.any():
                    break
                top = max(logit for logit, member in zip(logits, among) if member)
                powers = [math.exp(logit - top) * bool(member) for logit, member in zip(logits, among)]
                total = sum(powers)
            means.append(sum(power * d for power, d in zip(powers, distances)) / total)
        if len(means) == 2:
            x = means[0] - means[1]
            if squared:
                x = math.copysign(x**2, x)
            if squared and legacy:
                x = min(x, 88)
            terms.append(x if x > 500 else math.log1p(math.exp(x)))
    return sum(terms) / len(terms)


def hetero_center_triplet(visible, infrared, identities, margin):
    """Hinge over the modality centres, one after the other."""
    centres = {
        (identity, m): rows[identities == identity].mean(0)
        for identity in identities.unique().tolist()
        for m, rows in enumerate((visible, infrared))
    }
    terms = []
    for (identity, m), centre in centres.items():
        positive = math.dist(centre.tolist(), centres[identity, 1 - m].tolist())
        negative = min(math.dist(centre.tolist(), c.tolist()) for (q, _), c in centres.items() if q != identity)
        terms.append(max(0.0, margin + positive - negative))
    return sum(terms) / len(terms)


def probabilities(row):
    powers = [math.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def view_cross_entropy(views, target=1):
    """CAJ+'s consistency, row by row; `views` is v b n."""
    terms = []
    for v, logits in enumerate(views.tolist()):
        for row, wanted in zip(logits, views[target].tolist()):
            if v != target:
                total = math.log(sum(math.exp(z - max(row)) for z in row)) + max(row)
                terms.append(sum(q * (total - z) for q, z in zip(probabilities(wanted), row)))
    return sum(terms) / len(terms)


def jensen_shannon(views):
    """CIL's divergence without its clamp, row by row."""
    terms = []
    for rows in zip(*views.tolist()):
        spread = [probabilities(row) for row in rows]
        mean = [sum(values) / len(rows) for values in zip(*spread)]
        terms.append(sum(p * math.log(p / m) for ps in spread for p, m in zip(ps, mean) if p > 0) / len(rows))
    return sum(terms) / len(terms)


def shifts_of(image, padding):
    """Every image that a shift can make, by how far it moves down and right."""
    height, width = image.shape[-2:]
    padded = torch.nn.functional.pad(image, (padding,) * 4)
    return {
        (padding - y, padding - x): padded[:, y : y + height, x : x + width]
        for y in range(2 * padding + 1)
        for x in range(2 * padding + 1)
    }
