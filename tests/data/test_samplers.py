from collections import Counter

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vireid.data import CrossModalityIdentitySampler

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=40)


def seeded(*labels, seed=0, **options):
    return CrossModalityIdentitySampler(*labels, generator=torch.Generator().manual_seed(seed), **options)


@settings(max_examples=200, deadline=None)
@given(LABELS, LABELS, st.integers(1, 4), st.integers(1, 5), st.integers(1, 7))
def test_batches_are_aligned_and_even(visible, infrared, p, k, batches):
    shared = set(visible) & set(infrared)
    assume(p <= len(shared))
    options = {"identities_per_batch": p, "images_per_identity": k, "batches_per_epoch": batches}
    sampler = seeded(visible, infrared, **options)
    epoch = list(sampler)
    assert len(epoch) == len(sampler) == batches
    appearances = Counter()
    for batch in epoch:
        assert [visible[i] for i, _, _ in batch] == [infrared[j] for _, j, _ in batch]
        people = Counter(visible[i] for i, _, _ in batch)
        assert set(people.values()) == {k}
        assert len(people) == p
        assert people.keys() <= shared
        appearances.update(people.keys())
        for labels, indices in ((visible, [i for i, _, _ in batch]), (infrared, [j for _, j, _ in batch])):
            for person in people:
                uses = Counter(index for index in indices if labels[index] == person)
                available = labels.count(person)
                assert len(uses) == min(k, available)  # all are used before any is repeated
                assert max(uses.values()) == -(-k // available)
    counts = [appearances[identity] for identity in shared]
    assert max(counts) - min(counts) <= 1


@settings(max_examples=100, deadline=None)
@given(LABELS, LABELS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 8), st.booleans())
def test_processes_share_an_epoch(visible, infrared, p, replicas, k, extra, replacement):
    shared = set(visible) & set(infrared)
    assume(p <= len(shared))
    options = {
        "identities_per_batch": p,
        "images_per_identity": k,
        "batches_per_epoch": replicas + extra,
        "num_replicas": replicas,
        "replacement": replacement,
    }
    samplers = [seeded(visible, infrared, rank=rank, **options) for rank in range(replicas)]
    for epoch in range(2):
        by_rank = [list(sampler) for sampler in samplers]
        assert {len(batches) for batches in by_rank} == {len(samplers[0])} == {(replicas + extra) // replicas}
        together = list(samplers[0]._epoch(epoch))
        assert [batch for step in zip(*by_rank) for batch in step] == together  # each of them once
        people = [Counter(visible[i] for batch in step for i, _, _ in batch) for step in zip(*by_rank)]
        if p * replicas <= len(shared):  # the batches of a step are of different people
            assert all(set(counts.values()) == {k} for counts in people)
        appearances = sum(people, Counter())
        assert max(appearances[i] for i in shared) - min(appearances[i] for i in shared) <= k


@pytest.mark.parametrize("replicas", [1, 3])
def test_goes_on_in_the_middle_of_an_epoch(replicas):
    labels = torch.arange(20).repeat(5)
    options = {"num_replicas": replicas, "rank": replicas - 1, "identities_per_batch": 2}
    epochs = [list(epoch) for sampler in [seeded(labels, labels, **options)] for epoch in (sampler, sampler, sampler)]
    resumed = seeded(labels, labels, **options)
    resumed.set_epoch(1, first_batch=2)
    assert [list(resumed), list(resumed)] == [epochs[1][2:], epochs[2]]
    resumed.set_epoch(1, first_batch=len(resumed))
    assert [list(resumed), list(resumed)] == [[], epochs[2]]
    with pytest.raises(
        ValueError,
        match=f"first_batch must be an integer from 0 to {len(resumed)}, got {len(resumed) + 1}",
    ):
        resumed.set_epoch(1, len(resumed) + 1)
    assert resumed.next_epoch == 3  # as it was
    with pytest.raises(ValueError, match="epoch must be an integer of at least 0, got -1"):
        resumed.set_epoch(-1)


def test_asking_for_an_iterator_begins_no_epoch():
    labels = torch.arange(20).repeat(5)
    sampler, other = seeded(labels, labels), seeded(labels, labels)
    iter(sampler)  # as a data loader with workers does
    assert list(sampler) == list(other)


def test_an_epoch_that_was_broken_off_is_over():
    labels = torch.arange(20).repeat(5)
    sampler, other = seeded(labels, labels), seeded(labels, labels)
    next(iter(sampler))
    list(other)
    assert list(sampler) == list(other)


def test_replacement():
    labels = torch.arange(8).repeat_interleave(4)
    sampler = seeded(labels, labels, replacement=True)
    drawn = [i for _ in range(50) for batch in sampler for i, _, _ in batch]
    fours = [frozenset(drawn[start : start + 4]) for start in range(0, len(drawn), 4)]
    share = sum(len(four) == 4 for four in fours) / len(fours)
    assert 0.02 < share < 0.25  # 4! / 4⁴ = 9 % of the draws repeat none
    assert set(drawn) == set(range(32))


def test_same_seed_same_epochs_and_every_epoch_differs():
    labels = torch.arange(20).repeat(5)
    one, other = seeded(labels, labels, seed=1), seeded(labels, labels, seed=1)
    epochs = [list(one) for _ in range(3)]
    assert epochs == [list(other) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != list(seeded(labels, labels, seed=2))


def test_every_pair_of_a_run_has_a_seed_of_its_own():
    labels = torch.arange(20).repeat(5)
    one, other = (seeded(labels, labels, rank=rank, num_replicas=2, batches_per_epoch=6) for rank in (0, 1))
    seeds = [pair.seed for _ in range(3) for sampler in (one, other) for batch in sampler for pair in batch]
    assert len(set(seeds)) == len(seeds) == 3 * 6 * 32
    one.set_epoch(1, first_batch=2)
    assert [pair.seed for pair in next(iter(one))] == seeds[6 * 32 :][2 * 32 : 3 * 32]


def test_partners_change():
    labels = torch.arange(8).repeat(6)
    sampler = seeded(labels, labels, images_per_identity=2)
    pairs = {pair[:2] for _ in range(20) for batch in sampler for pair in batch}
    assert len(pairs) > 200  # of 8 · 6 · 6 = 288; a fixed partner would leave 48


def test_every_image_is_used():
    labels = torch.arange(8).repeat(6)
    sampler = seeded(labels, labels, images_per_identity=2)
    used = {i for _ in range(20) for batch in sampler for i, _, _ in batch}
    assert used == set(range(48))


@pytest.mark.parametrize(("visible", "infrared", "expected"), [(22258, 11909, 695), (40, 90, 2), (16, 16, 1)])
def test_length_of_an_epoch(visible, infrared, expected):
    labels = torch.arange(max(visible, infrared)) % 8
    assert len(seeded(labels[:visible], labels[:infrared])) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "identities_per_batch must be at most 5, the identities seen in both modalities, got 8."),
        ({"identities_per_batch": 0}, "identities_per_batch must be an integer of at least 1, got 0"),
        (
            {"identities_per_batch": 2, "images_per_identity": 0},
            "images_per_identity must be an integer of at least 1, got 0",
        ),
        ({"identities_per_batch": 2, "batches_per_epoch": 0}, "batches_per_epoch must be at least 1, one for each pro"),
        (
            {"identities_per_batch": 2, "batches_per_epoch": 2, "num_replicas": 3},
            "batches_per_epoch must be at least 3, one for each process, got 2",
        ),
        ({"identities_per_batch": 2, "num_replicas": 0}, "num_replicas must be an integer of at least 1, got 0"),
        ({"identities_per_batch": 2, "rank": 1}, "rank must be an integer from 0 to 0, got 1"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        seeded([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 6], **options)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0.0, 1.0], TypeError, "infrared_identities must be integers, got torch.float32"),
        ([[0], [1]], ValueError, r"infrared_identities must have shape \(n,\), got \(2, 1\)"),
        ([], ValueError, "infrared_identities must label an image, got 0"),
        (["a", "b"], TypeError, r"infrared_identities must be integers, got \['a', 'b'\]"),
        ([False, True], TypeError, "infrared_identities must be integers, got torch.bool"),
        ([0j, 1j], TypeError, "infrared_identities must be integers, got torch.complex64"),
    ],
)
def test_wrong_labels(labels, error, message):
    with pytest.raises(error, match=message):
        seeded([0, 1], labels, identities_per_batch=2)
