"""Draw ``docs/pictures/ablation.png`` from ``docs/results/ablation.json`` beside the paper's numbers.

python docs/draw_ablation.py
"""

import json
import sys
from pathlib import Path

from vireid.visualization import plot_bars

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "examples"))
from ablation import TABLES  # noqa: E402


def main():
    panels = json.loads((DOCS / "results" / "ablation.json").read_text(encoding="utf-8"))["values"]
    references = {}
    for title, rows in panels.items():
        paper = TABLES[title.removeprefix("Table ")]
        references[title] = {row: paper[row][1]["sysu"][0] for row in rows if "sysu" in paper[row][1]}
    labels = {"label": "rank-1 (%), synthetic people", "reference_label": "rank-1 (%), SYSU-MM01"}
    figure = plot_bars(panels, references=references, reference_name="the paper, real data", **labels)
    figure.savefig(DOCS / "pictures" / "ablation.png", dpi=110)


if __name__ == "__main__":
    main()
