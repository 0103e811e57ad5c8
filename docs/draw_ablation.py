"""Draw ``docs/pictures/ablation.png`` from ``docs/results/ablation.json`` beside the paper's numbers.

python docs/draw_ablation.py
"""

import make_tables

from vireid.visualization import plot_bars


def main():
    tables, paper = make_tables.read("ablation")["tables"], make_tables.targets()
    panels = {title: {name: row["seeds"] for name, row in rows.items()} for title, rows in tables.items()}
    references = {
        title: {name: paper[row["method"]][0] for name, row in rows.items() if row["method"] in paper}
        for title, rows in tables.items()
    }
    labels = {"label": "rank-1 (%), synthetic people", "reference_label": "rank-1 (%), SYSU-MM01"}
    figure = plot_bars(panels, references=references, reference_name="the paper, real data", **labels)
    figure.savefig(make_tables.DOCS / "pictures" / "ablation.png", dpi=110)


if __name__ == "__main__":
    main()
