"""Let a model write: language models go on with a text, encoder-decoders translate it, captioners describe an image.

    python recipes/generate.py --model_name_or_path outputs/dates --text "the 3rd of March, 2001" \
        --attention_map dates.png
    python recipes/generate.py --model_name_or_path outputs/lm --text "The model" --do_sample --top_p 0.9 --json

The words are chosen as transformers' `generate` does, with flags of the same names. `--text` may be said several times;
`--text_file` and standard input have one text a line.
"""

from tl_toolkit.cli import run_recipe


def main() -> None:
    import json

    from tl_toolkit.workflows.generate import generate, parse_generate_arguments

    arguments = parse_generate_arguments(description=__doc__)
    for result in generate(arguments):
        shown = json.dumps(result._asdict(), ensure_ascii=False) if arguments.json else result.generated
        print(shown, flush=True)


if __name__ == "__main__":
    run_recipe(main)
