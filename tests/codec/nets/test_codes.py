"""Codebooks, capsules, binary choices and the prior of codes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from imgcodec.codec.families.discrete import choice_tables
from imgcodec.codec.families.prior import (
    bits_of_codes,
    context_of,
    group_of_positions,
    prior_features,
    prior_logits,
)
from imgcodec.codec.nets import capsules as capsules_module
from imgcodec.codec.nets.capsules import ABSENT, Capsules
from imgcodec.codec.nets.codebook import Codebook, nearest, perplexity, tree_order, used_share
from imgcodec.codec.nets.exact import FLOAT
from imgcodec.codec.nets.prior import CodePrior
from imgcodec.codec.nets.rate import bits_of_choices
from imgcodec.codec.numeric.choices import NUM_ROWS, rows_of_logits
from imgcodec.codec.numeric.rate import rows_to_indexes


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _clusters(count: int, dims: int = 6) -> torch.Tensor:
    centres = torch.randn(count, dims)
    return (centres[:, None] + 0.02 * torch.randn(count, 50, dims)).flatten(0, 1)


def _capsules(**changes) -> Capsules:
    sizes = {
        "dims": 6,
        "pose_bits": 4,
        "level_bits": 2,
        "num_primary": 3,
        "primary_dims": 8,
        "output_dims": 3,
        "error_bits": 0.0,
        "assignment": 0.1,
        "straight_through": True,
    }
    return Capsules(**{**sizes, **changes})


def test_codebook_starts_and_stays_at_the_clusters_of_its_data():
    data = _clusters(16)
    book = Codebook(6, 4)
    book.init_from_vectors(data)
    grid = data.reshape(4, 200, 1, 6).permute(0, 3, 1, 2)
    before = book(grid).distance.mean()
    for _ in range(100):
        result = book(grid)
    assert result.distance.mean() <= before + 1e-4
    assert result.distance.mean() < 0.1 * data.var(dim=0).sum()
    result = book.eval()(grid)
    assert torch.equal(result.vectors[0, :, 5, 0], book.codewords[result.codes[0, 5, 0]])
    assert torch.equal(book.encode(grid[0].flatten(1).T), book.eval()(grid).codes[0].flatten())


def test_no_batch_is_coded_with_what_it_taught():
    book = Codebook(6, 4)
    book.init_from_vectors(_clusters(16))
    before = book.codewords.clone()
    result = book(_clusters(16)[:64].reshape(1, 8, 8, 6).permute(0, 3, 1, 2) + 1.0)
    vectors = result.vectors.permute(0, 2, 3, 1)
    assert torch.equal(vectors, before[result.codes])
    assert not torch.equal(vectors, book.codewords[result.codes])


def test_dead_codes_come_back_to_life():
    data = _clusters(8)
    book = Codebook(6, 3)
    book.codewords.copy_(torch.randn(8, 6) * 0.01 + 100.0)
    book.codewords[0] = 0.0
    grid = data.reshape(1, 400, 1, 6).permute(0, 3, 1, 2)
    for _ in range(400):
        result = book(grid)
    assert len(torch.unique(result.codes)) == 8
    assert used_share(book.usage) == 1.0


def test_a_frozen_codebook_does_not_move():
    book = Codebook(6, 4).eval()
    before = book.codewords.clone()
    book(torch.randn(2, 6, 3, 3))
    assert torch.equal(book.codewords, before)


def test_perplexity_counts_codes_in_even_use():
    assert float(perplexity(torch.ones(32))) == pytest.approx(32)
    assert float(perplexity(torch.tensor([1.0, 1, 0, 0]))) == pytest.approx(2)
    assert float(used_share(torch.tensor([1.0, 1, 0, 0]))) == 0.5


def test_tree_order_puts_near_codes_into_one_block():
    vectors = torch.linspace(0, 1, 16)[torch.randperm(16)][:, None].repeat(1, 3)
    ordered = vectors[tree_order(vectors)][:, 0]
    for width in (8, 4, 2):
        blocks = ordered.reshape(-1, width)
        assert ((blocks.amax(1) - blocks.amin(1)) < width / 15).all()


def test_gradients_reach_the_capsule_weights():
    """As published, CVGAN leaves them out of the optimiser."""
    for straight_through in (True, False):
        capsules = _capsules(assignment=0.0, straight_through=straight_through)
        capsules.init_from_vectors(torch.randn(2000, 6))
        residual = torch.randn(2, 6, 4, 4, requires_grad=True)
        result = capsules(residual)
        loss = (result.vectors - torch.randn(2, 6, 4, 4)).square().sum()
        (loss + result.distance.sum()).backward()
        for name, parameter in capsules.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        assert residual.grad.abs().max() > 0


def test_the_gradient_of_a_picture_reaches_the_encoder_once():
    """Past the choice where it is straight-through, else through it."""
    for straight_through in (True, False):
        capsules = _capsules(straight_through=straight_through)
        capsules.init_from_vectors(torch.randn(2000, 6))
        residual = torch.randn(2, 6, 4, 4, requires_grad=True)
        (grad,) = torch.autograd.grad(
            capsules(residual).vectors.square().sum(), residual, allow_unused=True
        )
        assert (grad is None) == straight_through


def test_capsules_decode_without_routing():
    capsules = _capsules()
    capsules.init_from_vectors(torch.randn(2000, 6))
    residual = torch.randn(2, 6, 5, 4)
    result = capsules(residual)
    table = capsules.table().float()
    assert table.shape == (64, 6)
    looked_up = table[result.codes].permute(0, 3, 1, 2)
    assert torch.allclose(result.vectors, looked_up, atol=1e-5)
    codes = capsules.encode(residual[1].flatten(1).T)
    assert torch.equal(codes, result.codes[1].flatten())
    lengths = table.reshape(16, 4, 6).norm(dim=2)
    assert (lengths.diff(dim=1) > 0).all()


def test_capsules_start_with_a_routing_that_finds_the_nearest_code():
    data = torch.randn(2000, 6)
    capsules = _capsules()
    capsules.init_from_vectors(data)
    assert torch.equal(capsules.encode(data), nearest(data, capsules.table().float()))


def test_primaries_that_see_a_part_each_learn_to_agree():
    """A projection on a pose is more than one of them can know: then the start is no more than
    near, and routing has to learn whom to trust."""
    data = torch.randn(2000, 6)
    capsules = _capsules(num_primary=4, primary_dims=4, assignment=1.0, error_bits=20.0)
    capsules.init_from_vectors(data)
    best = capsules.true_costs(data, None).amin(dim=1).mean()

    def excess() -> float:
        codes = capsules.encode(data)
        return float(capsules.true_costs(data, None).gather(1, codes[:, None]).mean() / best)

    before = excess()
    optimiser = torch.optim.Adam([capsules.transforms, *capsules.primary.parameters()], 2e-2)
    for _ in range(300):
        part = data[torch.randint(len(data), (256,))].T.reshape(1, 6, 16, 16)
        optimiser.zero_grad()
        capsules(part).auxiliary.backward()
        optimiser.step()
    assert excess() - 1 < 0.5 * (before - 1)


def test_routing_is_that_of_the_paper_but_for_what_is_said_of_it():
    """Coefficients softmax over outputs, agreement the scalar product of vote and output."""
    capsules = _capsules()
    torch.nn.init.normal_(capsules.transforms)
    vectors = torch.randn(3, 6)
    found = capsules.route(vectors)
    primary = (vectors @ capsules.primary.weight[:, :, 0, 0].T + capsules.primary.bias).detach()
    transforms = capsules.transforms.detach()
    for n, row in enumerate(primary.reshape(3, 3, 8)):
        votes = torch.stack(
            [
                torch.stack([row[i] @ transforms[i, :, :, k] / 8 for k in range(16)])
                for i in range(3)
            ]
        )
        logits = torch.zeros(3, 16)
        for _ in range(2):
            logits = logits + (votes * _outputs(logits, votes)).sum(dim=2)
        lengths = _outputs(logits, votes).norm(dim=1) - ABSENT
        assert torch.allclose(found[n], lengths, atol=1e-4)


def _outputs(logits: torch.Tensor, votes: torch.Tensor) -> torch.Tensor:
    coefficients = logits.softmax(dim=1)
    weights = coefficients / coefficients.sum(dim=0)
    return (weights[:, :, None] * votes).sum(dim=0)


def test_capsules_start_where_error_and_bits_together_cost_least():
    data = torch.randn(3000, 6) * torch.rand(3000, 1) ** 2
    found = []
    for error_bits in (0.0, cost := 4.0):
        capsules = _capsules(error_bits=error_bits)
        bits = None
        for rounds in (0, 12):
            torch.manual_seed(3)
            capsules = _capsules(error_bits=error_bits)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(capsules_module, "ROUNDS", rounds)
                capsules.init_from_vectors(data)
            if error_bits:
                bits = _bits(capsules, data)
            best = capsules.true_costs(data, bits).argmin(dim=1)
            error = float(
                (data - capsules.table().float()[best].detach()).square().sum(dim=1).mean()
            )
            share = torch.bincount(best, minlength=64) / len(data)
            entropy = -float((share * torch.log2(share.clamp_min(1e-9))).sum())
            found.append((error, entropy))
    (start, _), (near, many), _, (far, few) = found
    assert near < start  # the mean of what chose a pose is nearer than where it was
    assert few < many
    assert cost * far + few < cost * near + many


def _bits(capsules: Capsules, data: torch.Tensor) -> torch.Tensor:
    """Return the bits of codes by how often they are the best, found in turn."""
    bits = torch.zeros(64)
    for _ in range(12):
        counts = torch.bincount(capsules.true_costs(data, bits).argmin(dim=1), minlength=64) + 0.5
        bits = -torch.log2(counts / counts.sum())
    return bits


def test_what_costs_fewer_bits_needs_less_agreement():
    capsules = _capsules(error_bits=1.0)
    capsules.init_from_vectors(torch.randn(2000, 6))
    residual = torch.randn(2, 6, 5, 4)
    plain = capsules(residual)
    bits = torch.zeros(2, 5, 4, 64)
    assert torch.equal(capsules(residual, None, bits).codes, plain.codes)
    bits[..., 4:] = 100.0  # all but the first pose
    cheap = capsules(residual, None, bits)
    assert int(cheap.codes.max()) < 4
    told = capsules(residual, plain.codes, bits)
    assert torch.equal(told.codes, plain.codes)
    assert torch.allclose(told.vectors, plain.vectors, atol=1e-6)


def test_choice_rows_stand_for_their_logits():
    tables = choice_tables()
    logits = torch.linspace(-12, 12, 500).double()
    exact = rows_of_logits(logits)
    rows = rows_to_indexes(exact)
    assert rows.min() == 0
    assert rows.max() == NUM_ROWS - 1
    middle = logits.abs() < 7.5
    for choice in (0, 1):
        ideal = bits_of_choices(torch.full_like(exact, choice), exact).numpy()
        q = np.full(500, choice)
        sent = tables.code_lengths(q, rows.numpy())
        assert np.abs(sent - ideal)[middle.numpy()].max() < 0.125 / np.log(2) + 0.01
    # Neither -1 nor an escape takes probability away.
    assert (tables.frequencies[:, [0, 3]] == 1).all()


def test_groups_cover_every_position_once():
    groups = group_of_positions(5, 7)
    assert groups.shape == (5, 7)
    assert [int((groups == g).sum()) for g in range(4)] == [12, 6, 9, 8]


def test_the_prior_sees_nothing_that_is_not_decoded():
    prior = CodePrior(3, 8, 4)
    before, own = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    groups = torch.from_numpy(group_of_positions(4, 4))
    changed = torch.where(groups == 0, own, torch.randn_like(own))
    for number in (1, 2):
        decoded = groups < number
        features, other = (
            prior_features(prior, context_of(before, vectors, decoded), FLOAT)
            for vectors in (own, changed)
        )
        assert torch.equal(features, other) == (number == 1)


def test_a_prior_starts_from_the_shares_of_codes():
    prior = CodePrior(3, 8, 4)
    codes = torch.multinomial(torch.arange(1.0, 17.0), 20000, replacement=True)
    prior.start_from(codes)
    bits = bits_of_codes(prior, torch.rand(8))
    share = torch.bincount(codes, minlength=16) / len(codes)
    assert torch.allclose(bits, -torch.log2(share), atol=0.02)


def test_bits_of_codes_are_those_of_the_choices_on_their_way():
    prior = CodePrior(3, 8, 4)
    with torch.no_grad():
        prior.nodes.normal_()
        prior.node_bias.normal_()
    features = torch.rand(2, 5, 8)
    bits = bits_of_codes(prior, features)
    assert bits.shape == (2, 5, 16)
    assert torch.allclose((2**-bits).sum(-1), torch.ones(2, 5), atol=1e-5)
    for code in (0, 5, 15):
        expected = torch.zeros(2, 5)
        nodes = torch.ones(2, 5, dtype=torch.int64)
        for bit in reversed(range(4)):
            choice = torch.full((2, 5), code >> bit & 1)
            logits = prior_logits(prior, features, nodes)
            expected += bits_of_choices(choice, rows_of_logits(logits))
            nodes = 2 * nodes + choice
        assert torch.allclose(bits[..., code], expected, atol=1e-4)
    nodes, biases = prior.nodes.detach().numpy(), prior.node_bias.detach().numpy()
    arrays = SimpleNamespace(nodes=nodes, node_bias=biases)
    assert np.allclose(bits_of_codes(arrays, features.numpy()), bits.detach().numpy(), atol=1e-4)
