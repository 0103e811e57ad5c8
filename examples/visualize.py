"""Draw what networks have learned: the paper's Fig. 4 and 5, distances within and between modalities, ranking lists.

    python examples/train.py --keep-networks
    python examples/visualize.py runs/train/epoch-0.pt runs/train/epoch-3.pt runs/train/epoch-7.pt

embeddings-2d.png and -3d.png (Fig. 4) have a panel for every network; maps.png (Fig. 5), distances.png and rankings.png
show the last one. The people are unseen ones, from the test images. Auxiliary embeddings and maps need a training state
of MUN, such as epoch-7.pt: the folder of an embedder has no generator.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow down all that share a core

from functools import partial
from pathlib import Path

import torch
from options import Parser, at_least, run_script
from runs import load
from sources import create_protocols, open_test_data
from torch.nn.functional import normalize
from torchvision.transforms.v2.functional import resize

from vireid.data import create_test_transform, read_image
from vireid.evaluation import extract_embeddings
from vireid.visualization import (
    grad_cam,
    plot_distances,
    plot_embeddings,
    plot_maps,
    plot_rankings,
    project_embeddings,
)


def parse_arguments():
    parser = Parser(__doc__)
    add = parser.add_argument
    add("networks", type=Path, nargs="+", help="training states or folders of embedders, in the order of the panels")
    add("--dataset", choices=("sysu", "regdb", "llcm"), help="by default the one that they were trained on")
    add("--root", type=Path, help="folder of the data set; by default the one that they were trained on")
    add("--trial", type=int, help="of RegDB, by default the one that they were trained on")
    add("--trained-on", type=int, help="trial of RegDB that they were trained on, if they do not say")
    add("--identities", type=int, nargs="+", help="to show in Fig. 4 and 5; by default ten, drawn by the seed")
    add("--images-per-identity", type=at_least(1), default=8, help="of each modality in Fig. 4, at most (%(default)s)")
    add("--rows", type=at_least(1), default=4, help="identities of them in Fig. 5 (%(default)s)")
    add("--seed", type=at_least(0), default=0, help="of the identities, the images and t-SNE (%(default)s)")
    add("--workers", type=at_least(0), default=1, help="processes that load images (%(default)s)")
    add("--output", type=Path, default=Path("runs/visualization"), help="folder for the figures (%(default)s)")
    return parser.parse_args()


def choose_pairs(dataset, args):
    """Return pairs of a visible and an infrared record of each chosen identity, one identity after the other."""
    generator = torch.Generator().manual_seed(args.seed)

    def shuffled(items):
        return [items[i] for i in torch.randperm(len(items), generator=generator).tolist()]

    by_identity = {}
    for modality, records in (("visible", dataset.test_visible), ("infrared", dataset.test_infrared)):
        for record in records:
            by_identity.setdefault(record.identity, {"visible": [], "infrared": []})[modality].append(record)
    known = sorted(identity for identity, records in by_identity.items() if all(records.values()))
    chosen = args.identities or sorted(shuffled(known)[:10])
    missing = [identity for identity in chosen if identity not in known]
    if missing:
        raise ValueError(
            f"--identities must have test images of both modalities, got {missing}. Some are {known[:20]}."
        )
    pairs = []
    for identity in chosen:
        visible, infrared = (shuffled(by_identity[identity][modality]) for modality in ("visible", "infrared"))
        pairs += list(zip(visible, infrared, strict=False))[: args.images_per_identity]
    return pairs


def embedder_of(model):
    """Return the embedder of a network, which may be one itself."""
    return getattr(model, "embedder", model)


@torch.no_grad()
def auxiliary_of(model, images):
    """Return the output of a network with an auxiliary modality for pairs of images, or None for other networks."""
    output = model(**images) if model is not embedder_of(model) else None
    return None if getattr(output, "auxiliary", None) is None else output


@torch.no_grad()
def embed_pairs(model, batches):
    """Return the embeddings of pairs of images by modality, with those of the auxiliary modality if there is one."""
    embeddings = {"visible": [], "infrared": []}
    for images in batches:
        for modality, of_modality in images.items():
            embeddings[modality].append(model.embed(of_modality, modality))
        output = auxiliary_of(model, images)
        if output is not None:
            auxiliary = normalize(embedder_of(model).neck(output.auxiliary))
            embeddings.setdefault("auxiliary", []).append(auxiliary)
    return {modality: torch.cat(parts).cpu() for modality, parts in embeddings.items()}


def draw_embeddings(models, batches, identities, args):
    """Draw Fig. 4 in two and in three dimensions."""
    embeddings = {name: embed_pairs(model, batches) for name, model in models.items()}
    kinds = list(next(iter(embeddings.values())))
    if any(list(of_network) != kinds for of_network in embeddings.values()):
        raise ValueError("networks must all have an auxiliary modality, or none. Draw them one by one.")
    modalities = [kind for kind in kinds for _ in identities]
    for dimensions in (2, 3):
        panels = {}
        for name, of_network in embeddings.items():
            rows = torch.cat(list(of_network.values()))
            perplexity = min(30.0, (len(rows) - 1) / 3)
            panels[name] = project_embeddings(rows, dimensions=dimensions, perplexity=perplexity, seed=args.seed)
        figure = plot_embeddings(panels, identities.repeat(len(kinds)), modalities)
        figure.savefig(args.output / f"embeddings-{dimensions}d.png", dpi=110)


def draw_maps(model, images, pictures):
    """Draw Fig. 5: feature maps at the cut of the backbone, and the places that make the embeddings of a pair alike."""
    backbone = embedder_of(model).backbone
    with torch.no_grad():
        maps = {m: backbone.first_stages(of_modality, m) for m, of_modality in images.items()}
        embeddings = {m: model.embed(of_modality, m) for m, of_modality in images.items()}
    columns = {**pictures, "$F^v$": maps["visible"], "$F^r$": maps["infrared"]}
    output = auxiliary_of(model, images)
    if getattr(output, "auxiliary_map", None) is not None:
        columns["$F^a$"] = output.auxiliary_map
    for modality, other in (("visible", "infrared"), ("infrared", "visible")):

        def similarity(batch, modality=modality, partner=embeddings[other]):
            return (model.embed(batch, modality) * partner).sum(1)

        stages = {"visible": backbone.visible_stages, "infrared": backbone.infrared_stages}[modality]  # up to the cut
        attention = grad_cam(similarity, stages, images[modality], average_gradients=False)
        columns[f"CAM {modality}"] = (pictures[modality], attention)
    return plot_maps(columns)


def main(args):
    loaded = [load(network) for network in args.networks]
    model, notes = loaded[-1]
    sizes = {other.preprocessing["size"] for other, _ in loaded}
    if len(sizes) > 1:
        raise ValueError(f"networks must take images of one size, got {sorted(sizes)}.")
    (size,) = sizes
    name, dataset, trials = open_test_data(args, notes)
    protocol = next(iter(create_protocols(name, **trials).values()))
    pairs = choose_pairs(dataset, args)
    args.output.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = [network.stem for network in args.networks]
    names = names if len(set(names)) == len(names) else [str(network) for network in args.networks]
    models = {title: other.to(device).eval() for title, (other, _) in zip(names, loaded, strict=True)}

    transform, small = create_test_transform(**model.preprocessing), partial(resize, size=size)

    def read(some, prepare):
        columns = zip(*([read_image(record.path) for record in pair] for pair in some), strict=True)
        return {
            modality: torch.stack([prepare(image) for image in column]).to(device)
            for modality, column in zip(("visible", "infrared"), columns, strict=True)
        }

    batches = [read(pairs[start : start + 32], transform) for start in range(0, len(pairs), 32)]
    identities = torch.tensor([visible.identity for visible, _ in pairs])
    draw_embeddings(models, batches, identities, args)

    firsts = [(identities == identity).nonzero()[0].item() for identity in identities.unique()][: args.rows]
    shown = [pairs[i] for i in firsts]
    draw_maps(model, read(shown, transform), read(shown, small)).savefig(args.output / "maps.png", dpi=110)

    images, pictures = dataset.test_images(transform), dataset.test_images()
    sets = {m: extract_embeddings(model, images[m], m, workers=args.workers) for m in ("visible", "infrared")}
    figure = plot_distances(
        {modality: of_modality.embeddings for modality, of_modality in sets.items()},
        {modality: of_modality.identities for modality, of_modality in sets.items()},
    )
    figure.savefig(args.output / "distances.png", dpi=110)
    query, gallery = protocol.query_modality, protocol.gallery_modality
    figure = plot_rankings(protocol.rank(sets[query], sets[gallery]), pictures[query], pictures[gallery])
    figure.savefig(args.output / "rankings.png")
    print(f"{args.output} holds {', '.join(sorted(path.name for path in args.output.glob('*.png')))}.")


if __name__ == "__main__":
    run_script(main, parse_arguments())
