"""Load a pre-trained encoder whose token vectors are pooled as `--pooling` or its maker says."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.arguments import ModelArguments
from ..config.overrides import override_texts, parse_overrides
from ..errors import UserError, listing
from .names import loading, location_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_POOLED_TASKS = ("text-classification", "regression")
_OWN_FIELDS = ("pooling", "normalize", "classifier_dropout")
_KINDS = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean", "max": "max", "max_tokens": "max"}
_KINDS |= {"lasttoken": "last"}  # names of sentence-transformers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pooling:
    """How token vectors become one vector: `kind` of `PooledEncoderConfig.pooling`, and whether it is normalised."""

    kind: str
    normalize: bool = False


def check_pooling(arguments: ModelArguments, task: str) -> None:
    """Raise `UserError` if `--pooling` does not apply to the task, or to an architecture from scratch."""
    if arguments.pooling == "auto":
        return
    if task not in _POOLED_TASKS:
        raise UserError(
            f"--pooling {arguments.pooling} makes one vector of a text, but --task {task} does not predict from one: "
            f"leave it out, or use --task {' or '.join(_POOLED_TASKS)}."
        )
    if arguments.model_type:
        raise UserError(
            f"--pooling is for checkpoints, but --model_type {arguments.model_type!r} starts from random weights. The "
            f"families rnn and self_attention have a field for it: use --config_overrides pooling={arguments.pooling}."
        )


def pooling_of(arguments: ModelArguments, config: PreTrainedConfig, default: str = "auto") -> Pooling | None:
    """How the token vectors of a checkpoint are pooled, or None if it keeps the head of its own architecture.

    Args:
        config: the configuration of the checkpoint.
        default: the kind of pooling if neither the user nor the checkpoint says one; "auto" keeps its own head.

    Raises:
        UserError: the checkpoint cannot be pooled, or not in the requested way.
    """
    from ..models.strict_config import StrictConfig

    if isinstance(config, StrictConfig):  # a family of the toolkit pools by itself
        return None
    asked: str = arguments.pooling
    own = _of_sentence_transformers(arguments, asked)
    if asked == "auto" and own is None:
        asked = default
    found = own if asked == "auto" else replace(own or Pooling(asked), kind=asked)
    if found is not None and (obstacle := _obstacle(config)) is not None:
        what = f"The token vectors of {arguments.model_name_or_path!r} cannot be pooled: {obstacle}"
        if arguments.pooling != "auto":
            raise UserError(f"{what}. Leave out --pooling to use the head of its own architecture.")
        logger.warning("%s. The head of its own architecture is used.", what)
        return None
    return found


def with_pooling_field(arguments: ModelArguments, config: PreTrainedConfig, default: str = "auto") -> ModelArguments:
    """The arguments with `--pooling` as an override of the field `pooling`, for a checkpoint of a family with one.

    Args:
        default: the kind of pooling of a language model, which does not say one, if the user does not either.

    Raises:
        UserError: the family has no such field.
    """
    pooling: str = arguments.pooling
    given = arguments.config_overrides
    if pooling == "auto" and hasattr(config, "pooling") and not (given and "pooling" in override_texts(given)):
        is_language_model = any(name.endswith("LM") for name in config.architectures or ())
        pooling = default if is_language_model else pooling
    if pooling == "auto":
        return arguments
    if not hasattr(config, "pooling"):
        raise UserError(
            f"--pooling {pooling} cannot be applied to {arguments.model_name_or_path!r}, because models of "
            f"the family {config.model_type} always pool in the same way: leave it out."
        )
    overrides = [*filter(None, [given]), f"pooling={pooling}"]
    return replace(arguments, config_overrides=",".join(overrides))


def load_pooled_encoder(
    arguments: ModelArguments, config: PreTrainedConfig, pooling: Pooling, head: dict[str, Any], **loaded_as: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a checkpoint as a `PooledEncoderForSequenceClassification`, and transformers' report of its loading.

    Args:
        config: the configuration of the checkpoint, which `--config_overrides` may change.
        head: settings of the labels.
        loaded_as: further arguments of `from_pretrained`.

    Raises:
        UserError: the checkpoint has no token vectors, or an override is wrong.
    """
    from transformers import AutoModel

    from ..models import PooledEncoderConfig, PooledEncoderForSequenceClassification
    from ..models.modeling_pooled_encoder import without_pooler

    own, of_encoder = _parted(arguments.config_overrides)
    for key, value in parse_overrides(of_encoder, type(config)).items():
        setattr(config, key, value)
    settings = {"pooling": pooling.kind, "normalize": pooling.normalize, **parse_overrides(own, PooledEncoderConfig)}
    name = arguments.model_name_or_path
    what = f"the encoder of the checkpoint {name!r} (--model_name_or_path)"
    with _no_reports():
        encoder, report = loading(
            lambda: AutoModel.from_pretrained(
                location_of(name), config=config, output_loading_info=True, **without_pooler(config), **loaded_as
            ),
            what,
            name,
        )
        loading(lambda: _check_vectors(encoder), what)
        encoder.config.name_or_path = ""  # would be saved
        pooled = loading(lambda: PooledEncoderConfig(encoder_config=encoder.config, **settings, **head), what)
        model = PooledEncoderForSequenceClassification.from_pretrained(
            None,
            config=pooled,
            dtype=encoder.dtype,
            state_dict={f"model.encoder.{name}": weight for name, weight in encoder.state_dict().items()},
        )
    model.name_or_path = model.config.name_or_path = ""  # where peft would look for a model of this architecture
    # A pooling layer that the architecture always has, but nothing reads.
    missing = [f"model.encoder.{weight}" for weight in report["missing_keys"] if "pooler." not in weight]
    return model, {"missing_keys": missing, "mismatched_keys": []}


def _parted(overrides: str | None) -> tuple[str, str]:
    """The overrides of the pooled model's own fields, and those of its encoder's."""
    texts = [(key, f"{key}={value}") for key, value in override_texts(overrides).items()] if overrides else []
    own = [text for key, text in texts if key in _OWN_FIELDS]
    return ",".join(own), ",".join(text for key, text in texts if key not in _OWN_FIELDS)


def _check_vectors(encoder: PreTrainedModel) -> None:
    """Raise `ValueError` unless the encoder returns a vector of its hidden size for each token."""
    import torch

    with torch.no_grad():
        outputs = encoder(input_ids=torch.zeros((1, 1), dtype=torch.long, device=encoder.device))
    size, vectors = encoder.config.get_text_config().hidden_size, getattr(outputs, "last_hidden_state", None)
    if vectors is None or tuple(vectors.shape) != (1, 1, size):
        raise ValueError(f"A {type(encoder).__name__} does not return one vector of {size} features for each token.")


@contextmanager
def _no_reports() -> Iterator[None]:
    """Hide transformers' report that the encoder's own pooling layer is not used and the classifier is new."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _obstacle(config: PreTrainedConfig) -> str | None:
    """The reason why the token vectors of a checkpoint cannot be pooled, if any."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    if config.is_encoder_decoder:
        return f"{config.model_type} is an encoder-decoder"
    if type(config) not in MODEL_MAPPING:
        return f"{config.model_type} is not an encoder of transformers, and a saved model could not contain its code"
    return None


def _of_sentence_transformers(arguments: ModelArguments, asked: str) -> Pooling | None:
    """The pooling in the modules of a sentence-transformers folder; None for other checkpoints.

    Raises:
        UserError: the files are damaged, or nothing else is `asked` and the kind is not supported.
    """
    modules = _json_of(arguments, "modules.json")
    if not isinstance(modules, list):
        return None
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if "Pooling" not in kinds:
        return None
    place = kinds.index("Pooling")
    settings = _json_of(arguments, f"{modules[place].get('path')}/config.json") or {}
    further = [kind for kind in kinds[place + 1 :] if kind != "Normalize"]
    if further:
        logger.warning("The modules after the pooling of %r are not used: %s.", arguments.model_name_or_path, further)
    given = settings.get("pooling_mode") or [
        key.removeprefix("pooling_mode_") for key, on in settings.items() if key.startswith("pooling_mode_") and on
    ]
    modes = [given] if isinstance(given, str) else list(given) or ["mean"]  # the default of sentence-transformers
    if asked == "auto" and (len(modes) > 1 or modes[0] not in _KINDS):
        raise UserError(
            f"The checkpoint {arguments.model_name_or_path!r} pools by {listing(modes)}, which the toolkit cannot do: "
            "set --pooling to mean, cls, last or max."
        )
    return Pooling(_KINDS.get(modes[0], asked), "Normalize" in kinds)


def _json_of(arguments: ModelArguments, file: str) -> Any:
    """The content of a small file of a checkpoint; None if it has no such file."""
    from huggingface_hub import try_to_load_from_cache
    from transformers.utils import cached_file

    name, revision = arguments.model_name_or_path, arguments.model_revision
    location = location_of(name)
    path = cached_file(
        location,
        file,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        known = Path(location).is_dir() or try_to_load_from_cache(location, file, revision=revision) is not None
        if not known:
            logger.warning(
                "Whether %r has the file %s, which says how to pool its token vectors, could not be checked without "
                "the Hub: it is assumed to have none. Set --pooling to be sure.", name, file,
            )  # fmt: skip
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"The file {file!r} of the checkpoint {name!r} is not valid JSON: {error}.") from error
