"""What a user can ask of a run: typed dataclasses that are the YAML keys, the flags and the `--help` text at once."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from ..errors import UserError
from .fields import differing, flag, require

NT_ASGD = "nt_asgd"  # an optimiser that transformers does not know
SLANTED_TRIANGULAR = "slanted_triangular"  # a schedule that transformers does not know


@dataclass
class DataArguments:
    """Which rows, and which of their columns mean what."""

    task: str = flag(
        "What is learned: text-classification, regression, token-classification, translation, captioning or "
        "forecasting; of a language model (pretrain.py, and compare.py) causal-lm or masked-lm.",
        "text-classification",
    )
    dataset_name: str | None = flag(
        "A Hub id, a local Hub-style folder, a csv/tsv/json/jsonl/parquet/txt file, or builtin:NAME with pydocs, "
        "dates, digits, pytokens or stocks."
    )
    dataset_config_name: str | None = flag("The dataset's configuration.")
    dataset_revision: str | None = flag("Commit, tag or branch of a Hub dataset.")
    stream_rows: int | None = flag(
        "Read only this many rows of each split of a Hub dataset, the first ones, from a stream; what lies behind "
        "them is not downloaded."
    )
    train_split_name: str | None = flag("The split to train on, by default 'train'.")
    validation_split_name: str | None = flag(
        "The split to select on; without one, a part of the training split is held out."
    )
    test_split_name: str | None = flag("The split to report, by default 'test'.")
    text_column: str | None = flag("The column with the text.")
    text_pair_column: str | None = flag("A second text, for sentence pairs.")
    label_column: str | None = flag(
        "The column with the label; several binary columns separated by commas are multi-label."
    )
    source_column: str | None = flag("translation: the column with the text to translate.")
    target_column: str | None = flag("translation: the column with its translation.")
    source_lang: str | None = flag(
        "translation: the language to translate from, where columns, or the entries of a column 'translation', are "
        "named after languages."
    )
    target_lang: str | None = flag("translation: the language to translate to.")
    source_prefix: str | None = flag(
        "translation: put before every source text, as T5 wants 'translate English to German: '."
    )
    image_column: str | None = flag("captioning: the column with the image.")
    time_column: str | None = flag("forecasting: the column with the times, by which rows are sorted.")
    value_columns: str | None = flag(
        "forecasting: the columns to forecast, separated by commas; by default all of numbers."
    )
    context_length: int | None = flag("forecasting: how many time steps a model sees.")
    prediction_length: int | None = flag("forecasting: how many time steps it forecasts.")
    seasonality: int | None = flag(
        "forecasting: time steps in a season; by default told from the distance of the times."
    )
    label_budget: int | None = flag("Train on this many labelled rows: stratified, and nested for a given seed.")
    validation_budget: int | None = flag(
        "Select on at most this many labelled rows: they are labels somebody paid for, too."
    )
    test_budget: int | None = flag("Report on a fixed sample of this many test rows, the same for every seed.")
    validation_fraction: float = flag(
        "The part of the training split held out when the dataset has no validation split.",
        0.1,
    )
    max_length: int | None = flag("Texts are cut to this many tokens; the model's own limit is kept as well.", 256)

    def __post_init__(self) -> None:
        require(self, ["max_length"], lambda value: value >= 1, "1 or more", " (none: no limit)")
        require(self, ["stream_rows"], lambda value: value >= 1, "1 or more", " (none: all rows)")
        require(self, ["validation_fraction"], lambda value: 0 < value < 1, "a part of 1")


@dataclass
class ModelArguments:
    """What learns: a checkpoint, or an architecture with random weights."""

    model_name_or_path: str | None = flag("A checkpoint to start from: a Hub id, a local folder, or builtin:minilm.")
    model_revision: str | None = flag("Commit, tag or branch of a Hub checkpoint.")
    model_type: str | None = flag(
        "An architecture to train from scratch: rnn, self_attention, or any of transformers' (bert, gpt2)."
    )
    config_overrides: str | None = flag(
        "Changes to the model's configuration: key=value,key=value (a mapping in YAML)."
    )
    tokenizer_name: str | None = flag(
        "word, whitespace, char, bpe or fastai (made from the training split), or a pre-trained one. By default the "
        "checkpoint's own, or for a model from scratch word (for translation: bpe). With a checkpoint that has a "
        "word-level one, word learns its vocabulary anew: known words keep their embeddings."
    )
    tokenizer_vocab_size: int = flag("The largest vocabulary that one made from the training split may have.", 30_000)
    tokenizer_min_frequency: int = flag("Words seen less often in the training split are unknown.", 2)
    tokenizer_lowercase: bool | None = flag("Lower-case the text first; by default for word, not for char and bpe.")
    shared_vocabulary: bool | None = flag(
        "translation from scratch: one vocabulary for source and target; by default for bpe, and where the "
        "architecture has no other."
    )
    vectors: str | None = flag(
        "Static word vectors (GloVe or word2vec text file, may be gzipped) to initialise the embeddings of a model "
        "from scratch; their words join the vocabulary."
    )
    trust_remote_code: bool = flag("Run code that a checkpoint brings along. Only for sources you trust.", False)


@dataclass
class StrategyArguments:
    """How knowledge moves into the model."""

    strategy: Literal["scratch", "full", "discriminative", "gradual_unfreezing", "frozen", "lora"] | None = flag(
        "scratch, full (all weights tuned), discriminative (all tuned, lower layers at lower rates), "
        "gradual_unfreezing (the same, and one layer group more in every epoch, from the head down), frozen (only the "
        "head is trained) or lora. By default scratch with --model_type and full with --model_name_or_path."
    )
    lr_decay: float = flag(
        "For discriminative and gradual_unfreezing: a layer group learns at this many times less than the one above "
        "it, the head at --learning_rate; 1 for one rate.",
        2.6,
    )
    head_learning_rate: float | None = flag(
        "A peak learning rate of its own for the head, which starts random where a checkpoint's body does not; for "
        "full."
    )
    lora_r: int = flag("Rank of LoRA's update matrices.", 8)
    lora_alpha: int = flag("LoRA's updates are scaled by lora_alpha / lora_r.", 16)
    lora_dropout: float = flag("Dropout in front of LoRA's matrices; 0 where recurrent weights are adapted.", 0.0)


@dataclass
class RunArguments(TrainingArguments):
    """transformers' TrainingArguments, with the defaults of a run that is selected on its validation split."""

    name: str | None = flag("What reports call this run; by default the model type or checkpoint.")
    per_device_train_batch_size: int = flag("Training batch size on each device.", 32)
    per_device_eval_batch_size: int = flag("Evaluation batch size on each device.", 128)
    learning_rate: float = flag("Peak learning rate; 0 takes the strategy's usual one.", 0.0)
    num_train_epochs: float = flag("Epochs; 0 takes the strategy's usual number.", 0.0)
    min_train_steps: int = flag(
        "Train for more epochs if needed to reach this many updates: a few labels need many passes (Mosbach et al. "
        "2021).",
        0,
    )
    lr_scheduler_type: str = flag(
        "Learning-rate schedule; slanted_triangular is that of Howard and Ruder (2018).",
        "linear",
        choices=[SLANTED_TRIANGULAR, *(name.value for name in SchedulerType)],
    )
    cut_fraction: float = flag("slanted_triangular: the part of all updates in which the rate rises.", 0.1)
    lr_ratio: float = flag("slanted_triangular: how much lower the lowest rate is than the peak.", 32.0)
    weight_decay: float = flag("Weight decay; biases, norms and embeddings are spared.", 0.01)
    optim: str = flag(
        "The optimiser: nt_asgd (SGD, averaged once the validation loss stops falling; Merity et al. 2017), or one of "
        "transformers'.",
        TrainingArguments.default_optim,
        choices=[NT_ASGD, *(name.value for name in OptimizerNames)],
    )
    nt_asgd_interval: int = flag(
        "nt_asgd starts averaging at an evaluation whose loss is above the best of those more than so many "
        "evaluations ago.",
        5,
    )
    generation_num_beams: int | None = flag(
        "translation and captioning: beams of the search that writes the reported answers, also of the saved model; 1 "
        "is greedy, as are evaluations during training."
    )
    generation_length_penalty: float | None = flag("Above 0, beam search favours longer answers; below, shorter ones.")
    generation_max_length: int | None = flag(
        "The most tokens of an answer; by default as many as the longest one learned from."
    )
    eval_strategy: IntervalStrategy | str = flag("When to evaluate: no, steps or epoch.", "epoch")
    save_strategy: SaveStrategy | str = flag("When to save a checkpoint: no, steps, epoch or best.", "epoch")
    save_total_limit: int | None = flag("Checkpoints kept beside the best one; older ones are deleted.", 1)
    load_best_model_at_end: bool = flag("Keep the model that was best on the validation split.", True)
    early_stopping_patience: int | None = flag("Stop after this many evaluations without a better one.")
    logging_nan_inf_filter: bool = flag("Hide losses that are not finite. Off: they stop the run.", False)
    logging_steps: float = flag("Log every so many updates; below 1, a part of them all.", 0.05)
    restore_callback_states_from_checkpoint: bool = flag(
        "Go on with the patience and the seconds of the stopped run.",
        True,
    )
    report_to: None | str | list[str] = flag("Trackers, e.g. tensorboard, wandb, trackio.", "none")
    resume_from_checkpoint: str | None = flag(
        "Alone: go on from the last complete checkpoint in output_dir. Or the folder of a checkpoint."
    )
    use_cpu: bool = flag("Stay on the CPU although there is a GPU.", False)
    dataloader_pin_memory: bool = flag("Pin batches in memory where a GPU will fetch them.", True)
    overwrite_output_dir: bool = flag("Start again although output_dir holds checkpoints of an unfinished run.", False)
    skip_test: bool = flag(
        "Evaluate on the validation split alone, as when settings are tried; predict no test row.",
        False,
    )
    find_lr: bool = flag(
        "Train no model, but try learning rates from low to high (Smith 2017), suggest one, and leave lr_finder.png "
        "and lr_finder.json in output_dir.",
        False,
    )
    find_lr_start: float = flag("The first and lowest rate that --find_lr tries.", 1e-7)
    find_lr_end: float = flag("The last and highest rate that --find_lr tries.", 10.0)
    find_lr_steps: int = flag("How many rates --find_lr tries, one an update.", 100)

    def __post_init__(self) -> None:
        self.as_given = differing(self)  # the parent rewrites values, and what was asked for is what others repeat
        # The parent puts "loss" where no metric was named; a run selects on its task's main metric instead.
        self.selects_on_main_metric = self.metric_for_best_model is None
        if self.load_best_model_at_end and self.eval_strategy in ("no", IntervalStrategy.NO):
            self.load_best_model_at_end = False
        # accelerate's launcher starts processes on a CPU without telling them that a CPU was meant.
        self.use_cpu = self.use_cpu or ("LOCAL_RANK" in os.environ and not torch.accelerator.is_available())
        if str(self.resume_from_checkpoint).lower() in ("false", "no"):
            self.resume_from_checkpoint = None
        given = [f.name for f in dataclasses.fields(self) if isinstance(getattr(self, f.name, None), float)]
        require(self, given, lambda value: not math.isnan(value), "a number")
        counts = ["per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"]
        counts += ["generation_num_beams", "generation_max_length", "early_stopping_patience"]
        require(self, counts, lambda value: value >= 1, "1 or more")
        sizes = ["learning_rate", "num_train_epochs", "min_train_steps", "weight_decay", "nt_asgd_interval"]
        require(self, sizes, lambda value: 0 <= value < math.inf, "a finite number of 0 or more")
        most = 2**32 - 1  # as numpy's generators take them
        require(self, ["seed", "data_seed"], lambda value: 0 <= value <= most, f"a whole number from 0 to {most}")
        nt_asgd = self.optim == NT_ASGD
        if nt_asgd and self.eval_strategy in ("no", IntervalStrategy.NO):
            raise UserError(
                "--optim nt_asgd watches the validation loss, so it needs an --eval_strategy: steps or epoch."
            )
        self._check_schedule()
        self._check_find_lr()
        slanted = self.lr_scheduler_type == SLANTED_TRIANGULAR
        self.optim = OptimizerNames.SGD if nt_asgd else self.optim  # the parent knows its own names only
        self.lr_scheduler_type = SchedulerType.CONSTANT if slanted else self.lr_scheduler_type
        super().__post_init__()
        self.optim = NT_ASGD if nt_asgd else self.optim
        self.lr_scheduler_type = SLANTED_TRIANGULAR if slanted else self.lr_scheduler_type
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type != "cpu"

    def _check_schedule(self) -> None:
        if self.lr_scheduler_type != SLANTED_TRIANGULAR:
            return
        require(self, ["cut_fraction"], lambda value: 0 <= value < 1, "0 or more and less than 1")
        require(self, ["lr_ratio"], lambda value: value >= 1, "1 or more")
        for name in ("warmup_steps", "lr_scheduler_kwargs"):
            if getattr(self, name):
                raise UserError(
                    f"--{name} does not go with --lr_scheduler_type {SLANTED_TRIANGULAR}, whose shape is set by "
                    "--cut_fraction and --lr_ratio."
                )

    def _check_find_lr(self) -> None:
        if not 0 < self.find_lr_start < self.find_lr_end:
            raise UserError(
                f"--find_lr_start is {self.find_lr_start:g} and --find_lr_end {self.find_lr_end:g}, where two numbers "
                "above 0 are expected, the second one the larger."
            )
        require(self, ["find_lr_steps"], lambda value: value >= 10, "10 or more")


class Arguments(NamedTuple):
    """Everything that was asked of one run."""

    data: DataArguments
    model: ModelArguments
    strategy: StrategyArguments
    run: RunArguments


class Request(Protocol):
    """Everything that was asked of a recipe; how it runs is among it."""

    @property
    def run(self) -> RunArguments: ...

    def __iter__(self) -> Iterator[Any]: ...
