"""Low-rank adaptation with peft."""

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
    """Adds `B A` of rank r to frozen matrices and trains only A, B and the head (Hu et al. 2022, equation 3).

    All linear layers of the body are adapted, including attention projections, and the input-to-hidden and
    hidden-to-hidden matrices of recurrent layers. The adapter is saved in `adapter/`. The model folder contains the
    merged weights, which can be loaded without peft.
    """

    name = "lora"
    wraps = True

    def prepare(self, model: PreTrainedModel) -> nn.Module:
        import peft

        head = head_parameters(model)
        modules, parameters = targets(model, head)
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
                modules_to_save=modules_of(model, head),
            ),
        )

    def finish(self, model: Any, output_dir: Path) -> PreTrainedModel:
        config = model.peft_config["default"]
        if Path(str(config.base_model_name_or_path)).exists():
            # Do not save a local path; peft would read it from the model again.
            config.base_model_name_or_path = None
            model.get_base_model().name_or_path = None
        model.save_pretrained(output_dir / "adapter")
        return model.merge_and_unload()

    def record(self) -> dict[str, Any]:
        return {"name": self.name, "r": self.arguments.lora_r, "alpha": self.arguments.lora_alpha}


def targets(model: PreTrainedModel, head: set[str]) -> tuple[list[str], list[str]]:
    """Return the names of the body's linear modules and of its recurrent weight matrices."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    modules, parameters = [], []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)) and f"{name}.weight" not in head:
            modules.append(name)
        elif isinstance(module, nn.RNNBase):
            for own, weight in module.named_parameters(recurse=False):
                # Parameters that the family itself fixes stay fixed, such as the identity before one-hot input.
                if own.startswith(_RECURRENT_WEIGHTS) and weight.requires_grad and f"{name}.{own}" not in head:
                    parameters.append(f"{name}.{own}")
    return modules, parameters


def modules_of(model: PreTrainedModel, parameters: set[str]) -> list[str]:
    """Return the outermost modules that only have parameters in `parameters`; peft trains and saves them whole."""
    whole = [
        name
        for name, module in model.named_modules()
        if name and (own := [f"{name}.{p}" for p, _ in module.named_parameters()]) and parameters.issuperset(own)
    ]
    return [name for name in whole if not any(name.startswith(f"{outer}.") for outer in whole)]
