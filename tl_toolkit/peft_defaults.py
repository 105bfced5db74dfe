"""What peft adapts in the model families if its configuration does not say.

Imported as soon as peft is, which may be while transformers imports its trainer: what needs that is imported later.
"""

from __future__ import annotations

import warnings
from functools import wraps
from typing import Any

from peft import PeftType, TaskType
from peft.tuners.tuners_utils import BaseTuner
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
)
from torch import nn

from .models import FAMILIES

TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING["self_attention"] = ["key", "value", "feed_forward.output"]
TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING["self_attention"] = ["feed_forward.output"]
_FAMILIES = {family.model_type for family in FAMILIES}


def complete(tuner: BaseTuner, config: Any) -> None:
    """Set what `config` leaves open: the targets of LoRA and IA3, and the heads that are trained whole.

    peft's tables only list names of modules. It adapts the weights of recurrent layers if they are named as
    `target_parameters`, which are therefore taken from the model. LoRA adapts what `--strategy lora` does.

    Raises:
        ValueError: IA3, which rescales the outputs of linear layers, for a body without linear layers.
    """
    model: Any = tuner.model
    if isinstance(config.target_modules, str) and config.target_modules.lower() == "all-linear":
        _warn_of_frozen_layers(model, config)
    if getattr(getattr(model, "config", None), "model_type", None) not in _FAMILIES:
        return
    from .strategies.layer_groups import head_parameters
    from .strategies.lora import modules_of, targets

    head = head_parameters(model)
    if config.task_type in (TaskType.SEQ_CLS, TaskType.TOKEN_CLS):  # peft only knows a "classifier" and a "score"
        config.modules_to_save = list(dict.fromkeys([*(config.modules_to_save or []), *modules_of(model, head)]))
    if config.target_modules is not None or getattr(config, "target_parameters", None):
        return
    first = next((other for other in tuner.peft_config.values() if other.peft_type == config.peft_type), config)
    if first is not config:  # later adapters must have the targets of the first one
        for name in ("target_modules", "target_parameters", "feedforward_modules"):
            if hasattr(first, name):
                setattr(config, name, getattr(first, name))
    elif config.peft_type == PeftType.LORA:
        modules, parameters = targets(model, head)
        config.target_modules, config.target_parameters = modules, parameters or None
    elif config.peft_type == PeftType.IA3:
        encoder = getattr(model.config, "encoder_config", model.config)  # of a pooled encoder
        modules = TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(encoder.model_type) or targets(model, head)[0]
        if not modules:
            raise ValueError(
                f"IA3 rescales the outputs of linear layers, but the body of {type(model).__name__} has none. Use "
                "LoraConfig, which adapts the recurrent weights."
            )
        feedforward = TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(encoder.model_type, [])
        config.target_modules, config.feedforward_modules = set(modules), set(feedforward)


def _warn_of_frozen_layers(model: nn.Module, config: Any) -> None:
    recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    if recurrent and not getattr(config, "target_parameters", None):
        frozen = sum(parameter.numel() for module in recurrent for parameter in module.parameters())
        warnings.warn(
            f"target_modules='all-linear' leaves the recurrent layers of {type(model).__name__} frozen ({frozen:,} "
            "parameters), because they are not linear layers. Leave target_modules out, and LoRA adapts both.",
            stacklevel=2,
        )


def _completing(check: Any) -> Any:
    @wraps(check)
    def check_and_complete(tuner: BaseTuner, config: Any) -> None:
        check(tuner, config)
        complete(tuner, config)

    return check_and_complete


# The first step of adding an adapter that has both its configuration and the model.
BaseTuner._check_new_adapter_config = _completing(BaseTuner._check_new_adapter_config)
