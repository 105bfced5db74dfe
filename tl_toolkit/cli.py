"""The command `tl-toolkit VERB`, and how it exits.

The exit code is 0; 2 after one paragraph about what the user can correct; 130 after Ctrl-C, 143 after SIGTERM and 129
after SIGHUP; 1 for a bug of the toolkit. A verb is a function below: the first line of its docstring is its line in the
list of verbs, the docstring its help.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import inspect
import os
import platform
import re
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from . import __version__
from .errors import ISSUES, STOPS, TRACEBACK, UserError, as_user_error, nearest, without_tokens

if TYPE_CHECKING:
    from .config.help import Help

    Run = Callable[[list[str], Help], None]

PATIENCE_SECONDS = 30  # for the first process to meet, import times included, what another has met already


class Verb(NamedTuple):
    """What the command can do.

    Attributes:
        run: parses a command line with the given help, runs, and prints the outcome.
        main_flag: the flag that the first argument stands for.
        common: the flags that `--help` explains.
        resuming: how to continue after Ctrl-C.
    """

    run: Run
    main_flag: str | None
    common: list[str]
    resuming: str

    @property
    def description(self) -> str:
        return inspect.cleandoc(self.run.__doc__ or "")


VERBS: dict[str, Verb] = {}

_DATA = "dataset_name text_column text_pair_column label_column"
_MODEL = "model_name_or_path model_type config_overrides tokenizer_name"
_TRAINING = (
    "strategy per_device_train_batch_size learning_rate num_train_epochs output_dir seed use_cpu bf16 "
    "resume_from_checkpoint config help_all"
)


def _verb(main_flag: str | None, common: str, resuming: str = "") -> Callable[[Run], None]:
    def register(run: Run) -> None:
        VERBS[run.__name__.strip("_")] = Verb(run, main_flag, common.split(), resuming)

    return register


_RESUME_TRAINING = "Run the same command with --resume_from_checkpoint to resume from the last checkpoint."


@_verb(
    "dataset_name",
    f"task {_DATA} label_budget validation_budget max_length {_MODEL} "
    f"{_TRAINING} early_stopping_patience find_lr push_to_hub",
    _RESUME_TRAINING,
)
def _finetune(argv: list[str], help: Help) -> None:
    """Train a model on labelled data, from scratch or from a checkpoint, and evaluate it.

        tl-toolkit finetune reviews.csv --model_type rnn --output_dir outputs/lstm
        tl-toolkit finetune reviews.csv --model_name_or_path distilbert/distilbert-base-uncased \\
            --strategy lora --output_dir outputs/distilbert

    --output_dir then holds a model folder that from_pretrained loads, the predictions on the validation and test rows,
    and result.json with metrics and costs.
    """
    from .config.parsing import parse_arguments

    arguments = parse_arguments(argv, help)

    from .workflows.finetune import finetune
    from .workflows.summary import print_summary

    record = finetune(arguments)
    if arguments.run.process_index == 0 and not arguments.run.find_lr:
        print_summary(record, arguments.run.output_dir)


@_verb(
    "dataset_name",
    f"task dataset_name text_column {_MODEL} {_TRAINING} window_length block_size max_train_tokens push_to_hub",
    _RESUME_TRAINING,
)
def _pretrain(argv: list[str], help: Help) -> None:
    """Train a language model on texts, from scratch or from a checkpoint, and evaluate it.

        tl-toolkit pretrain texts.txt --model_type awd_lstm --output_dir outputs/lm
        tl-toolkit pretrain --config pretrain_wiki.yaml --output_dir outputs/wiki

    Recurrent models read one stream of text and carry their state along; other causal models read blocks of it, and
    encoders fill in masked tokens. --output_dir then holds a model folder that finetune loads, and result.json.
    """
    from .config.pretrain_arguments import parse_pretrain_arguments

    arguments = parse_pretrain_arguments(argv, help)

    from .workflows.pretrain import pretrain
    from .workflows.summary import print_language_model_summary

    record = pretrain(arguments)
    if arguments.run.process_index == 0 and not arguments.run.find_lr:
        print_language_model_summary(record, arguments.run.output_dir)


@_verb(
    "model_name_or_path",
    f"scores threshold min_confidence split {_DATA} max_length model_name_or_path trust_remote_code "
    "per_device_eval_batch_size output_dir use_cpu config help_all",
)
def _predict(argv: list[str], help: Help) -> None:
    """Predict with a trained model, and evaluate it if the dataset has labels.

        tl-toolkit predict outputs/lstm --dataset_name new.csv --output_dir outputs/predictions
        cat new.csv | tl-toolkit predict outputs/lstm --dataset_name - > predicted.csv

    A csv, tsv, jsonl or parquet file is given back in --output_dir (predictions.csv) with the columns prediction and
    confidence, and is read in constant memory. The folder also holds predictions.parquet and, if there are labels,
    metrics.json. Labels are matched with those of the model by name.
    """
    from .workflows.predict import parse_predict_arguments, write_predictions

    arguments = parse_predict_arguments(argv, help)
    written = write_predictions(arguments)

    from .workflows.summary import print_predictions

    if arguments.run.process_index == 0:
        print_predictions(written, arguments)


@_verb(
    "model_name_or_path",
    "model_name_or_path text text_file image source_prefix max_new_tokens num_beams num_return_sequences do_sample "
    "temperature top_k top_p repetition_penalty seed attention_map json use_cpu config help_all",
)
def _generate(argv: list[str], help: Help) -> None:
    """Generate text: language models continue a text, encoder-decoders translate it, captioners describe an image.

        tl-toolkit generate outputs/dates --text "the 3rd of March, 2001" --attention_map dates.png
        tl-toolkit generate outputs/lm --text "The model" --do_sample --top_p 0.9 --json

    Tokens are chosen as by the generate method of transformers, with flags of the same names. Texts come from --text,
    which can be repeated, from --text_file, or from standard input, one on each line.
    """
    import json

    from .workflows.generate import generate, parse_generate_arguments

    arguments = parse_generate_arguments(argv, help)
    for result in generate(arguments):
        shown = json.dumps(result._asdict(), ensure_ascii=False) if arguments.json else result.generated
        print(shown, flush=True)


@_verb(None, f"forward backward {_DATA} output_dir overwrite_output_dir use_cpu config help_all")
def _ensemble(argv: list[str], help: Help) -> None:
    """Join a forward and a backward classifier into one model that averages their probabilities.

        tl-toolkit ensemble --forward outputs/imdb_forward --backward outputs/imdb_backward --output_dir outputs/imdb

    Both members are awd_lstm classifiers of the same sizes, labels and tokenizer. Nothing is trained: they and the
    ensemble are evaluated on the rows in the forward member's record, unless flags name others. --output_dir then holds
    a model folder that from_pretrained and pipeline load, its predictions, and result.json.
    """
    from .workflows.ensemble import ensemble, parse_ensemble_arguments
    from .workflows.summary import print_ensemble_summary

    request = parse_ensemble_arguments(argv, help)
    record = ensemble(request)
    if request.run.process_index == 0:
        print_ensemble_summary(record, request.run.output_dir)


@_verb(
    "dataset_name",
    "entries models label_budgets seeds margin dry_run from_results task dataset_name text_column label_column "
    "output_dir config help_all",
    "Run the same command to resume.",
)
def _compare(argv: list[str], help: Help) -> None:
    """Compare models and strategies over label budgets and seeds, and report what they are worth.

        tl-toolkit compare reviews.csv --label_budgets 100 500 all --output_dir outputs/reviews
        tl-toolkit compare --config demo.yaml --output_dir outputs/demo --dry_run
        tl-toolkit compare --from_results outputs/demo outputs/more --output_dir outputs/all

    --config names a grid, whose `entries` are compared over `label_budgets` and `seeds`; without it, compare.yaml is
    used. The same command resumes, and trains only what is missing; --settle adds seeds that the report asks for.
    --output_dir then holds report.html, report.md, decision.json, results.jsonl, figures, and a folder for each run.
    """
    from .comparison.arguments import parse_compare_arguments

    arguments = parse_compare_arguments(argv, help)

    from .workflows.compare import compare
    from .workflows.summary import verdict_of

    report = compare(arguments)
    if report is not None:
        print(f"\n{verdict_of(report.parent)}\n\nThe report: {report.resolve()}")


@_verb(
    "dataset_name",
    "minutes entries models label_budgets seeds dry_run task dataset_name text_column label_column output_dir "
    "use_cpu bf16 config help_all",
    "Run the same command to continue.",
)
def _decide(argv: list[str], help: Help) -> None:
    """Find the model for your labelled texts within some minutes, and train it on all of them.

        tl-toolkit decide reviews.csv --minutes 10
        tl-toolkit decide reviews.csv --minutes 10 --dry_run

    Finds the columns, measures on this machine what each model of a ladder costs, and compares those that fit in the
    time, the cheapest and most informative first. The same command continues, and with more --minutes adds runs.
    --output_dir (outputs/decision) then holds model/, trained on all labels, for tl-toolkit predict; report.html,
    decision.json, suspicious_labels.csv, and the runs.
    """
    began = time.monotonic()
    from .comparison.arguments import parse_decide_arguments
    from .shared_work import sharing
    from .workflows.decide import decide

    with sharing():
        report = decide(parse_decide_arguments(argv, help), began)

    from .workflows.summary import verdict_of

    if report is not None:
        print(f"\n{verdict_of(report.parent)}\n\nThe report: {report.resolve()}")


@_verb(None, "source target weights vocab direction model_name_or_path output_dir config help_all")
def _convert(argv: list[str], help: Help) -> None:
    """Convert other libraries' weights to a model of the toolkit, or a model of the toolkit to fastai's.

        tl-toolkit convert --source fastai --weights lstm_fwd.pth --vocab itos_wt103.pkl --output_dir models/wt103
        tl-toolkit convert --source flair --weights news-forward-fast.pt --output_dir models/news
        tl-toolkit convert --target fastai --model_name_or_path outputs/imdb --output_dir outputs/imdb_fastai

    The first two leave a folder that finetune and pretrain start from (--model_name_or_path); the last one leaves
    weights.pth and vocab.pkl, which fastai loads. No code that a file contains is executed.
    """
    from .workflows.convert import convert, parse_convert_arguments

    for path in convert(parse_convert_arguments(argv, help)):
        print(path)


@_verb(
    "model_name_or_path",
    f"format quantize measure check_rows model_name_or_path {_DATA} output_dir config help_all",
)
def _export(argv: list[str], help: Help) -> None:
    """Export a trained model to ONNX, checked, to run without PyTorch.

        tl-toolkit export outputs/lstm --output_dir outputs/lstm_onnx
        tl-toolkit export outputs/minilm --quantize int8 --measure pytorch onnx int8 --output_dir outputs/minilm_int8

    The graph is compared with the model at other batch sizes and lengths and on the test rows, those of the model's
    record unless --dataset_name is given; nothing is written if they differ. --output_dir then holds model.onnx, the
    tokenizer, a model card with scores and costs, and run.py, which needs onnxruntime, tokenizers and numpy.
    tl-toolkit predict and publish take the folder.
    """
    from .workflows.export import export, parse_export_arguments

    arguments = parse_export_arguments(argv, help)
    facts = export(arguments)

    from .workflows.summary import print_export

    print_export(facts, arguments.run.output_dir)


@_verb(
    "model_name_or_path",
    "model_name_or_path from_results text dataset_name text_column split rows views word senses vectors untrained "
    "output_dir trust_remote_code config help_all",
)
def _explain(argv: list[str], help: Help) -> None:
    """Look inside models: how far gradients reach back, what gates keep, which words decide, what context adds.

        tl-toolkit explain --model_name_or_path outputs/elman outputs/lstm --untrained --text "a film that …" \\
            --output_dir outputs/inside
        tl-toolkit explain --model_name_or_path outputs/lstm outputs/minilm --dataset_name reviews.csv \\
            --output_dir outputs/inside
        tl-toolkit explain --views context --model_name_or_path builtin:minilm --word apple --text "an apple a day" \\
            "apple makes phones" --output_dir outputs/apple
        tl-toolkit explain --from_results outputs/comparison
        tl-toolkit explain --views memory --from_results outputs/recall --output_dir outputs/memory
        tl-toolkit explain --views by_hand --output_dir outputs/by_hand

    --output_dir then holds explain.html, its pictures as PNG and SVG in figures/, and the numbers as parquet files.
    Without --views, those that fit the models are chosen, and context with --word.
    """
    from .workflows.explain import explain, parse_explain_arguments

    found = explain(parse_explain_arguments(argv, help))
    for entry, own in found.entries.items():
        print(f"{entry}: {getattr(own, 'page', own)}")
    for name, said in found.sentences.items():
        print(f"{name}: {' '.join(said)}\n")
    print(f"The page: {found.page.resolve()}")


@_verb(
    "folder",
    "folder repo_id repo_type private revision create_pr dry_run merge include commit_message timeout license language "
    "base_model comparison texts space_sdk model config help_all",
    "Run the same command to resume: what was sent already is not sent again.",
)
def _publish(argv: list[str], help: Help) -> None:
    """Publish a model, or a comparison, on the Hugging Face Hub.

        tl-toolkit publish outputs/sst2 --repo_id user/sst2-bilstm --dry_run
        tl-toolkit publish outputs/sst2 --repo_id user/sst2-bilstm --private
        tl-toolkit publish outputs/demo --repo_id user/demo-report --repo_type dataset
        tl-toolkit publish outputs/demo --repo_id user/demo --repo_type space --space_sdk gradio

    The first line loads the model, shows its card and every file with its size, and sends nothing. The repository
    loads with from_pretrained and pipeline where the toolkit is not installed: it holds the weights, the
    configuration, the tokenizer, the code of the toolkit's own families, a model card, and the result record without
    paths of this machine. The token is that of HF_TOKEN, or of `hf auth login`. The last two lines publish a
    comparison: its records and report, or a page on which all of its models answer.
    """
    from .comparison.publishing.arguments import parse_comparison_arguments
    from .workflows.publish import publish

    publish(parse_comparison_arguments(argv, help))


def main(verb: str | None = None) -> None:
    """Run the verb, by default the first argument of the command line, with the arguments that follow it."""
    argv = sys.argv[1:]
    if verb is None:
        if not argv or argv[0] in ("-h", "--help"):
            print(_overview())
            return
        if argv[0] == "--version":
            print(f"tl-toolkit {__version__}")
            return
        verb, argv = argv[0], argv[1:]
    atexit.register(gc.freeze)  # else the interpreter collects everything once more before it ends, for a second
    exit_cleanly(lambda: _run(verb, argv), VERBS[verb].resuming if verb in VERBS else "")


def _run(name: str, argv: list[str]) -> None:
    if name == "configs":
        _configs(argv)
        return
    if name not in VERBS:
        known = [*VERBS, "configs"]
        raise UserError(f"There is no verb {name!r}.{nearest(name, known)} The verbs are {', '.join(known)}.")
    from .config.help import Help

    verb = VERBS[name]
    verb.run(argv, Help(name, verb.description, verb.main_flag, verb.common))


def _configs(argv: list[str]) -> None:
    """List the configurations that come with the toolkit, or print the path of one."""
    from .config.shipped import describe_configs

    if argv and argv[0].startswith("-"):
        print(f"usage: tl-toolkit configs [NAME]\n\n{inspect.cleandoc(_configs.__doc__ or '')}")
        return
    print("\n".join(map(describe_configs, argv)) if argv else describe_configs())


def _overview() -> str:
    lines = {name: verb.description.splitlines()[0] for name, verb in VERBS.items()}
    lines["configs"] = inspect.cleandoc(_configs.__doc__ or "")
    return "\n".join(
        [
            "usage: tl-toolkit VERB [ARGUMENT] [--config FILE] [--flag value ...]",
            "",
            "Do I need a pre-trained transformer, or is a small recurrent model trained from scratch enough?",
            "",
            *(f"  {name:<9} {line}" for name, line in lines.items()),
            "",
            "tl-toolkit VERB --help shows the flags of a verb. On several processes or GPUs:",
            "accelerate launch -m tl_toolkit VERB ...",
        ]
    )


def exit_cleanly(run: Callable[[], None], resuming: str = "") -> None:
    """Call `run`. Errors that the user can correct are printed as one paragraph, by one process; the exit code is 2.

    After Ctrl-C, SIGTERM or SIGHUP one process prints the message of the interrupt and `resuming`; the exit code is
    that of shells. Any other error is a bug: its traceback is printed with where to report it; the exit code is 1.
    """
    stopped_by: list[int] = []
    try:
        with _stopping_on_signals(stopped_by):
            run()
    except KeyboardInterrupt as stop:
        if int(os.environ.get("RANK", "0")) == 0:
            said = " ".join(part for part in ("Stopped.", str(stop), resuming) if part)
            _print(f"\n{said}")
        _leave(128 + (stopped_by[0] if stopped_by else signal.SIGINT))
    except BrokenPipeError:  # a reader such as `head` has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python can flush it on exit
        _leave(1)
    except STOPS:
        raise
    except BaseException as error:  # also panics of compiled code
        explained = as_user_error(error)
        if explained is None or os.environ.get(TRACEBACK):
            _print(without_tokens("".join(traceback.format_exception(error))))
        if explained is None:
            _print(_paragraph(f"This is a bug of tl-toolkit. Report it at {ISSUES} with the lines above, the command, "
                              f"and these versions: {_versions()}."))  # fmt: skip
            _leave(1)
            return
        if not explained.everywhere:
            _let_the_first_speak()
        _print(f"\n{_paragraph(f'error: {without_tokens(str(explained))}')}")
        if explained.command:  # never broken into lines, so that it can be copied
            _print(f"    {explained.command}")
        _leave(2)


@contextlib.contextmanager
def _stopping_on_signals(stopped_by: list[int]) -> Iterator[None]:
    """Within this context, let SIGTERM and SIGHUP stop this process like Ctrl-C, unless they are ignored (nohup)."""

    def stop(number: int, frame: Any) -> None:
        if not stopped_by:  # only once: what follows are clean-ups
            stopped_by.append(number)
            raise KeyboardInterrupt

    named = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    is_main = threading.current_thread() is threading.main_thread()
    mine = [number for number in named if is_main and number and signal.getsignal(number) == signal.SIG_DFL]
    for number in mine:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _print(text: str) -> None:
    """Print to the standard error stream, in whatever encoding it has."""
    encoding = sys.stderr.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = [f"tl-toolkit {__version__}", f"Python {platform.python_version()}", platform.platform()]
    for name in ("torch", "transformers", "datasets", "accelerate", "peft"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


def _let_the_first_speak() -> None:
    """In all processes but the first, wait to be stopped, as launchers do when one process has exited.

    Exiting earlier would have the launcher stop the first process, maybe before it has printed the error. A process
    that is still there after the wait has met something that the first has not, and prints it itself.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        time.sleep(PATIENCE_SECONDS)


def _leave(code: int) -> None:
    """Exit at once if other processes run beside this one: a clean-up that waits for them might never end."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _paragraph(text: str) -> str:
    """`text` in lines of the terminal's width. Commands in backticks are not broken, so that they can be copied."""
    text = re.sub(r"[^\s`]{400,}", lambda word: f"{word[0][:100]} …", text)
    whole = re.sub("`[^`]+`", lambda command: command[0].replace(" ", "\0"), text)
    lines = textwrap.fill(whole, min(100, _columns()), break_long_words=False, break_on_hyphens=False)
    return lines.replace("\0", " ")


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 100
