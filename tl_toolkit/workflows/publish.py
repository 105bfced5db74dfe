"""`publish`: a model, or a comparison, on the Hugging Face Hub."""

from __future__ import annotations

from ..comparison.publishing.arguments import ComparisonRequest
from ..comparison.publishing.publish import publish_comparison
from ..hub.publishing import publish as publish_model
from ..hub.transfer import Outcome


def publish(request: ComparisonRequest) -> Outcome | None:
    """Publish the folder of a model, or with another kind of repository that of a comparison.

    Returns:
        What became of it; None where nothing was sent because it was a dry run.

    Raises:
        UserError: something in the folder or the request cannot be used; nothing was sent.
    """
    return publish_model(request) if request.publish.repo_type == "model" else publish_comparison(request)
