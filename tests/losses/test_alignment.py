import pytest
import torch

from tests import references
from vireid import IdentityAlignmentLoss, ModalityAlignmentLoss


@pytest.mark.parametrize("hinge", [True, False])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("margin", [0.55, 2.0])
def test_identity_alignment_equals_the_equation(batch, hinge, reduction, margin):
    *rows, identities = batch
    expected = references.identity_alignment(
        dict(zip("vra", rows, strict=True)), dict.fromkeys("vra", identities), margin, hinge, reduction
    )
    loss = IdentityAlignmentLoss(margin, hinge=hinge, reduction=reduction)
    assert loss(*rows, identities).item() == pytest.approx(expected, rel=1e-10)


def test_identity_alignment_with_unequal_counts_equals_the_equation(batch):
    visible, infrared, auxiliary, identities = batch
    rows = {"v": visible[:10], "r": infrared[3:], "a": auxiliary[1:]}  # identity 3 has no visible image
    labels = {"v": identities[:10], "r": identities[3:], "a": identities[1:]}
    expected = references.identity_alignment(rows, labels, 1.0)
    actual = IdentityAlignmentLoss(1.0)(
        rows["v"],
        rows["r"],
        rows["a"],
        labels["v"],
        infrared_identities=labels["r"],
        auxiliary_identities=labels["a"],
    )
    assert actual.item() == pytest.approx(expected, rel=1e-10)


def test_identity_alignment_does_not_see_order_and_swapped_modalities(batch):
    visible, infrared, auxiliary, identities = batch
    order = torch.randperm(len(identities), generator=torch.Generator().manual_seed(1))
    loss = IdentityAlignmentLoss(1.0)
    expected = loss(visible, infrared, auxiliary, identities)
    torch.testing.assert_close(loss(visible[order], infrared[order], auxiliary[order], identities[order]), expected)
    torch.testing.assert_close(loss(infrared, visible, auxiliary, identities), expected)
    assert loss(auxiliary, visible, infrared, identities) != expected


def test_identity_alignment_normalises_on_request(batch):
    *rows, identities = batch
    unit = [torch.nn.functional.normalize(modality) for modality in rows]
    expected = IdentityAlignmentLoss()(*unit, identities)
    torch.testing.assert_close(IdentityAlignmentLoss(normalize=True)(*rows, identities), expected)
    assert IdentityAlignmentLoss()(*rows, identities) != expected


def test_identity_alignment_of_one_identity_is_a_differentiable_zero():
    rows = torch.rand(3, 4, 5, requires_grad=True)
    loss = IdentityAlignmentLoss()(*rows, torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert rows.grad.abs().max() == 0


def test_identity_alignment_gradcheck(batch):
    *rows, identities = batch
    loss = IdentityAlignmentLoss(2.0)
    rows = [modality.requires_grad_() for modality in rows]
    assert torch.autograd.gradcheck(lambda *modalities: loss(*modalities, identities), rows)


def prototypes(iterations, **options):
    torch.manual_seed(0)
    loss = ModalityAlignmentLoss(5, batch_size=12, iterations=iterations, **options).double()
    with torch.no_grad():
        for projection in loss.projections:
            projection.weight.add_(0.3 * torch.randn(5, 5))
    return loss


@pytest.mark.parametrize("bridge", [True, False])
def test_modality_alignment_equals_the_equations_over_a_run(batch, bridge):
    identities = batch[-1]
    generator = torch.Generator().manual_seed(2)
    run = torch.randn(6, 3, 12, 5, generator=generator, dtype=torch.float64)
    loss = prototypes(6, bridge=bridge)
    weights = [projection.weight.detach() for projection in loss.projections]
    expected = references.modality_alignment(run, identities, weights, 6, bridge)
    for modalities, value in zip(run, expected, strict=True):
        assert loss(*modalities, identities).item() == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("linear", [1e-8, 0.25, 0.5, 0.75, 1, 1, 1]), ("logarithmic", [1e-8, 1e-6, 1e-4, 1e-2, 1, 1, 1])],
)
def test_schedule_of_beta(schedule, expected):
    loss = ModalityAlignmentLoss(2, batch_size=1, iterations=5, schedule=schedule).double()
    betas = []
    for _ in expected:
        betas.append(loss.beta.item())
        loss(*torch.rand(3, 1, 2).double(), torch.tensor([0]))
    assert betas == pytest.approx(expected, rel=1e-6)


def test_slots_by_identity_equal_the_equations():
    generator = torch.Generator().manual_seed(2)
    torch.manual_seed(0)
    loss = ModalityAlignmentLoss(5, batch_size=4, iterations=4, num_identities=6, projection="random").double()
    weights = [projection.weight.detach() for projection in loss.projections]
    memory = {}
    batches = torch.tensor([[0, 0, 5, 5], [5, 2, 5, 2], [0, 5, 0, 5], [1, 1, 2, 2]])  # in other places each time
    for iteration, identities in enumerate(batches):
        modalities = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
        beta = 1e-8 + (1 - 1e-8) * iteration / 3
        current = []
        for m, (rows, weight) in enumerate(zip(modalities, weights)):
            projected = [weight @ row for row in rows]
            for j, y in enumerate(identities.tolist()):
                if (m, y) in memory:
                    projected[j] = beta * projected[j] + (1 - beta) * memory[m, y]
            current.append(torch.stack(projected))
        for m, rows in enumerate(current):
            for y in identities.tolist():
                memory[m, y] = rows[identities == y].mean(0)
        v, r, a = current
        expected = references.identity_mmd(v, a, identities, identities)
        expected += references.identity_mmd(a, r, identities, identities)
        assert loss(*modalities, identities).item() == pytest.approx(expected, rel=1e-10)
    with pytest.raises(
        ValueError, match="identities must be labels from 0 to 5, the slots of the prototypes, got '1 … 6'"
    ):
        loss(*modalities, torch.tensor([1, 1, 6, 6]))
    with pytest.raises(ValueError, match=r"visible must have d = 5 like the prototypes, got \(4, 3\)"):
        loss(*modalities[:, :, :3], identities)


def test_modalities_of_another_order_are_the_same_pairs(batch):
    *rows, identities = batch
    orders = [torch.randperm(12, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    shuffled = rows[0], rows[1][orders[0]], rows[2][orders[1]]
    labels = {"infrared_identities": identities[orders[0]], "auxiliary_identities": identities[orders[1]]}
    for options in ({}, {"num_identities": 5}):
        plain, other = prototypes(6, **options), prototypes(6, **options)
        for _ in range(3):
            expected = plain(*rows, identities)
            torch.testing.assert_close(other(*shuffled, identities, **labels), expected)


def test_slots_by_identity_take_modalities_of_other_sizes():
    generator = torch.Generator().manual_seed(2)
    loss = ModalityAlignmentLoss(5, iterations=3, num_identities=4, projection="none").double()
    memory, labels = {}, {"v": [0, 0, 1, 3], "r": [1, 0, 2], "a": [0, 1, 1, 1, 0]}  # 3 and 2 in one modality only
    for iteration in range(3):
        beta = 1e-8 + (1 - 1e-8) * iteration / 2
        rows = {m: torch.randn(len(y), 5, generator=generator, dtype=torch.float64) for m, y in labels.items()}
        current = {
            m: torch.stack([beta * x + (1 - beta) * memory.get((m, y), x) for x, y in zip(rows[m], labels[m])])
            for m in labels
        }
        identities = {m: torch.tensor(y) for m, y in labels.items()}
        for m, people in labels.items():
            memory |= {(m, y): current[m][identities[m] == y].mean(0) for y in set(people)}
        expected = sum(references.identity_mmd(current[m], current["a"], identities[m], identities["a"]) for m in "vr")
        value = loss(
            *rows.values(),
            identities["v"].to(torch.uint8),  # any type of integers
            infrared_identities=identities["r"],
            auxiliary_identities=identities["a"],
        )
        assert value.item() == pytest.approx(expected, rel=1e-10)
    with pytest.raises(ValueError, match="infrared_identities must be labels from 0 to 3, the slots .* got '0 … 4'"):
        loss(*torch.rand(3, 2, 5), torch.tensor([0, 1]), infrared_identities=torch.tensor([0, 4]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("options", [{}, {"num_identities": 5}])
def test_rows_that_are_not_finite_never_enter_the_history(batch, bad, options):
    *rows, identities = batch
    loss, other = prototypes(6, **options), prototypes(6, **options)
    broken = [modality.clone() for modality in rows]
    broken[0][3, 1] = broken[1][8, 4] = bad
    kept = [torch.arange(12) != 3, torch.arange(12) != 8]
    for first in (True, False):  # the slot has no history yet, and it has one
        before = loss.history.clone()
        assert not loss(*broken, identities).isfinite()
        assert loss.history.isfinite().all()
        if not options:
            torch.testing.assert_close(loss.history[0, 3], before[0, 3])
            torch.testing.assert_close(loss.history[1, 8], before[1, 8])
            assert loss.seen.logical_not().nonzero().tolist() == ([[0, 3], [1, 8]] if first else [])
        else:  # the same as without these rows
            other(
                rows[0][kept[0]],
                rows[1][kept[1]],
                rows[2],
                identities[kept[0]],
                infrared_identities=identities[kept[1]],
                auxiliary_identities=identities,
            )
            torch.testing.assert_close(loss.history, other.history)
            torch.testing.assert_close(loss.seen, other.seen)
        if first:
            assert loss(*rows, identities).isfinite()
            other(*rows, identities)


def test_gradient_grows_with_beta_and_history_has_none(batch):
    *rows, identities = batch
    loss = prototypes(5)
    norms = []
    for _ in range(5):
        rows = [modality.detach().requires_grad_() for modality in rows]
        (gradient,) = torch.autograd.grad(loss(*rows, identities), rows[:1])
        norms.append(gradient.norm().item())
    # The same batch again and again: the prototypes stay, so the gradient is β times the first one.
    assert [norm / norms[0] for norm in norms] == pytest.approx([1, 0.25, 0.5, 0.75, 1], rel=1e-6)


def test_interrupted_run_goes_on_exactly(batch):
    identities = batch[-1]
    run = torch.randn(6, 3, 12, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    whole, first, second = prototypes(6), prototypes(6), prototypes(6)
    expected = [whole(*modalities, identities) for modalities in run]
    for modalities in run[:3]:
        first(*modalities, identities)
    second.load_state_dict(first.state_dict())
    assert [second(*modalities, identities) for modalities in run[3:]] == expected[3:]


def test_evaluation_mode_changes_no_state(batch):
    *rows, identities = batch
    loss = prototypes(6)
    loss(*rows, identities)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss.eval()(*rows, identities)
    for name, value in loss.state_dict().items():
        torch.testing.assert_close(value, before[name])
    loss.train()(*rows, identities)
    assert loss.iteration == 2


def test_without_prototypes_it_is_the_mmd_of_the_embeddings(batch):
    visible, infrared, auxiliary, identities = batch
    loss = ModalityAlignmentLoss(5, batch_size=12, iterations=6, prototypes=False)
    assert not loss.state_dict()
    expected = references.identity_mmd(visible, auxiliary, identities, identities)
    expected += references.identity_mmd(auxiliary, infrared, identities, identities)
    for _ in range(2):
        assert loss(visible, infrared, auxiliary, identities).item() == pytest.approx(expected, rel=1e-10)
    direct = ModalityAlignmentLoss(5, batch_size=12, iterations=6, prototypes=False, bridge=False)
    expected = references.identity_mmd(visible, infrared, identities, identities)
    assert direct(visible, infrared, auxiliary, identities).item() == pytest.approx(expected, rel=1e-10)


def test_modality_alignment_reaches_every_parameter(batch):
    *rows, identities = batch
    loss = prototypes(6)
    loss(*rows, identities).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in loss.parameters())


@pytest.mark.parametrize("start", ["identity", "random", "none"])
def test_start_of_the_projections(batch, start):
    *rows, identities = batch
    loss = ModalityAlignmentLoss(5, batch_size=12, iterations=6, projection=start).double()
    direct = ModalityAlignmentLoss(5, batch_size=12, iterations=6, prototypes=False)
    same = torch.isclose(loss(*rows, identities), direct(*rows, identities))
    assert same == (start != "random")
    assert len(list(loss.parameters())) == (0 if start == "none" else 3)


def test_half_precision_embeddings(batch):
    *rows, identities = batch
    rows = [modality.bfloat16().requires_grad_() for modality in rows]
    for loss in (IdentityAlignmentLoss(2.0), ModalityAlignmentLoss(5, batch_size=12, iterations=6)):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(*rows, identities)
        value.backward()
        assert value.isfinite()
        assert all(modality.grad.isfinite().all() for modality in rows)


@pytest.mark.parametrize("make", [IdentityAlignmentLoss, lambda: prototypes(6)])
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({0: torch.rand(12, 5, 1, 1)}, ValueError, r"visible must have shape \(b, d\), got .* Pool the feature map"),
        ({1: torch.rand(12, 4).double()}, ValueError, r"infrared must have d = 5 like the others, got \(12, 4\)"),
        ({2: torch.rand(11, 5).double()}, ValueError, r"identities must have shape \(11,\), one for each embedding"),
        ({3: torch.rand(12)}, TypeError, "identities must be integers, got torch.float32"),
        ({3: [0] * 12}, TypeError, "identities must be a tensor, got 'list'"),
        ({0: [[0.0] * 5] * 12}, TypeError, "visible must be a tensor, got 'list'"),
        (
            {0: torch.rand(0, 5).double()},
            ValueError,
            r"visible must have at least one row and one column, got \(0, 5\)",
        ),
        (
            {1: torch.rand(12, 5, device="meta").double()},
            ValueError,
            "infrared must be on cpu like the others, got device",
        ),
    ],
)
def test_wrong_inputs(batch, make, changed, error, message):
    with pytest.raises(error, match=message):
        make()(*(changed.get(i, value) for i, value in enumerate(batch)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IdentityAlignmentLoss(reduction="avg"), "reduction must be one of 'sum', 'mean', got 'avg'"),
        (
            lambda: ModalityAlignmentLoss(0, batch_size=1, iterations=1),
            "embedding_dim must be an integer of at least 1, got 0",
        ),
        (
            lambda: ModalityAlignmentLoss(1, batch_size=0, iterations=1),
            "batch_size must be an integer of at least 1, got 0",
        ),
        (
            lambda: ModalityAlignmentLoss(1, batch_size=1, iterations=0),
            "iterations must be an integer of at least 1, got 0",
        ),
        (lambda: ModalityAlignmentLoss(1, batch_size=1, iterations=2.5), "iterations must be an integer .*, got 2.5"),
        (lambda: prototypes(1, num_identities=0), "num_identities must be an integer of at least 1, got 0"),
        (lambda: prototypes(1, projection="eye"), "projection must be one of 'identity', 'random', 'none', got 'eye'"),
        (lambda: prototypes(1, schedule="log"), "schedule must be one of 'linear', 'logarithmic', got 'log'"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_number_of_slots():
    loss = ModalityAlignmentLoss(5, batch_size=8, iterations=6)
    with pytest.raises(
        ValueError,
        match=r"visible must have shape \(8, 5\), the slots of the prototypes, got \(4, 5\). batch_size is",
    ):
        loss(*torch.rand(3, 4, 5), torch.tensor([0, 0, 1, 1]))


def share_first(loss):
    loss.projections = torch.nn.ModuleList([loss.projections[0]] * 3)


CONSTRAINTS = {  # of W, and its learning rate
    "none": (lambda loss: None, 2e-3),
    "a tenth of the rate": (lambda loss: None, 2e-4),
    "orthogonal": (lambda loss: [torch.nn.utils.parametrizations.orthogonal(w) for w in loss.projections], 2e-3),
    "one for all modalities": (share_first, 2e-3),
}


@pytest.mark.parametrize("weight", [0.008, 1.0])
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_w_absorbs_the_gap_whatever_its_constraint(constraint, weight):
    """W alone lowers the loss of embeddings that keep their gap, by steps of AdamW that no weight shrinks (A25)."""
    torch.manual_seed(0)
    constrain, rate = CONSTRAINTS[constraint]
    identities = torch.arange(4).repeat_interleave(4)
    people, gaps = torch.randn(4, 64)[identities], torch.randn(3, 1, 64)
    loss, values = ModalityAlignmentLoss(64, batch_size=16, iterations=60), []
    constrain(loss)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=rate)
    for _ in range(60):
        embeddings = people + gaps + 0.5 * torch.randn(3, 16, 64)
        value = loss(*embeddings, identities)
        optimizer.zero_grad()
        (weight * value).backward()
        optimizer.step()
        values.append(value.item())
    kept = ModalityAlignmentLoss(64, batch_size=16, iterations=60, projection="none")(*embeddings, identities)
    assert kept > 0.95 * values[0]
    assert values[-1] < 0.8 * values[0]
