from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mmcl.batch import PairBatch, TokenBatch
from mmcl.distributed import RowSizes
from mmcl.errors import UserError
from mmcl.losses.skip_gram import skip_gram_loss
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives import skip_gram
from mmcl.objectives.configs.words import SkipGramConfig
from mmcl.objectives.objective import DataFacts
from mmcl.objectives.skip_gram import draw_negatives, draw_pairs, keep_probabilities, noise_weights
from mmcl.training.grad_cache import check_cacheable
from tests.tiny import SPECIAL, WORDS, vit_bert_pair
from tests.towers.tiny_configs import STATIC, lone_text

PAD, UNKNOWN, BEGIN, END = range(4)
FIRST, NUM_TOKENS = len(SPECIAL), len(SPECIAL) + len(WORDS)
EVEN = torch.ones(NUM_TOKENS, dtype=torch.int64)
FACTS = DataFacts(batch_size=8, count_tokens=EVEN.clone)
PLAIN = SkipGramConfig(window=1, subsample=0)
"""Nothing of its pairs is left to chance."""


def batch_of(*texts: list[int]) -> PairBatch:
    """A batch of token ids; what is cut off by the mask looks like a word."""
    width = max(map(len, texts))
    ids = torch.tensor([text + [FIRST] * (width - len(text)) for text in texts])
    mask = (torch.arange(width) < torch.tensor([[len(text)] for text in texts])).long()
    rows = torch.arange(len(texts))
    return PairBatch((), (TokenBatch(ids, mask),), rows, rows)


def module_of(tokenizer: str, config: SkipGramConfig = PLAIN, facts: DataFacts = FACTS) -> ContrastiveModule:
    return ContrastiveModule(build_model(lone_text(STATIC, tokenizer)), [config], facts)


def table_of(module: ContrastiveModule) -> Tensor:
    table: Tensor = module.model.towers.embedding.weight
    return table


def fill(module: ContrastiveModule) -> None:
    """Give both tables vectors that are not near zero."""
    generator = torch.Generator().manual_seed(1)
    for table in (table_of(module), module.objectives["skip_gram"].contexts.weight):
        table.data.copy_(torch.randn(table.shape, generator=generator))


def pairs_seen(module: ContrastiveModule, batch: PairBatch, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The ids of centre and context of every pair that the loss is given."""
    seen: list[tuple[int, int]] = []

    def spy(contexts: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        tokens, texts = drawn[-1]
        places, others = draw_pairs(texts, module.configs["skip_gram"].window)
        assert torch.equal(tokens[others], contexts)
        seen.extend(zip(tokens[places].tolist(), contexts.tolist(), strict=True))
        return draw_negatives(contexts, *rest)

    drawn: list[tuple[Tensor, Tensor]] = []
    objective = module.objectives["skip_gram"]
    draw = objective.draw_tokens
    monkeypatch.setattr(objective, "draw_tokens", lambda tokens: drawn.append(draw(tokens)) or drawn[-1])
    monkeypatch.setattr(skip_gram, "draw_negatives", spy)
    module(batch)
    return sorted(seen)


def test_pairs_are_all_within_the_window_of_one_text() -> None:
    centres, contexts = draw_pairs(torch.tensor([0, 0, 0, 2, 3, 3]), 1)
    assert list(zip(centres.tolist(), contexts.tolist(), strict=True)) == [
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
        (4, 5),
        (5, 4),
    ]


def test_a_window_is_cut_where_its_text_ends_and_is_as_wide_on_both_sides() -> None:
    torch.manual_seed(0)
    texts = torch.tensor([0] * 4 + [1] * 9)
    for _ in range(20):
        centres, contexts = draw_pairs(texts, 3)
        for place in range(13):
            seen = set(contexts[centres == place].tolist())
            reach = max(abs(other - place) for other in seen)
            whole = {other for other in range(13) if 0 < abs(other - place) <= reach and texts[other] == texts[place]}
            assert seen == whole
            assert reach <= 3


def test_windows_are_drawn_uniformly_for_each_centre() -> None:
    torch.manual_seed(0)
    centres, contexts = draw_pairs(torch.zeros(20_000, dtype=torch.int64), 4)
    distances = torch.bincount((centres - contexts).abs())[1:] / (2 * 20_000)
    # A context d away is within b with probability (4 - d + 1) / 4.
    torch.testing.assert_close(distances, torch.tensor([1.0, 0.75, 0.5, 0.25]), atol=0.015, rtol=0)


@pytest.mark.parametrize("texts", [[], [0], [0, 1, 2]])
def test_lone_tokens_have_no_pairs(texts: list[int]) -> None:
    centres, contexts = draw_pairs(torch.tensor(texts, dtype=torch.int64), 5)
    assert len(centres) == len(contexts) == 0


def test_special_tokens_and_padding_are_never_used_and_reached_over(
    tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of([BEGIN, 5, UNKNOWN, 6, 7, END], [8], [9, PAD, 10])
    expected = [(5, 6), (6, 5), (6, 7), (7, 6), (9, 10), (10, 9)]
    assert pairs_seen(module_of(tokenizer), batch, monkeypatch) == expected


def test_special_tokens_are_no_noise_and_change_no_share(tokenizer: str) -> None:
    counts = torch.zeros(NUM_TOKENS, dtype=torch.int64)
    counts[[PAD, UNKNOWN, BEGIN, END]] = 10**6
    counts[FIRST], counts[FIRST + 1] = 16, 81
    config = SkipGramConfig(subsample=0.01)
    objective: Any = module_of(tokenizer, config, replace(FACTS, count_tokens=counts.clone)).objectives["skip_gram"]
    noise = torch.zeros(NUM_TOKENS, dtype=torch.float64)
    noise[FIRST], noise[FIRST + 1] = 8, 27
    torch.testing.assert_close(objective.noise, noise)
    assert objective.kept[FIRST].item() == pytest.approx(math.sqrt(0.01 * 97 / 16))
    assert objective.kept[FIRST + 1].item() == pytest.approx(math.sqrt(0.01 * 97 / 81))
    assert objective.kept[:FIRST].tolist() == [0, 0, 0, 0]
    assert objective.kept[FIRST + 2 :].eq(1).all()


def test_noise_follows_the_power_of_the_counts() -> None:
    counts = torch.tensor([0, 1, 16, 81])
    torch.testing.assert_close(noise_weights(counts, 0.75), torch.tensor([0.0, 1, 8, 27], dtype=torch.float64))
    torch.testing.assert_close(noise_weights(counts, 0), torch.tensor([0.0, 1, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(noise_weights(counts, 1), counts.double())


def test_negatives_are_drawn_in_proportion_to_noise_from_all_but_the_true_context() -> None:
    torch.manual_seed(0)
    noise = torch.tensor([0.0, 1, 8, 27, 0, 4, 0], dtype=torch.float64)
    for context in (1, 2, 3, 5, 4):
        negatives, excluded = draw_negatives(torch.full((4000,), context), noise, 5)
        assert negatives.shape == (4000, 5)
        assert not excluded.any()
        others = noise.clone()
        others[context] = 0
        shares = torch.bincount(negatives.flatten(), minlength=7) / 20_000
        assert shares[others == 0].eq(0).all()
        torch.testing.assert_close(shares.double(), others / others.sum(), atol=0.012, rtol=0)


def test_negatives_of_the_only_token_are_excluded() -> None:
    noise = torch.tensor([0.0, 0, 0.3, 0], dtype=torch.float64)
    _, excluded = draw_negatives(torch.tensor([2, 1]), noise, 3)
    assert excluded.tolist() == [[True] * 3, [False] * 3]


def test_frequent_tokens_are_kept_with_the_root_of_threshold_over_share() -> None:
    counts = torch.tensor([900, 90, 9, 1, 0])
    expected = torch.tensor([1 / 30, math.sqrt(1e-3 / 0.09), math.sqrt(1e-3 / 0.009), 1, 1], dtype=torch.float64)
    torch.testing.assert_close(keep_probabilities(counts, 1e-3), expected)
    assert keep_probabilities(counts, 0).tolist() == [1] * 5


def test_subsampling_leaves_tokens_out_before_windows_are_drawn(tokenizer: str) -> None:
    torch.manual_seed(0)
    counts = torch.zeros(NUM_TOKENS, dtype=torch.int64)
    counts[FIRST : FIRST + 2] = torch.tensor([96, 4])
    config = SkipGramConfig(window=1, subsample=0.06)
    objective: Any = module_of(tokenizer, config, replace(FACTS, count_tokens=counts.clone)).objectives["skip_gram"]
    tokens, texts = objective.draw_tokens(batch_of(*[[FIRST, FIRST + 1, FIRST, FIRST]] * 4000).texts[0])
    shares = torch.bincount(tokens - FIRST) / 4000
    # Of share 0.96 a quarter is kept; 0.04 is below the threshold.
    torch.testing.assert_close(shares, torch.tensor([0.75, 1.0]), atol=0.03, rtol=0)
    centres, contexts = draw_pairs(texts, 1)
    lost_between = (tokens[centres] == FIRST + 1) & (contexts == centres + 1)
    # The rare token has a right neighbour unless both others are gone.
    assert lost_between.sum().item() / 4000 == pytest.approx(1 - 0.75**2, abs=0.03)


def test_the_loss_is_that_of_the_pairs_with_both_tables(tokenizer: str) -> None:
    # One noise token alone has weight, so that nothing is random.
    counts = torch.zeros(NUM_TOKENS, dtype=torch.int64)
    counts[12] = 5
    module = module_of(tokenizer, PLAIN, replace(FACTS, count_tokens=counts.clone))
    fill(module)
    centres, contexts = torch.tensor([5, 6, 6, 7]), torch.tensor([6, 5, 7, 6])
    u, v = module.objectives["skip_gram"].contexts.weight, table_of(module)
    output = module(batch_of([5, 6, 7]))
    expected = skip_gram_loss(v[centres], u[contexts], u[torch.full((4, 5), 12)])
    torch.testing.assert_close(output.loss, expected)
    assert output.num_rows == {"skip_gram": 1}


def test_the_loss_starts_at_the_chance_level(tokenizer: str) -> None:
    module = module_of(tokenizer, SkipGramConfig(num_negatives=3, subsample=0))
    output = module(batch_of([5, 6, 5, 7], [8, 9]))
    assert output.chance == pytest.approx(4 * math.log(2))
    assert output.loss.item() == pytest.approx(4 * math.log(2))
    assert not module.objectives["skip_gram"].contexts.weight.any()


def test_a_batch_without_pairs_gives_zero_and_gradients_all_the_same(tokenizer: str) -> None:
    module = module_of(tokenizer)
    fill(module)
    for batch in (batch_of([5], [BEGIN, END]), batch_of([5, 6]).part(0, 0)):
        output = module(batch)
        output.loss.backward()
        assert output.loss.item() == 0
        assert output.chance is None
        for table in (table_of(module), module.objectives["skip_gram"].contexts.weight):
            assert table.grad is not None
            assert not table.grad.any()


@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 3, 4)])
def test_shares_and_gradients_of_a_split_add_up(
    tokenizer: str, cuts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = torch.zeros(NUM_TOKENS, dtype=torch.int64)
    counts[12] = 5
    module = module_of(tokenizer, PLAIN, replace(FACTS, count_tokens=counts.clone)).double()
    fill(module)
    batch = batch_of([5, 6, 7], [8], [9, 10, 9, 11], [6, 7])
    whole = module(batch).loss
    whole.backward()
    tables = (table_of(module), module.objectives["skip_gram"].contexts.weight)
    expected = [table.grad.clone() for table in tables]
    module.zero_grad()
    # What each process would be told: of 12 pairs in all, its own.
    monkeypatch.setattr(RowSizes, "of", classmethod(lambda cls, num_rows, device: cls((num_rows, 12 - num_rows))))
    shares = []
    for start, stop in pairwise(cuts):
        share = module(batch.part(start, stop), RowSizes((4,))).loss
        share.backward()
        shares.append(share.detach())
    torch.testing.assert_close(torch.stack(shares).sum(), whole.detach())
    for table, gradient in zip(tables, expected, strict=True):
        torch.testing.assert_close(table.grad, gradient)


def test_words_used_alike_end_near_each_other(tokenizer: str) -> None:
    """Two kinds of words, each seen with markers of its own kind and never beside a word of its kind."""
    torch.manual_seed(0)
    kinds = [([4, 5, 6], [10, 11]), ([7, 8, 9], [12, 13])]
    texts = [[left, word, right] for words, markers in kinds for word in words for left in markers for right in markers]
    counts = torch.bincount(torch.tensor(texts).flatten(), minlength=NUM_TOKENS)
    config = SkipGramConfig(window=1, subsample=0)
    module = module_of(tokenizer, config, replace(FACTS, count_tokens=counts.clone))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.05, weight_decay=0)
    for _ in range(60):
        output = module(batch_of(*texts))
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert output.loss.item() < 0.8 * output.chance
    vectors = torch.nn.functional.normalize(table_of(module).detach())
    cosines = vectors @ vectors.T
    alike = torch.stack([cosines[4, 5], cosines[4, 6], cosines[5, 6], cosines[7, 8], cosines[7, 9], cosines[8, 9]])
    assert alike.min() > cosines[4:7, 7:10].max() + 0.5


def test_its_state_resumes_bit_for_bit(tokenizer: str) -> None:
    batches = [batch_of([5, 6, 7, 5], [8, 9, 10]), batch_of([6, 5, 11], [9, 12, 9])]
    facts = replace(FACTS, count_tokens=torch.arange(NUM_TOKENS).clone)

    def take(module: ContrastiveModule, step: int) -> Tensor:
        torch.manual_seed(step)
        loss: Tensor = module(batches[step % 2]).loss
        loss.backward()
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.data -= 0.5 * parameter.grad
        module.zero_grad()
        return loss.detach()

    config = SkipGramConfig(subsample=0.1)
    straight, resumed = module_of(tokenizer, config, facts), module_of(tokenizer, config)
    for step in range(3):
        take(straight, step)
    # The counts are part of the state: those of another source are not mixed in.
    resumed.load_state_dict({name: tensor.clone() for name, tensor in straight.state_dict().items()})
    for step in range(3, 6):
        loss = take(straight, step)
        assert loss > 0
        assert torch.equal(loss, take(resumed, step))
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_table_is_the_models_and_the_contexts_are_the_objectives(tokenizer: str) -> None:
    module = module_of(tokenizer)
    names = [name for name, _ in module.named_parameters()]
    assert sum("embedding" in name for name in names) == 1
    assert [name for name in names if name.startswith("objectives")] == ["objectives.skip_gram.contexts.weight"]
    own = [name.removeprefix("skip_gram.") for name in module.objectives.state_dict()]
    assert sorted(own) == ["contexts.weight", "kept", "noise"]


def test_gradient_caching_is_refused(tokenizer: str) -> None:
    with pytest.raises(UserError, match="skip_gram learns from tokens, not from embeddings"):
        check_cacheable(module_of(tokenizer), 4)


def test_other_towers_and_sources_without_tokens_are_refused(tokenizer: str) -> None:
    with pytest.raises(UserError, match=r"skip_gram learns a table of token vectors, .* is none; give model"):
        ContrastiveModule(build_model(vit_bert_pair(tokenizer)), [PLAIN], FACTS)
    with pytest.raises(UserError, match="there is nothing to count"):
        module_of(tokenizer, facts=DataFacts())
    counts = torch.tensor([0, 0, 7])
    with pytest.raises(UserError, match="have none but special ones"):
        module_of(tokenizer, facts=DataFacts(count_tokens=counts.clone))
    with pytest.raises(UserError, match="token ids up to 18, the table rows for 18"):
        module_of(tokenizer, facts=DataFacts(count_tokens=torch.ones(19, dtype=torch.int64).clone))


@pytest.mark.parametrize("views", [["text.1"], ["image.0"], ["text.0", "text.0"]])
def test_its_view_is_the_text(views: list[str]) -> None:
    with pytest.raises(ValidationError, match=r"must be \[text.0\]"):
        SkipGramConfig.model_validate({"views": views})
