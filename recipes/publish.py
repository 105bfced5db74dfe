"""Publish a model, or a comparison, on the Hugging Face Hub.

    python recipes/publish.py outputs/sst2 --repo_id user/sst2-bilstm --dry_run
    python recipes/publish.py outputs/sst2 --repo_id user/sst2-bilstm --private
    python recipes/publish.py outputs/demo --repo_id user/demo-report --repo_type dataset
    python recipes/publish.py outputs/demo --repo_id user/demo --repo_type space --space_sdk gradio

The first line lists every file with its size and sends nothing. The repository then loads with `from_pretrained` and
`pipeline` where nobody has heard of the toolkit: it holds the weights, the configuration, the tokenizer, the code of
the toolkit's own families, a model card, and the result record without paths of this machine. The token is that of
HF_TOKEN, or of `hf auth login`. Files that are there already are not sent again. The last two lines publish what
compare.py leaves: its records and its report, and a page on which all of its models answer.
"""

from tl_toolkit.cli import run_recipe


def main() -> None:
    from tl_toolkit.comparison.publishing.arguments import parse_comparison_arguments

    request = parse_comparison_arguments(description=__doc__)

    from tl_toolkit.workflows.publish import publish

    publish(request)


if __name__ == "__main__":
    run_recipe(main, "The same command goes on: what was sent already is not sent again.")
