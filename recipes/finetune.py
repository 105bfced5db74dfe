"""Train a model on labelled text, from scratch or from a checkpoint, and say how well it does and what it cost.

    accelerate launch recipes/finetune.py --config recipes/configs/sst2_bilstm.yaml [--flag value ...]

The dataset is loaded and its columns found, the label budget cut, the tokenizer made, the model built or loaded and
handed to its strategy, trained, selected on the validation split and reported on the test split. `--output_dir` then
holds a model folder that `from_pretrained` loads, `predictions_*.parquet` and the result record `result.json`. With
`--find_lr` nothing is trained: it then holds a picture of the loss over the learning rate.
"""

from tl_toolkit.cli import run_recipe


def main() -> None:
    from tl_toolkit.config.parsing import parse_arguments

    arguments = parse_arguments(description=__doc__)

    from tl_toolkit.workflows.finetune import finetune
    from tl_toolkit.workflows.summary import print_summary

    record = finetune(arguments)
    if arguments.run.process_index == 0 and not arguments.run.find_lr:
        print_summary(record, arguments.run.output_dir)


if __name__ == "__main__":
    run_recipe(main, "The same command with --resume_from_checkpoint goes on from the last checkpoint.")
