"""MUN's auxiliary modality, L_idc, L_ia and L_ma inside a baseline that knows nothing else of vireid.

The baseline has the shape of the field's scripts: one network with a flag for the modality, the features of both
modalities concatenated, cross entropy and a triplet loss. The lines that vireid adds or changes end with `# vireid`;
without `--vireid` the script trains the plain baseline. It takes a few steps on random images:

    python examples/swap_into_a_baseline.py
    python examples/swap_into_a_baseline.py --vireid
"""

import argparse

import torch
from torch import nn
from torchvision.models import resnet18

from vireid import AuxiliaryGenerator, IdentityAlignmentLoss, ModalityAlignmentLoss  # vireid
from vireid.models import AuxiliaryBatchNorm  # vireid


class Network(nn.Module):
    """Two stems and a shared ResNet-18, as scripts of the field write it."""

    def __init__(self, identities, auxiliary):
        super().__init__()
        stems = [resnet18(), resnet18()]
        self.visible_stem, self.thermal_stem = (nn.Sequential(s.conv1, s.bn1, s.relu, s.maxpool) for s in stems)
        base = stems[0]
        self.base = nn.Sequential(base.layer1, base.layer2, base.layer3, base.layer4)
        self.bottleneck = nn.BatchNorm1d(512)
        self.classifier = nn.Linear(512, identities, bias=False)
        self.generator = AuxiliaryGenerator(64, start="inputs") if auxiliary else None  # vireid
        self.of_base, self.of_bottleneck = AuxiliaryBatchNorm(self.base), AuxiliaryBatchNorm(self.bottleneck)  # vireid

    def forward(self, visible, thermal, modal=0):
        """Both modalities with modal=0, else visible (1) or thermal (2) alone."""
        if modal == 0:
            v, r = self.visible_stem(visible), self.thermal_stem(thermal)
            x = torch.cat([v, r])
        else:
            x = self.visible_stem(visible) if modal == 1 else self.thermal_stem(thermal)
        features = self.base(x).mean((2, 3))
        embeddings = self.bottleneck(features)
        if modal == 0 and self.generator is not None:  # vireid
            a = self.of_base(self.base, self.generator(v, r)).mean((2, 3))  # vireid
            features = torch.cat([features, a])  # vireid
            embeddings = torch.cat([embeddings, self.of_bottleneck(self.bottleneck, a)])  # vireid
        return (features, self.classifier(embeddings)) if self.training else nn.functional.normalize(embeddings)


def triplet(features, labels, margin=0.3):
    distances = torch.cdist(features, features)
    same = labels[:, None] == labels
    hardest = (distances * same).amax(1) - distances.masked_fill(same, torch.inf).amin(1)
    return torch.relu(margin + hardest).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vireid", action="store_true", help="with the auxiliary modality and its losses")
    parser.add_argument("--steps", type=int, default=5, help="training steps (%(default)s)")
    args = parser.parse_args()

    torch.manual_seed(0)
    labels = torch.arange(4).repeat_interleave(4)  # four images of four people in each modality
    visible, thermal = torch.randn(2, len(labels), 3, 96, 48)
    network = Network(identities=4, auxiliary=args.vireid)
    identity_alignment = IdentityAlignmentLoss(normalize=True, reduction="mean")  # vireid
    form = {"batch_size": len(labels), "projection": "none", "unbiased": True}  # vireid
    modality_alignment = ModalityAlignmentLoss(512, iterations=args.steps, **form)  # vireid
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for step in range(args.steps):
        both = labels.repeat(2)
        features, logits = network(visible, thermal)
        if args.vireid:  # vireid
            v, r, a = features.chunk(3)  # vireid
            features, logits, a_logits = torch.cat([v, r]), logits[: len(both)], logits[len(both) :]  # vireid
        loss = nn.functional.cross_entropy(logits, both) + triplet(features, both)
        if args.vireid:  # vireid
            loss = loss + 0.5 * nn.functional.cross_entropy(a_logits, labels)  # vireid
            loss = loss + 16 * identity_alignment(v, r, a, labels)  # vireid
            loss = loss + modality_alignment(v, r, a, labels)  # vireid
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.3f}")

    network.eval()
    with torch.no_grad():
        similarity = network(None, thermal, modal=2) @ network(visible, None, modal=1).T
    print(
        f"retrieval needs none of it: similarity of {len(thermal)} infrared and {len(visible)} visible images, "
        f"{similarity.min():.2f} to {similarity.max():.2f}"
    )


if __name__ == "__main__":
    main()
