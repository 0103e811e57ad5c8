"""Write ``docs/which-number.md``: the same features under the rules of different scripts.

python docs/which_number.py

The features are synthetic, of as many identities, cameras and images as the data sets' tests have; what matters is how
far the numbers of one row of a table lie apart.
"""

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

INTRODUCTION = """# Which number is that?

Two papers' numbers are often not the same experiment. Every table below was computed by `python docs/which_number.py`
from the same synthetic features, which have as many identities, cameras and images as the test sets; only the rule
changes. The first row is what vireid's preset computes. All values are percent.

A result of vireid names its rules: `print(result)` gives the row with the protocol in words, `result.settings` the
choices one by one, and both are in the JSON of `result.to_dict()`.
"""


def create_features(counts, modality, *, seed, spread=1.4, dim=64):
    """Features of people before cameras: counts maps a camera to (identities, images of each)."""
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


def row(name, result):
    """A row of a table, of a result of a protocol or of metrics."""
    if hasattr(result, "summary"):
        values = {key: mean for key, (mean, _) in result.summary().items()}
    else:
        values = {f"rank-{rank}": result.cmc[rank - 1].item() for rank in (1, 5, 10, 20)}
        values |= {"mAP": result.mAP, "mINP": result.mINP}
    return f"| {name} | " + " | ".join(f"{100 * value:.2f}" for value in values.values()) + " |"


def table(title, text, rows):
    """A section of the page."""
    head = "| | rank-1 | rank-5 | rank-10 | rank-20 | mAP | mINP |\n|---|---|---|---|---|---|---|"
    return f"\n## {title}\n\n{text}\n\n{head}\n" + "\n".join(row(name, result) for name, result in rows.items()) + "\n"


def sysu():
    """SYSU-MM01: the draw, the exclusion, the level of CMC, invalid queries, re-ranking."""
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
        """Misses for the 40 people whom the indoor cameras have not seen: every measure is divided by all queries."""
        result = SYSUMM01Protocol("indoor").evaluate(query, gallery)
        share = result.valid_queries[0] / result.queries
        return type(result)("", {}, result.cmc * share, result.mAP * share, result.mINP * share, (1,), 1)

    official = {"gallery": "official", "permutations": permutations}
    yield table(
        "SYSU-MM01: which galleries (T1)",
        "The official galleries are listed in `rand_perm_cam.mat` (here: a random list), those of AGW and of most\n"
        "papers are drawn with Python's random numbers. `SYSUMM01Protocol(gallery=…)`.",
        {
            "all search, `agw`": SYSUMM01Protocol().evaluate(query, gallery),
            "all search, `official`": SYSUMM01Protocol(**official).evaluate(query, gallery),
            "indoor, `agw`": SYSUMM01Protocol("indoor").evaluate(query, gallery),
            "indoor, `official`": SYSUMM01Protocol("indoor", **official).evaluate(query, gallery),
            "all search, `official`, 10-shot": SYSUMM01Protocol(shots=10, **official).evaluate(query, gallery),
        },
    )
    yield table(
        "SYSU-MM01: images of the query's own room (T2)",
        "Camera 3 stands where camera 2 does; the protocol removes camera 2's images for its queries. A script that\n"
        "evaluates SYSU-MM01 with RegDB's function forgets it.",
        {
            "all search": SYSUMM01Protocol().evaluate(query, gallery),
            "all search, not removed": without_exclusion("all"),
            "indoor": SYSUMM01Protocol("indoor").evaluate(query, gallery),
            "indoor, not removed": without_exclusion("indoor"),
        },
    )
    yield table(
        "SYSU-MM01: what a rank is (T3)",
        "The protocol ranks identities, each at its nearest image; others rank images. `cmc_level=…`. Rank-1, mAP and\n"
        "mINP are the same.",
        {
            level: SYSUMM01Protocol(shots=10, cmc_level=level, **official).evaluate(query, gallery)
            for level in ("identity", "image")
        },
    )
    yield table(
        "SYSU-MM01 indoor: queries without a match (T15)",
        "40 of the 96 people are not in the indoor gallery. Their queries count nowhere; as misses they would divide\n"
        "every number by the ratio of all queries to the valid ones.",
        {
            "skipped": SYSUMM01Protocol("indoor").evaluate(query, gallery),
            "counted as misses": with_invalid_queries(),
        },
    )
    yield table(
        "Re-ranking",
        "No protocol includes it; `reranking=KReciprocalReranking()` names itself in the result.",
        {
            "none": SYSUMM01Protocol().evaluate(query, gallery),
            "k-reciprocal": SYSUMM01Protocol(reranking=KReciprocalReranking()).evaluate(query, gallery),
        },
    )


def regdb():
    """RegDB: the level of CMC, the distance, flips."""
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
        "RegDB: what a rank is (T3)",
        "AGW and its followers rank images, MPANet identities: beyond rank-1 they do not compare.",
        {level: evaluate(cmc_level=level) for level in ("image", "identity")},
    )
    yield table(
        "RegDB: the distance (T10)",
        "Cosine nearly everywhere; MPANet compares RegDB's features by Euclidean distance as they come. `distance=…`.",
        {distance: evaluate(distance=distance) for distance in ("cosine", "euclidean", "dot")},
    )
    yield table(
        "RegDB: the direction",
        '"Visible → infrared" means visible queries, in nearly all papers; MUN\'s Section 4.1 words it the other way\n'
        "round beside numbers that follow the usual convention. The argument `query` is a word.",
        {"visible → infrared": evaluate(), "infrared → visible": evaluate("infrared")},
    )
    yield table(
        "Mirror images (T8)",
        "`extract_embeddings(flip=…)`: scripts average the embeddings of an image and its mirror image and normalise,\n"
        "or do not, or put one behind the other. Those that do not normalise rank by inner products (`dot`), where\n"
        "long embeddings come first.",
        {
            "none": evaluate(),
            "`mean` (CAJ)": evaluate(sets=flipped(lambda x, y: normalize(x + y))),
            "`mean-raw` (SGIEL), `sum` (DEEN), by `dot`": evaluate(sets=flipped(torch.add), distance="dot"),
            "`concatenate` (CSDN)": evaluate(sets=flipped(lambda x, y: torch.cat([x, y], dim=1))),
        },
    )


def llcm():
    """LLCM: who searches in whom."""
    people = range(351)
    visible = create_features(dict.fromkeys(range(1, 10), (people, 3)), "visible", seed=10)
    infrared = create_features(dict.fromkeys((1, 2, 4, 5, 6, 7, 8, 9), (people, 3)), "infrared", seed=11)
    yield table(
        "LLCM: who searches in whom (T7)",
        "For visible → infrared the test scripts of DEEN and of the data set's baseline let the drawn infrared images\n"
        'search among all visible ones. `LLCMProtocol("visible", convention="swapped")`.',
        {
            "visible → infrared": LLCMProtocol("visible").evaluate(visible, infrared),
            "visible → infrared, `swapped`": LLCMProtocol("visible", convention="swapped").evaluate(visible, infrared),
            "infrared → visible": LLCMProtocol("infrared").evaluate(infrared, visible),
        },
    )


def main():
    sections = [section for make in (sysu, regdb, llcm) for section in make()]
    page = Path(__file__).parent / "which-number.md"
    page.write_text(INTRODUCTION + "".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
