"""Convert other libraries' weights to a model of the toolkit, and models of the toolkit to fastai.

    python recipes/convert.py --source fastai --weights lstm_fwd.pth --vocab itos_wt103.pkl --output_dir models/wt103
    python recipes/convert.py --source flair --weights news-forward-fast.pt --output_dir models/news
    python recipes/convert.py --target fastai --model_name_or_path outputs/imdb --output_dir outputs/imdb_fastai

The first two leave a folder that `finetune.py` and `pretrain.py` start from (`--model_name_or_path`); the last one
`weights.pth` and `vocab.pkl`, which fastai loads. Files are read without running anything that stands in them.
"""

from tl_toolkit.cli import run_recipe


def main() -> None:
    from tl_toolkit.workflows.convert import convert, parse_convert_arguments

    arguments = parse_convert_arguments(description=__doc__)
    for path in convert(arguments):
        print(path)


if __name__ == "__main__":
    run_recipe(main)
