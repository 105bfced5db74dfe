"""The arguments of a run: typed dataclasses that define YAML keys, flags and help texts."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from ..errors import UserError
from .class_weight import parse_class_weight
from .fields import differing, flag, require
from .processes import settle_global_batch, warn_of_missing_processes

NT_ASGD = "nt_asgd"  # an optimiser of the toolkit, unknown to transformers
StrategyName = Literal[
    "scratch",
    "full",
    "discriminative",
    "gradual_unfreezing",
    "frozen",
    "probe",
    "lora",
    "contrastive",
    "prompt",
    "distilled",
]
FORMS = ("pytorch", "onnx", "int8")
"""The forms of a model in which it can run."""
SLANTED_TRIANGULAR = "slanted_triangular"  # a schedule of the toolkit, unknown to transformers


@dataclass
class DataArguments:
    """Data"""

    task: str = flag(
        "What is learned. text-classification, regression, token-classification, translation, captioning or "
        "forecasting; for language models (pretrain and compare) causal-lm or masked-lm.",
        "text-classification",
    )
    dataset_name: str | None = flag(
        "A Hub id, a file or folder, or builtin:NAME. Files are csv, tsv, json, jsonl, parquet, arrow or txt; several "
        "are separated by commas. Built in are pydocs, dates, digits, pytokens and stocks."
    )
    dataset_config_name: str | None = flag("The dataset's configuration.")
    dataset_revision: str | None = flag("Commit, tag or branch of a Hub dataset.")
    stream_rows: int | None = flag(
        "Read only the first N rows of each split of a Hub dataset. They are streamed; later rows are not downloaded."
    )
    train_split_name: str | None = flag("The split to train on. By default 'train'.")
    validation_split_name: str | None = flag(
        "The split for model selection. Without one, a part of the training split is held out."
    )
    test_split_name: str | None = flag("The split to report. By default 'test'.")
    text_column: str | None = flag("The column with the text. By default it is found.")
    text_pair_column: str | None = flag("The column with a second text, for sentence pairs.")
    label_column: str | None = flag(
        "The column with the label. By default it is found; several binary columns separated by commas are multi-label."
    )
    group_column: str | None = flag(
        "The column that says which test rows belong together, such as those of one author. Reports count them as one."
    )
    source_column: str | None = flag("translation: the column with the text to translate.")
    target_column: str | None = flag("translation: the column with its translation.")
    source_lang: str | None = flag(
        "translation: the source language, if columns or the entries of a column 'translation' are named after "
        "languages."
    )
    target_lang: str | None = flag("translation: the target language.")
    source_prefix: str | None = flag(
        "translation: prepended to every source text, as for T5 'translate English to German: '."
    )
    image_column: str | None = flag("captioning: the column with the image.")
    time_column: str | None = flag("forecasting: the column with the times, by which rows are sorted.")
    value_columns: str | None = flag(
        "forecasting: the columns to forecast, separated by commas. By default all numeric columns."
    )
    context_length: int | None = flag("forecasting: number of time steps that a model sees.")
    prediction_length: int | None = flag("forecasting: number of time steps to forecast.")
    seasonality: int | None = flag(
        "forecasting: time steps in a season. By default derived from the interval between times."
    )
    label_budget: int | None = flag(
        "Train on N labelled rows. The sample is stratified, and for one seed smaller budgets are part of larger ones."
    )
    validation_budget: int | None = flag(
        "Select the model on at most N labelled rows. These labels count towards the budget."
    )
    test_budget: int | None = flag("Report on a fixed sample of N test rows. It is the same for every seed.")
    folds: int | None = flag(
        "Cross-validation: divide the labelled training rows into N stratified parts by the seed, and test on one. "
        "compare tests on each in turn; its default for fewer than 1,000 rows without a test split is 5 (1: none)."
    )
    fold: int | None = flag("The part of --folds that is tested, from 1 to N.")
    drop_duplicates: bool = flag(
        "Leave out training rows whose text is also in the validation or test split, has several labels, or repeats an "
        "earlier row. Label budgets are drawn from the others.",
        False,
    )
    validation_fraction: float = flag(
        "The fraction of the training split that is held out if the dataset has no validation split.",
        0.1,
    )
    train_on: Literal["train", "all_but_validation", "all"] = flag(
        "The labelled rows to train on. With all or all_but_validation a model is fitted to keep, after settings were "
        "compared, and is not evaluated on test rows.",
        "train",
    )
    class_weight: str | None = flag(
        "classification: weight each class in the training loss. balanced gives each class the same total weight; "
        "spam=5,ham=1 sets weights, and other classes have the weight 1. In YAML and Python this can be a mapping. "
        "Evaluation losses are not weighted."
    )
    main_metric: str | None = flag(
        "The metric that selects the model, ranks entries and decides a comparison: accuracy, macro_f1 or another of "
        "the task, or f1:CLASS, recall:CLASS or precision:CLASS. By default that of the task."
    )
    max_length: int | None = flag(
        "Truncate texts to N tokens. The model's own limit applies as well; none means no other limit.", 256
    )

    def __post_init__(self) -> None:
        require(self, ["max_length"], lambda value: value >= 1, "1 or more", " (none: no limit)")
        require(self, ["stream_rows"], lambda value: value >= 1, "1 or more", " (none: all rows)")
        require(self, ["validation_fraction"], lambda value: 0 < value < 1, "between 0 and 1")
        if self.class_weight is not None:
            parse_class_weight(self.class_weight)
        if (self.fold is None) != (self.folds is None) or not 1 <= (self.fold or 1) <= (self.folds or 2) >= 2:
            raise UserError(
                f"--fold must be from 1 to --folds, and --folds 2 or more, but they are {self.fold} and {self.folds}: "
                "give both, or neither."
            )


@dataclass
class ModelArguments:
    """Model: a checkpoint, or an architecture with random weights"""

    model_name_or_path: str | None = flag("A checkpoint: a Hub id, folder, or builtin:minilm.")
    model_revision: str | None = flag("Commit, tag or branch of a Hub checkpoint.")
    model_type: str | None = flag(
        "An architecture to train from scratch. rnn, awd_lstm, self_attention, bag_of_ngrams, rnn_encoder_decoder, "
        "rnn_image_captioner, or one of transformers (bert, gpt2)."
    )
    config_overrides: str | None = flag(
        "Configuration changes: key=value,key=value. In YAML and Python this can be a mapping."
    )
    pooling: Literal["auto", "mean", "cls", "last", "max"] = flag(
        "text classification and regression: how the token vectors of a checkpoint become the vector that is "
        "classified. auto: as the modules of a sentence-transformers model say; other checkpoints keep their own head.",
        "auto",
    )
    tokenizer_name: str | None = flag(
        "word, whitespace, char, bpe, fastai, or a pre-trained one. The first five are built from the training split. "
        "By default the checkpoint's own; for a model from scratch word (for translation bpe; char where most texts "
        "hold one word). With a checkpoint that "
        "has a word-level tokenizer, word builds a new vocabulary, in which known words keep their embeddings."
    )
    tokenizer_vocab_size: int = flag("Maximum size of a vocabulary built from the training split.", 30_000)
    tokenizer_min_frequency: int = flag("Words that are rarer in the training split become unknown words.", 2)
    tokenizer_lowercase: bool | None = flag("Lower-case the text first. By default for word, not for char and bpe.")
    shared_vocabulary: bool | None = flag(
        "translation from scratch: one vocabulary for source and target. By default for bpe, and for architectures "
        "that have only one."
    )
    vectors: str | None = flag(
        "Static word vectors for the embeddings. A text file of GloVe or word2vec, may be gzipped; its words join the "
        "vocabulary of a model from scratch."
    )
    trust_remote_code: bool = flag("Run code that a checkpoint contains. Only for sources you trust.", False)


@dataclass
class StrategyArguments:
    """Strategy: how knowledge is transferred"""

    strategy: StrategyName | None = flag(
        "scratch, full, frozen, probe, lora, contrastive, distilled, prompt, discriminative or gradual_unfreezing. "
        "full tunes all weights; frozen trains only the head; probe solves its last layer; contrastive first tunes the "
        "body on pairs of rows; distilled learns from a --teacher; prompt asks a language model and trains nothing; "
        "discriminative tunes lower layers at lower rates; gradual_unfreezing also adds one layer group in every "
        "epoch, from the head down. By default scratch with --model_type, full with --model_name_or_path."
    )
    lr_decay: float = flag(
        "discriminative and gradual_unfreezing: each layer group's learning rate is that of the group above divided by "
        "this number. The head learns at --learning_rate; 1 means one rate for all.",
        2.6,
    )
    head_learning_rate: float | None = flag(
        "full: a peak learning rate for the head, which starts from random weights, unlike the body of a checkpoint."
    )
    lora_r: int = flag("Rank of LoRA's update matrices.", 8)
    lora_alpha: int = flag("LoRA's updates are scaled by lora_alpha / lora_r.", 16)
    lora_dropout: float = flag("Dropout before LoRA's matrices. It must be 0 for recurrent weights.", 0.0)

    instruction: str | None = flag("prompt: the beginning of the prompt. By default it names the classes.")
    verbalizers: str | None = flag(
        "prompt: the words that stand for the classes: class=word,class=word, or a mapping. By default their names."
    )
    prompt_examples: int | None = flag(
        "prompt: labelled rows in the prompt. By default all of the label budget that fit into the model's context."
    )

    teacher: str | None = flag(
        "distilled: the classifier to learn from, a folder or Hub id; in a grid also an entry, whose run with the same "
        "label budget, seed and fold is trained first."
    )
    unlabelled_dataset: str | None = flag(
        "distilled: a dataset whose texts the teacher labels, as for --dataset_name; its splits for evaluation are not "
        "read. compare --entries full also pre-trains ULMFiT on it. By default texts are made from the labelled ones, "
        "by masking words and cutting n-grams."
    )
    unlabelled_budget: int = flag("distilled: at most N texts without labels, real or made.", 20_000)
    distillation_temperature: float = flag("distilled: the temperature of both models in the loss.", 2.0)
    label_weight: float | None = flag(
        "distilled: the weight of the labels in the loss, from 0 to 1; the teacher has the rest. By default 0 or 0.5, "
        "whichever is better on the validation rows; both are trained."
    )

    def __post_init__(self) -> None:
        require(self, ["label_weight"], lambda value: 0 <= value <= 1, "from 0 to 1")
        require(self, ["distillation_temperature"], lambda value: 0 < value < math.inf, "a finite number above 0")
        require(self, ["unlabelled_budget"], lambda value: value >= 0, "0 or more")
        require(self, ["prompt_examples"], lambda value: value >= 0, "0 or more")
        require(self, ["lora_r", "lora_alpha"], lambda value: value >= 1, "1 or more")
        require(self, ["lora_dropout"], lambda value: 0 <= value < 1, "0 or more and less than 1")
        require(self, ["lr_decay"], lambda value: 0 < value < math.inf, "a finite number above 0")


@dataclass
class RunArguments(TrainingArguments):
    """Training and output"""

    output_dir: str = flag("The folder for the results.")
    seed: int = flag("Random seed.", 42)
    name: str | None = flag("Name of the run in reports. By default the model type or checkpoint.")
    per_device_train_batch_size: int | None = flag(
        "Training batch size on each device. By default 32; 16 for labelled texts if a checkpoint's body is trained."
    )
    global_batch_size: int | None = flag(
        "Training rows of an update over all processes. The batch of each device and the accumulation are derived, so "
        "that the same command trains the same model on any number of processes."
    )
    per_device_eval_batch_size: int = flag("Evaluation batch size on each device.", 128)
    learning_rate: float = flag("Peak learning rate. 0 means the default of the task and strategy.", 0.0)
    num_train_epochs: float = flag("Number of epochs. 0 means the default of the task and strategy.", 0.0)
    min_train_steps: int | None = flag(
        "Add epochs until there are N updates. By default a few hundred for labelled texts if the number of epochs is "
        "not named: a few labels need many passes (Mosbach et al. 2021)."
    )
    lr_scheduler_type: str = flag(
        "Learning-rate schedule; slanted_triangular is that of Howard and Ruder (2018).",
        "linear",
        choices=[SLANTED_TRIANGULAR, *(name.value for name in SchedulerType)],
    )
    cut_fraction: float = flag("slanted_triangular: the fraction of updates in which the rate rises.", 0.1)
    lr_ratio: float = flag("slanted_triangular: the peak rate divided by the lowest rate.", 32.0)
    weight_decay: float = flag("Weight decay. It is not applied to biases, norms and embeddings.", 0.01)
    optim: str = flag(
        "The optimiser. nt_asgd is SGD, averaged once the validation loss stops falling (Merity et al. 2017); the "
        "others are those of transformers.",
        TrainingArguments.default_optim,
        choices=[NT_ASGD, *(name.value for name in OptimizerNames)],
    )
    nt_asgd_interval: int = flag(
        "nt_asgd starts averaging when the loss of an evaluation is above the best of those more than N evaluations "
        "ago.",
        5,
    )
    generation_num_beams: int | None = flag(
        "translation and captioning: beams for the reported predictions, and of the saved model. 1 is greedy decoding, "
        "which evaluations during training always use."
    )
    generation_length_penalty: float | None = flag("Above 0, beam search favours longer outputs; below, shorter ones.")
    generation_max_length: int | None = flag(
        "Maximum tokens of an output. By default the length of the longest training target."
    )
    eval_strategy: str | None = flag(
        "When to evaluate: no, steps or epoch. By default every epoch, or ten times in a run of unnamed length.",
        choices=[name.value for name in IntervalStrategy],
    )
    save_strategy: str | None = flag(
        "When to save a checkpoint: no, steps, epoch or best. By default as often as it is evaluated.",
        choices=[name.value for name in SaveStrategy],
    )
    save_total_limit: int | None = flag("Number of checkpoints to keep beside the best one.", 1)
    load_best_model_at_end: bool = flag("Keep the model that was best on the validation split.", True)
    early_stopping_patience: int | None = flag(
        "Stop after N evaluations without improvement. By default five in a run whose length is not named."
    )
    logging_nan_inf_filter: bool = flag("Hide losses that are not finite. If off, such a loss stops the run.", False)
    logging_steps: float = flag("Log every N updates; below 1, a fraction of all updates.", 0.05)
    restore_callback_states_from_checkpoint: bool = flag(
        "On resuming, restore the state of early stopping and the time trained so far.",
        True,
    )
    report_to: None | str | list[str] = flag("Trackers, such as tensorboard, wandb or trackio.", "none")
    resume_from_checkpoint: str | None = flag("Resume from PATH, or the last full checkpoint.", metavar="PATH")
    use_cpu: bool = flag("Use the CPU even if a GPU is available.", False)
    dataloader_pin_memory: bool = flag("Pin batches in memory for a GPU.", True)
    overwrite_output_dir: bool = flag("Start again even if output_dir holds an unfinished run.", False)
    push_to_hub: bool = flag("Publish the finished model on the Hub.", False)
    temperature: float | None = flag(
        "single-label classification: calibrate with this temperature instead of one fitted on the validation rows."
    )
    skip_test: bool = flag(
        "Evaluate on the validation split only, as when settings are tried.",
        False,
    )
    measure: list[str] | None = flag("Measure these forms of the model on test rows: pytorch, onnx, int8.")
    find_lr: bool = flag(
        "Suggest a learning rate instead of training. Rates are tried from low to high (Smith 2017); lr_finder.png and "
        "lr_finder.json are written to output_dir.",
        False,
    )
    find_lr_start: float = flag("The lowest rate that --find_lr tries.", 1e-7)
    find_lr_end: float = flag("The highest rate that --find_lr tries.", 10.0)
    find_lr_steps: int = flag("The number of rates that --find_lr tries, one for each update.", 100)

    def __post_init__(self) -> None:
        self.as_given = differing(self)  # the parent rewrites values, but repeating a run needs the given ones
        # The parent sets "loss"; a run selects on its task's main metric instead.
        self.selects_on_main_metric = self.metric_for_best_model is None
        self.batch_by_rule = self.per_device_train_batch_size is None
        if self.batch_by_rule:
            self.per_device_train_batch_size = 32
        self.evaluates_by_rule = self.eval_strategy is None and self.save_strategy is None
        self.save_strategy = self.save_strategy or self.eval_strategy or "epoch"
        self.eval_strategy = self.eval_strategy or "epoch"
        self.takes_warmup = self.lr_scheduler_type not in (SLANTED_TRIANGULAR, "constant")
        if self.load_best_model_at_end and self.eval_strategy in ("no", IntervalStrategy.NO):
            self.load_best_model_at_end = False
        # Without use_cpu, transformers refuses bf16 on a machine without a GPU, and CPU processes of a launcher.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if str(self.resume_from_checkpoint).lower() in ("false", "no"):
            self.resume_from_checkpoint = None
        given = [f.name for f in dataclasses.fields(self) if isinstance(getattr(self, f.name, None), float)]
        require(self, given, lambda value: not math.isnan(value), "a number")
        counts = ["per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"]
        counts += ["global_batch_size"]
        counts += ["generation_num_beams", "generation_max_length", "early_stopping_patience"]
        counts += ["eval_accumulation_steps", "torch_empty_cache_steps"]
        require(self, ["temperature"], lambda value: value > 0, "above 0")
        require(self, counts, lambda value: value >= 1, "1 or more")
        none_or_more = ["dataloader_num_workers", "save_total_limit", "eval_delay"]
        require(self, none_or_more, lambda value: value >= 0, "0 or more")
        require(self, ["eval_steps", "save_steps", "logging_steps"], lambda value: value > 0, "above 0")
        if unknown := [form for form in self.measure or () if form not in FORMS]:
            raise UserError(f"--measure takes {', '.join(FORMS)}, but not {unknown[0]!r}.")
        require(self, ["label_smoothing_factor"], lambda value: 0 <= value < 1, "0 or more and less than 1")
        require(self, ["eval_do_concat_batches"], bool, "true: metrics are computed over all rows at once")
        sizes = ["learning_rate", "num_train_epochs", "min_train_steps", "weight_decay", "nt_asgd_interval"]
        require(self, sizes, lambda value: 0 <= value < math.inf, "a finite number of 0 or more")
        most = 2**32 - 1  # the limit of numpy's generators
        require(self, ["seed", "data_seed"], lambda value: 0 <= value <= most, f"a whole number from 0 to {most}")
        nt_asgd = self.optim == NT_ASGD
        if nt_asgd and self.eval_strategy in ("no", IntervalStrategy.NO):
            raise UserError("--optim nt_asgd needs the validation loss: set --eval_strategy to steps or epoch.")
        self._check_schedule()
        self._check_find_lr()
        slanted = self.lr_scheduler_type == SLANTED_TRIANGULAR
        self.optim = OptimizerNames.SGD if nt_asgd else self.optim  # the parent accepts only its own names
        self.lr_scheduler_type = SchedulerType.CONSTANT if slanted else self.lr_scheduler_type
        super().__post_init__()
        self.optim = NT_ASGD if nt_asgd else self.optim
        self.lr_scheduler_type = SLANTED_TRIANGULAR if slanted else self.lr_scheduler_type
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type != "cpu"
        settle_global_batch(self)
        warn_of_missing_processes(self)

    def without_evaluation(self) -> Self:
        """A copy for a trainer beside that of the run, which neither evaluates nor saves."""
        own = copy.copy(self)
        own.eval_strategy, own.save_strategy = IntervalStrategy.NO, SaveStrategy.NO
        own.load_best_model_at_end = own.push_to_hub = False
        return own

    def _check_schedule(self) -> None:
        if self.lr_scheduler_type != SLANTED_TRIANGULAR:
            return
        require(self, ["cut_fraction"], lambda value: 0 <= value < 1, "0 or more and less than 1")
        require(self, ["lr_ratio"], lambda value: value >= 1, "1 or more")
        for name in ("warmup_steps", "lr_scheduler_kwargs"):
            if getattr(self, name):
                raise UserError(
                    f"--{name} does not apply to --lr_scheduler_type {SLANTED_TRIANGULAR}: set --cut_fraction and "
                    "--lr_ratio instead."
                )

    def _check_find_lr(self) -> None:
        if not 0 < self.find_lr_start < self.find_lr_end:
            raise UserError(
                f"--find_lr_start must be above 0 and below --find_lr_end, but they are {self.find_lr_start:g} and "
                f"{self.find_lr_end:g}."
            )
        require(self, ["find_lr_steps"], lambda value: value >= 10, "10 or more")


class Arguments(NamedTuple):
    """All arguments of one run."""

    data: DataArguments
    model: ModelArguments
    strategy: StrategyArguments
    run: RunArguments


class Request(Protocol):
    """All arguments of a verb that trains or evaluates, including `run`."""

    @property
    def run(self) -> RunArguments: ...

    def __iter__(self) -> Iterator[Any]: ...
