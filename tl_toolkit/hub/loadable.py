"""Load a model folder as somebody who downloads it would, and refuse what cannot work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..config.arguments import ModelArguments
from ..deployment.folder import GRAPH, is_exported
from ..errors import UserError
from ..loading.model import load_config
from ..loading.names import loading
from ..loading.tokenizer import load_tokenizer

_MOST_BYTES = 4 * 10**9  # of weights that are loaded; larger ones are only checked for their size


def check_loads(folder: Path) -> None:
    """Load the model and the tokenizer in `folder`, without running code that is in it.

    Raises:
        UserError: they cannot be loaded or do not fit together, a weight is missing, has another shape or is not
            finite, or a model that reads tokens has no tokenizer.
    """
    import torch
    import transformers
    from transformers.utils import logging

    import tl_toolkit

    if is_exported(folder):
        from ..deployment.writers import load_graphs

        load_graphs(folder / GRAPH, load_config(ModelArguments(model_name_or_path=str(folder))))
        return
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (name,) = (config.get("architectures") or [""])[:1]
    kind: Any = getattr(transformers, name, None) or (hasattr(tl_toolkit, name) and getattr(tl_toolkit, name))
    if not kind or sum(path.stat().st_size for path in folder.glob("*.safetensors")) > _MOST_BYTES:
        return
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what it warns of is an error here
    try:
        model, report = loading(
            lambda: kind.from_pretrained(folder, ignore_mismatched_sizes=True, output_loading_info=True),
            f"the model in {str(folder)!r}",
        )
    finally:
        logging.set_verbosity(verbosity)
    problems = [f"{key} is missing" for key in sorted(report["missing_keys"])]
    problems += [f"{entry[0]} has another shape than config.json says" for entry in report["mismatched_keys"]]
    problems += [f"{key} has values that are not finite" for key, weight in model.state_dict().items()
                 if weight.is_floating_point() and not torch.isfinite(weight).all()]  # fmt: skip
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(
            f"The weights in {str(folder)!r} cannot be published: {problems[0]}{more}. Train or save the model again."
        )
    embeddings = model.get_input_embeddings() if _reads_tokens(model) else None
    if not isinstance(embeddings, torch.nn.Embedding):
        return
    if not any((folder / name).is_file() for name in ("tokenizer_config.json", "tokenizer.json", "vocab.txt")):
        raise UserError(
            f"The folder {str(folder)!r} has no tokenizer, so nobody could use the model. Save it there: "
            "tokenizer.save_pretrained(folder)."
        )
    tokens = len(load_tokenizer(ModelArguments(model_name_or_path=str(folder))))
    if tokens > embeddings.num_embeddings:
        raise UserError(
            f"The tokenizer in {str(folder)!r} has {tokens:,} tokens, but the model has embeddings for "
            f"{embeddings.num_embeddings:,}: it belongs to another model."
        )


def _reads_tokens(model: Any) -> bool:
    return getattr(model, "main_input_name", "input_ids") == "input_ids"
