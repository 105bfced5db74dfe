"""Predict with a trained model folder: answers as parquet, and metrics where the dataset has labels.

    accelerate launch recipes/predict.py --model_name_or_path outputs/sst2 --dataset_name stanfordnlp/sst2 \
        --output_dir outputs/sst2_predictions

Labels are matched with the model's by name. `--output_dir` then holds `predictions.parquet` and, with labels,
`metrics.json` with the numbers that `finetune.py` reports.
"""

from tl_toolkit.cli import run_recipe


def main() -> None:
    from tl_toolkit.workflows.predict import parse_predict_arguments, predict

    arguments = parse_predict_arguments(description=__doc__)
    metrics = predict(arguments)
    if arguments.run.process_index == 0:
        for name, value in metrics.items():
            print(f"{name:<12} {value:.4f}")
        print(f"The predictions are in {arguments.run.output_dir}")


if __name__ == "__main__":
    run_recipe(main)
