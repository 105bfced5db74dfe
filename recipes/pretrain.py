"""Train a language model on texts, from scratch or from a checkpoint, and say how well it does and what it cost.

    accelerate launch recipes/pretrain.py --config recipes/configs/pretrain_wiki.yaml [--flag value ...]

The texts are loaded, the tokenizer made, the model built or loaded and handed to its strategy, trained, selected on the
validation texts and reported on the test texts. Recurrent models read one stream of text and carry their state along;
other causal models read blocks of it, and encoders fill in masked tokens. `--output_dir` then holds a model folder that
`from_pretrained` and finetune.py load, and the result record `result.json`.
"""

from tl_toolkit.cli import run_recipe


def main() -> None:
    from tl_toolkit.config.pretrain_arguments import parse_pretrain_arguments

    arguments = parse_pretrain_arguments(description=__doc__)

    from tl_toolkit.workflows.pretrain import pretrain
    from tl_toolkit.workflows.summary import print_language_model_summary

    record = pretrain(arguments)
    if arguments.run.process_index == 0 and not arguments.run.find_lr:
        print_language_model_summary(record, arguments.run.output_dir)


if __name__ == "__main__":
    run_recipe(main, "The same command with --resume_from_checkpoint goes on from the last checkpoint.")
