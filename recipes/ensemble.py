"""Join a forward and a backward classifier into one model that averages their probabilities, and evaluate it.

    accelerate launch recipes/ensemble.py --forward outputs/imdb_forward --backward outputs/imdb_backward \
        --output_dir outputs/imdb_ensemble [--dataset_name PATH_OR_HUB_ID]

Both members are awd_lstm classifiers of the same sizes, labels and tokenizer. They and the ensemble are evaluated on
the same rows: those of the forward member's record, unless flags say otherwise. Nothing is trained. `--output_dir` then
holds one model folder that `from_pretrained` and `pipeline` load, `predictions_*.parquet` and `result.json`.
"""

from tl_toolkit.cli import run_recipe


def main() -> None:
    from tl_toolkit.workflows.ensemble import parse_ensemble_arguments

    request = parse_ensemble_arguments(description=__doc__)

    from tl_toolkit.workflows.ensemble import ensemble
    from tl_toolkit.workflows.summary import print_ensemble_summary

    record = ensemble(request)
    if request.run.process_index == 0:
        print_ensemble_summary(record, request.run.output_dir)


if __name__ == "__main__":
    run_recipe(main)
