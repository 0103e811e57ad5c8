"""Evaluate the same features under the rules of different scripts: ``comparing-numbers.md`` and its JSON.

python docs/compare_protocols.py

The features are synthetic, with as many identities, cameras and images as the test sets. Read the differences between
the rows of a table, not the numbers themselves.
"""

import json
from pathlib import Path

import torch
from torch.nn.functional import normalize

from vireid.evaluation import (
    EmbeddingSet,
    KReciprocalReranking,
    LLCMProtocol,
    RegDBProtocol,
    SYSUMM01Protocol,
    compute_metrics,
)

INTRODUCTION = """# Comparing published numbers

The numbers of two papers often come from different experiments. `python docs/compare_protocols.py` computes every
table below from the same synthetic features, which have as many identities, cameras and images as the test sets; only
the rule changes. The first row is vireid's preset. All values are percentages.

| rule | the question behind it | setting |
|---|---|---|
| gallery | which images stand for a person: the official list or random draws, one or ten | `gallery`, `shots` |
| exclusion | which images may a query not find: those of its own room, or of its own camera | `exclude` |
| level of the ranks | does rank-10 count ten people or ten images | `cmc_level` |
| queries without a match | are they skipped or counted as misses | skipped |
| direction | which modality are the queries | `query`, `convention` |
| distance | cosine, Euclidean or inner product | `distance` |
| mirror images | are the embeddings of an image and its mirror image combined | `flip` |
| re-ranking | do the neighbours among the test images change the distances | `reranking` |
| choice of the epoch | is it the last one, or the best one on the test set | not a setting: say it |

A result of vireid names its rules: `print(result)` prints the row with the protocol in words, `result.settings` holds
the settings one by one, and the JSON of `result.to_dict()` has both. [Reporting results](reporting-results.md) says how
to compare two runs.
"""


def create_features(counts, modality, *, seed, spread=1.4, dim=64):
    """Draw features of people seen by cameras; counts maps a camera to (identities, images of each)."""
    generator = torch.Generator().manual_seed(seed)
    identities, cameras = [], []
    for camera, (people, images) in counts.items():
        identities.append(torch.as_tensor(people).repeat_interleave(images))
        cameras.append(torch.full((len(people) * images,), camera))
    identities, cameras = torch.cat(identities), torch.cat(cameras)
    people = torch.randn(400, dim, generator=torch.Generator().manual_seed(0))
    places = torch.randn(10, dim, generator=torch.Generator().manual_seed(1))
    offset = torch.randn(2, dim, generator=torch.Generator().manual_seed(2))[0 if modality == "visible" else 1]
    noise = torch.randn(len(identities), dim, generator=generator)
    place = places[torch.where(cameras == 3, 2, cameras)]  # cameras 2 and 3 of SYSU-MM01 see the same room
    rows = people[identities] + 0.6 * place + 0.6 * offset + spread * noise
    lengths = 1 + 0.3 * torch.rand(len(rows), 1, generator=generator)  # bright images have long features
    return EmbeddingSet(rows * lengths, identities, cameras, modality)


def percentages(result):
    """Return rank-1, -5, -10, -20, mAP and mINP of a result of a protocol, or of metrics, in percent."""
    if hasattr(result, "summary"):
        values = {key: mean for key, (mean, _) in result.summary().items()}
    else:
        values = {f"rank-{rank}": result.cmc[rank - 1].item() for rank in (1, 5, 10, 20)}
        values |= {"mAP": result.mAP, "mINP": result.mINP}
    return [round(100 * value, 2) for value in values.values()]


def table(title, text, rows):
    """Collect a section of the page."""
    return {"title": title, "text": text, "rows": {name: percentages(result) for name, result in rows.items()}}


def format_page(sections):
    """Format the page from the sections of ``docs/results/protocols.json``."""
    head = "| | rank-1 | rank-5 | rank-10 | rank-20 | mAP | mINP |\n|---|---:|---:|---:|---:|---:|---:|\n"
    page = INTRODUCTION
    for section in sections:
        lines = [f"| {name} | {' | '.join(f'{x:.2f}' for x in row)} |\n" for name, row in section["rows"].items()]
        page += f"\n## {section['title']}\n\n{section['text']}\n\n{head}{''.join(lines)}"
    return page


def sysu():
    """Compare SYSU-MM01's galleries, exclusions, CMC levels, invalid queries and re-ranking."""
    indoor, outdoor = range(56), range(96)
    gallery = create_features({1: (indoor, 25), 2: (indoor, 28), 4: (outdoor, 20), 5: (outdoor, 20)}, "visible", seed=3)
    query = create_features({3: (range(93), 20), 6: (outdoor, 20)}, "infrared", seed=4)
    generator = torch.Generator().manual_seed(5)
    permutations = {
        (camera, identity): torch.stack([torch.randperm(images, generator=generator) for _ in range(10)]).numpy()
        for camera, (people, images) in {1: (56, 25), 2: (56, 28), 4: (96, 20), 5: (96, 20)}.items()
        for identity in range(people)
    }

    def without_exclusion(search):
        protocol = SYSUMM01Protocol(search)
        distances = 1 - normalize(query.embeddings.double()) @ normalize(gallery.embeddings.double()).T
        rows = protocol.galleries(gallery.identities, gallery.cameras)
        trials = [compute_metrics(distances[:, g], query.identities, gallery.identities[g]) for g in rows]
        return type(protocol.evaluate(query, gallery)).of_trials(trials, "", {})

    def with_invalid_queries():
        """Count the queries of the 40 people without indoor images as misses: divide every measure by all queries."""
        result = SYSUMM01Protocol("indoor").evaluate(query, gallery)
        share = result.valid_queries[0] / result.queries
        return type(result)("", {}, result.cmc * share, result.mAP * share, result.mINP * share, (1,), 1)

    official = {"gallery": "official", "permutations": permutations}
    yield table(
        "SYSU-MM01: official and random galleries",
        "`rand_perm_cam.mat` lists the official galleries (here: a random list). AGW and most papers after it draw\n"
        "theirs with Python's random numbers. `SYSUMM01Protocol(gallery=…)` takes either.",
        {
            "all search, `agw`": SYSUMM01Protocol().evaluate(query, gallery),
            "all search, `official`": SYSUMM01Protocol(**official).evaluate(query, gallery),
            "indoor, `agw`": SYSUMM01Protocol("indoor").evaluate(query, gallery),
            "indoor, `official`": SYSUMM01Protocol("indoor", **official).evaluate(query, gallery),
            "all search, `official`, 10-shot": SYSUMM01Protocol(shots=10, **official).evaluate(query, gallery),
        },
    )
    yield table(
        "SYSU-MM01: images from the query's own room",
        "Cameras 2 and 3 stand in one room, so the protocol excludes the images of camera 2 for queries of camera 3.\n"
        "A script that evaluates SYSU-MM01 with RegDB's function skips this rule.",
        {
            "all search": SYSUMM01Protocol().evaluate(query, gallery),
            "all search, not removed": without_exclusion("all"),
            "indoor": SYSUMM01Protocol("indoor").evaluate(query, gallery),
            "indoor, not removed": without_exclusion("indoor"),
        },
    )
    yield table(
        "SYSU-MM01: ranks of identities or of images",
        "The protocol ranks identities, each at its nearest image; some scripts rank images (`cmc_level=…`). Rank-1,\n"
        "mAP and mINP are equal.",
        {
            level: SYSUMM01Protocol(shots=10, cmc_level=level, **official).evaluate(query, gallery)
            for level in ("identity", "image")
        },
    )
    yield table(
        "SYSU-MM01 indoor: queries without a match",
        "40 of the 96 people do not appear in the indoor gallery, and the protocol skips their queries. Counting them\n"
        "as misses divides every number by the ratio of all queries to valid ones.",
        {
            "skipped": SYSUMM01Protocol("indoor").evaluate(query, gallery),
            "counted as misses": with_invalid_queries(),
        },
    )
    yield table(
        "Re-ranking",
        "No protocol includes re-ranking. `reranking=KReciprocalReranking()` adds it, and the result names it.",
        {
            "none": SYSUMM01Protocol().evaluate(query, gallery),
            "k-reciprocal": SYSUMM01Protocol(reranking=KReciprocalReranking()).evaluate(query, gallery),
        },
    )


def regdb():
    """Compare RegDB's CMC levels, distances, directions and flips."""
    visible = create_features({1: (range(206), 10)}, "visible", seed=6)
    infrared = create_features({2: (range(206), 10)}, "infrared", seed=7)
    mirrored = create_features({2: (range(206), 10)}, "infrared", seed=8)
    also = create_features({1: (range(206), 10)}, "visible", seed=9)

    def evaluate(direction="visible", sets=(visible, infrared), **options):
        pair = sets if direction == "visible" else sets[::-1]
        return RegDBProtocol(direction, trial=1, trained_on=1, **options).evaluate(*pair)

    def flipped(combine):
        pairs = ((visible, also), (infrared, mirrored))
        return [
            one._replace(embeddings=combine(normalize(one.embeddings), normalize(other.embeddings)))
            for one, other in pairs
        ]

    yield table(
        "RegDB: ranks of images or of identities",
        "AGW and the scripts after it rank images; MPANet ranks identities. Only their rank-1 is comparable.",
        {level: evaluate(cmc_level=level) for level in ("image", "identity")},
    )
    yield table(
        "RegDB: distances",
        "Nearly all scripts use the cosine; MPANet compares RegDB's unnormalised features by Euclidean distance\n"
        "(`distance=…`).",
        {distance: evaluate(distance=distance) for distance in ("cosine", "euclidean", "dot")},
    )
    yield table(
        "RegDB: directions",
        'In nearly all papers "visible → infrared" means visible queries. Section 4.1 of MUN words it the other way\n'
        "round, with numbers that follow the usual convention. The argument `query` names the modality.",
        {"visible → infrared": evaluate(), "infrared → visible": evaluate("infrared")},
    )
    yield table(
        "Mirror images",
        "Some scripts average the embeddings of an image and of its mirror image, with or without normalising the\n"
        "result, or concatenate them: `extract_embeddings(flip=…)`. Those that do not normalise rank by inner\n"
        "products (`dot`), which favours long embeddings.",
        {
            "none": evaluate(),
            "`mean` (CAJ)": evaluate(sets=flipped(lambda x, y: normalize(x + y))),
            "`mean-raw` (SGIEL), `sum` (DEEN), by `dot`": evaluate(sets=flipped(torch.add), distance="dot"),
            "`concatenate` (CSDN)": evaluate(sets=flipped(lambda x, y: torch.cat([x, y], dim=1))),
        },
    )


def llcm():
    """Compare the two conventions of LLCM."""
    people = range(351)
    visible = create_features(dict.fromkeys(range(1, 10), (people, 3)), "visible", seed=10)
    infrared = create_features(dict.fromkeys((1, 2, 4, 5, 6, 7, 8, 9), (people, 3)), "infrared", seed=11)
    yield table(
        "LLCM: swapped queries and gallery",
        "For visible → infrared, the test scripts of DEEN and of the data set's baseline use the drawn infrared\n"
        'images as queries and all visible images as gallery: `LLCMProtocol("visible", convention="swapped")`.',
        {
            "visible → infrared": LLCMProtocol("visible").evaluate(visible, infrared),
            "visible → infrared, `swapped`": LLCMProtocol("visible", convention="swapped").evaluate(visible, infrared),
            "infrared → visible": LLCMProtocol("infrared").evaluate(infrared, visible),
        },
    )


def main():
    sections = [section for make in (sysu, regdb, llcm) for section in make()]
    results = Path(__file__).parent / "results" / "protocols.json"
    results.write_text(json.dumps(sections, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (Path(__file__).parent / "comparing-numbers.md").write_text(format_page(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
