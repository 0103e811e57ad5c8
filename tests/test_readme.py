"""The Python blocks of the README run in their order, as a reader would type them."""

import re
from pathlib import Path

import torch

README = Path(__file__).parent.parent / "README.md"


def test_python_blocks_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert len(blocks) == 4
    assert names["embeddings"].shape == (8, 512)
    assert "rank-1" in capsys.readouterr().out
    assert (tmp_path / "mun" / "model.safetensors").is_file()
    assert names["dataset"].counts()["test identities"] == 4
