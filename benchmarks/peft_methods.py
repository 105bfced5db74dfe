"""What peft's methods train in each family, and how far merged and unmerged outputs differ.

    python benchmarks/peft_methods.py

All methods have peft's defaults, and no targets are named (except `all-linear`). After adding noise to the trained
weights, as training would, the logits of the adapted model and of the merged model are compared: the number is the
largest difference over the largest logit. Prompt tuning has nothing to merge. Takes less than a minute.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from transformers import BertConfig

import tl_toolkit as tt

SIZES: dict[str, Any] = {"vocab_size": 1009, "embedding_size": 64, "hidden_size": 64, "num_hidden_layers": 2}
TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2}
BERT = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}


def translator() -> Any:
    sizes = {name: SIZES[name] for name in ("vocab_size", "embedding_size", "hidden_size")}
    return tt.RnnEncoderDecoderForConditionalGeneration(
        tt.RnnEncoderDecoderConfig(**sizes, **TOKENS, attention="bahdanau")
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "rnn": lambda: tt.RnnForSequenceClassification(tt.RnnConfig(**SIZES)),
    "awd_lstm": lambda: tt.AwdLstmForSequenceClassification(tt.AwdLstmConfig(**SIZES)),
    "self_attention": lambda: tt.SelfAttentionForSequenceClassification(tt.SelfAttentionConfig(**SIZES)),
    "rnn_encoder_decoder": translator,
    "pooled_encoder": lambda: tt.PooledEncoderForSequenceClassification(
        tt.PooledEncoderConfig(encoder_config=BertConfig(vocab_size=1009, hidden_size=64, **BERT))
    ),
}
# Prompt tuning reads sizes from the configuration, and no recurrent one has a number of attention heads.
PROMPT = {"num_virtual_tokens": 8, "num_layers": 2, "num_attention_heads": 1, "token_dim": 64}
METHODS: dict[str, Callable[[str], Any]] = {
    "LoRA": lambda task: LoraConfig(task_type=task),
    "IA3": lambda task: IA3Config(task_type=task),
    "DoRA": lambda task: LoraConfig(task_type=task, use_dora=True),
    "LoRA, all-linear": lambda task: LoraConfig(task_type=task, target_modules="all-linear"),
    "prompt tuning": lambda task: PromptTuningConfig(task_type=task, **PROMPT),
}


def measure(model: Any, method: str) -> str:
    """Trained parameters and the difference after merging, or why peft refuses."""
    task = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "SEQ_CLS"
    try:
        adapted: Any = get_peft_model(model, METHODS[method](task)).eval()
    except ValueError:
        return "refused"
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    cell = f"{sum(parameter.numel() for parameter in trained):,}"
    if method == "prompt tuning":
        return cell
    ids = torch.randint(3, 1009, (8, 23))
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if task != "SEQ_CLS":
        given["decoder_input_ids"] = ids
    with torch.no_grad():
        for parameter in trained:
            parameter += 0.05 * torch.randn_like(parameter)
        expected = adapted(**given).logits
        difference = (adapted.merge_and_unload()(**given).logits - expected).abs().max() / expected.abs().max()
    return f"{cell} ({difference:.0e})"


def main() -> None:
    warnings.simplefilter("ignore")
    print("| family |", " | ".join(METHODS), "|")
    print("|---|" + "---:|" * len(METHODS))
    for name, make in FAMILIES.items():
        torch.manual_seed(0)
        model = make()
        cells = [measure(copy.deepcopy(model), method) for method in METHODS]
        print(f"| `{name}` ({sum(p.numel() for p in model.parameters()):,}) |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
