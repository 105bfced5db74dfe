from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import build, rows, strategy
from torch import nn

from tl_toolkit.config.arguments import ModelArguments, RunArguments, StrategyArguments
from tl_toolkit.errors import UserError
from tl_toolkit.strategies import make_strategy
from tl_toolkit.strategies.layer_groups import group_names, layer_groups
from tl_toolkit.strategies.optimisation import parameter_groups
from tl_toolkit.training.trainer import BaseTrainer

# Number of groups above a parameter, by prefix of its name, listed by hand.
ABOVE = {
    ("bert", "classifier"): {
        "bert.embeddings.": 4, "bert.encoder.layer.0.": 3, "bert.encoder.layer.1.": 2, "bert.encoder.layer.2.": 1,
        "bert.pooler.": 0, "classifier.": 0,
    },
    ("bert", "masked"): {
        "bert.embeddings.word_embeddings.": 0, "bert.embeddings.position_embeddings.": 4,
        "bert.embeddings.token_type_embeddings.": 4, "bert.embeddings.LayerNorm.": 4, "bert.encoder.layer.0.": 3,
        "bert.encoder.layer.1.": 2, "bert.encoder.layer.2.": 1, "cls.": 0,
    },
    ("gpt2", "classifier"): {
        "transformer.wte.": 4, "transformer.wpe.": 4, "transformer.h.0.": 3, "transformer.h.1.": 2,
        "transformer.h.2.": 1, "transformer.ln_f.": 0, "score.": 0,
    },
    ("gpt2", "causal"): {
        "transformer.wte.": 0, "transformer.wpe.": 4, "transformer.h.0.": 3, "transformer.h.1.": 2,
        "transformer.h.2.": 1, "transformer.ln_f.": 0,
    },
    ("rnn", "classifier"): {
        "rnn.embedding.": 4, "rnn.layers.0.": 3, "rnn.layers.1.": 2, "rnn.layers.2.": 1, "classifier.": 0,
    },
    ("rnn", "causal"): {
        "rnn.embedding.": 4, "rnn.layers.0.": 3, "rnn.layers.1.": 2, "rnn.layers.2.": 1, "lm_head.": 0,
    },
    ("awd_lstm", "classifier"): {
        "awd_lstm.forward_body.embedding.": 4, "awd_lstm.forward_body.layers.0.": 3,
        "awd_lstm.forward_body.layers.1.": 2, "awd_lstm.forward_body.layers.2.": 1, "forward_head.": 0,
    },
    ("awd_lstm", "causal"): {
        "awd_lstm.forward_body.embedding.": 0, "awd_lstm.forward_body.layers.0.": 3,
        "awd_lstm.forward_body.layers.1.": 2, "awd_lstm.forward_body.layers.2.": 1, "lm_head.": 0,
    },
    ("self_attention", "classifier"): {
        "model.embeddings.": 4, "model.layers.0.": 3, "model.layers.1.": 2, "model.layers.2.": 1, "model.norm.": 1,
        "classifier.": 0,
    },
    ("self_attention", "causal"): {
        "model.embeddings.tokens.": 0, "model.layers.0.": 3, "model.layers.1.": 2, "model.layers.2.": 1,
        "model.norm.": 1,
    },
}  # fmt: skip


def groups_above(name: str, table: dict[str, int]) -> int:
    (found,) = [above for prefix, above in table.items() if name.startswith(prefix)]
    return found


@pytest.mark.parametrize(("family", "head"), ABOVE)
def test_every_group_has_1_over_2_6_of_the_rate_above(family: str, head: str) -> None:
    """Howard and Ruder (2018), section 3.2: eta^(l-1) = eta^l / 2.6; a shared matrix belongs to the head."""
    model = build(family, head)
    rates = strategy("discriminative").learning_rates(model, 0.7)
    groups = parameter_groups(model, 0.3, rates)
    used = {id(p): group.get("lr", 0.7) for group in groups for p in group["params"]}
    assert len(used) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        expected = 0.7 / 2.6 ** groups_above(name, ABOVE[family, head])
        assert used[id(parameter)] == pytest.approx(expected, rel=1e-12), name


def test_a_longer_list_inside_a_layer_is_not_the_layers() -> None:
    model = build("bert")
    model.bert.encoder.layer[0].experts = nn.ModuleList([nn.Linear(2, 3) for _ in range(7)])
    layers = [f"bert.encoder.layer.{i}" for i in range(3)]
    assert group_names(layer_groups(model)) == ["bert.embeddings", *layers, "bert.pooler, classifier"]


def test_one_rate_without_decay() -> None:
    model = build("bert")
    assert strategy("discriminative", lr_decay=1.0).learning_rates(model, 0.7) == {}
    with pytest.raises(UserError, match=r"--lr_decay must be 1 .* is 0\.5"):
        strategy("discriminative", lr_decay=0.5)


def test_the_rate_of_the_head_is_logged_and_all_follow_the_schedule(tmp_path: Path) -> None:
    how, model = strategy("discriminative"), build("gpt2")
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True, learning_rate=0.01, eval_strategy="no")
    trainer = BaseTrainer(model, args, learning_rates=how.learning_rates(model, 0.01), train_dataset=rows())
    trainer.create_optimizer_and_scheduler(10)
    for _ in range(5):
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert trainer._get_learning_rate() == pytest.approx(0.005)  # linear, half of the steps
    rates = {group["lr"] for group in trainer.optimizer.param_groups}
    assert sorted(rates) == pytest.approx([0.005 / 2.6**above for above in (4, 3, 2, 1, 0)])


def test_unsupported_rates_are_refused(tmp_path: Path) -> None:
    model = build("bert")
    with pytest.raises(ValueError, match="bert.nothing"):
        parameter_groups(model, 0.3, {"bert.nothing": 0.1})
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True, optim="adalomo", eval_strategy="no")
    trainer = BaseTrainer(model, args, learning_rates={"classifier.weight": 0.1}, train_dataset=rows())
    trainer.get_optimizer_cls_and_kwargs = lambda *_: (object, {"model": model})  # as with extra packages
    with pytest.raises(UserError, match="--optim adalomo builds its own parameter groups"):
        trainer.create_optimizer()


def test_the_record_has_decay_and_groups() -> None:
    how = strategy("discriminative", lr_decay=2.0)
    assert how.record() == {"name": "discriminative", "lr_decay": 2.0}
    how.prepare(build("rnn"))
    groups = ["rnn.embedding", "rnn.layers.0", "rnn.layers.1", "rnn.layers.2", "classifier"]
    assert how.record() == {"name": "discriminative", "lr_decay": 2.0, "groups": groups}


def test_an_error_about_a_strategy_names_the_others() -> None:
    with pytest.raises(UserError, match="'full', 'discriminative', 'gradual_unfreezing', 'frozen', 'probe', 'lora'"):
        strategy("scratch")
    with pytest.raises(UserError, match="'discriminative' transfers from a checkpoint"):
        make_strategy(StrategyArguments(strategy="discriminative"), ModelArguments(model_type="rnn"))
    with pytest.raises(UserError, match="head_learning_rate.*discriminative"):
        strategy("discriminative", head_learning_rate=0.1)
