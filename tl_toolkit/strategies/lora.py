"""Low-rank adaptation through peft."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .base import Strategy
from .layer_groups import head_parameters

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_RECURRENT_WEIGHTS = ("weight_ih", "weight_hh", "weight_hr")


class Lora(Strategy):
    """Adds `B A` of rank r to frozen matrices and trains only those and the head (Hu et al. 2022, equation 3).

    Every linear layer of the body is adapted, attention projections included, and the input-to-hidden and
    hidden-to-hidden matrices of recurrent layers. The adapter is saved in `adapter/`; the model folder itself holds the
    merged weights, which any reader loads without peft.
    """

    name = "lora"
    wraps = True
    learning_rate = 5e-4
    epochs = 5.0

    def prepare(self, model: PreTrainedModel) -> nn.Module:
        import peft

        head = head_parameters(model)
        modules, parameters = _targets(model, head)
        if not modules and not parameters:
            raise UserError(
                f"The strategy 'lora' adapts linear and recurrent layers, but the body of {type(model).__name__} has "
                "none. Use the strategy 'full' or 'frozen'."
            )
        if parameters and self.arguments.lora_dropout:
            raise UserError(
                f"--lora_dropout {self.arguments.lora_dropout} cannot be applied to the recurrent weights of "
                f"{type(model).__name__}, because a fused kernel reads them. Use --lora_dropout 0."
            )
        return peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=self.arguments.lora_r,
                lora_alpha=self.arguments.lora_alpha,
                lora_dropout=self.arguments.lora_dropout,
                target_modules=modules or [],
                target_parameters=parameters or None,
                modules_to_save=_modules_of(model, head),
            ),
        )

    def finish(self, model: Any, output_dir: Path) -> PreTrainedModel:
        config = model.peft_config["default"]
        if Path(str(config.base_model_name_or_path)).exists():
            # A folder of this machine means nothing elsewhere; peft would take it from the model again.
            config.base_model_name_or_path = None
            model.get_base_model().name_or_path = None
        model.save_pretrained(output_dir / "adapter")
        return model.merge_and_unload()

    def record(self) -> dict[str, Any]:
        return {"name": self.name, "r": self.arguments.lora_r, "alpha": self.arguments.lora_alpha}


def _targets(model: PreTrainedModel, head: set[str]) -> tuple[list[str], list[str]]:
    """Names of the body's linear modules, and of its recurrent weight matrices."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    modules, parameters = [], []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)) and f"{name}.weight" not in head:
            modules.append(name)
        elif isinstance(module, nn.RNNBase):
            for own, weight in module.named_parameters(recurse=False):
                # What the family itself keeps fixed, such as the identity in front of one-hot input, stays fixed.
                if own.startswith(_RECURRENT_WEIGHTS) and weight.requires_grad and f"{name}.{own}" not in head:
                    parameters.append(f"{name}.{own}")
    return modules, parameters


def _modules_of(model: PreTrainedModel, parameters: set[str]) -> list[str]:
    """The outermost modules all of whose parameters are among `parameters`: what peft trains and saves whole."""
    whole = [
        name
        for name, module in model.named_modules()
        if name and (own := [f"{name}.{p}" for p, _ in module.named_parameters()]) and parameters.issuperset(own)
    ]
    return [name for name in whole if not any(name.startswith(f"{outer}.") for outer in whole)]
