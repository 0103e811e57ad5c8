import pytest
import torch

from vireid.evaluation import RetrievalResult, compute_metrics, format_results


def result_of(trials, name="Protocol"):
    metrics = [compute_metrics([[0.1, 0.2 + 0.1 * t, 0.25]], [1], [0, 1, 2], max_rank=20) for t in range(trials)]
    return RetrievalResult.of_trials(metrics, name, {"distance": "cosine"})


def test_deviation_is_printed_for_several_trials_only():
    assert str(result_of(1)) == (
        "Protocol: rank-1 0.00  rank-5 100.00  rank-10 100.00  rank-20 100.00  mAP 50.00  mINP 50.00"
    )
    assert "mAP 41.67 ± 8.33" in str(result_of(2))
    head, one, two = format_results({"one": result_of(1), "two": result_of(2)}).splitlines()
    assert head.split()[-2:] == ["mAP", "mINP"]
    assert one.split()[-2:] == ["50.00", "50.00"]
    assert two.split()[-3:] == ["41.67", "±", "8.33"]
    assert len(head) == len(one) == len(two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("queries"), r"^values lack 'queries'; pass RetrievalResult.to_dict\(\).$"),
        (lambda values: values["trials"].pop("mAP"), "values must be those of RetrievalResult.to_dict"),
        (lambda values: values["trials"].update(mAP=[0.5, 0.5]), "values must hold as many trials of cmc, mAP, mINP"),
        (lambda values: values["trials"].update(cmc="text"), "values must be those of RetrievalResult.to_dict"),
        (lambda values: values.update(settings=3), "values must be those of RetrievalResult.to_dict"),
    ],
)
def test_damaged_dictionaries(change, message):
    values = result_of(1).to_dict()
    assert torch.equal(RetrievalResult.from_dict(values).cmc, result_of(1).cmc)
    change(values)
    with pytest.raises(ValueError, match=message):
        RetrievalResult.from_dict(values)
