"""`publish`: upload a model or a comparison to the Hugging Face Hub."""

from __future__ import annotations

from ..comparison.publishing.arguments import ComparisonRequest
from ..comparison.publishing.publish import publish_comparison
from ..hub.publishing import publish as publish_model
from ..hub.transfer import Outcome


def publish(request: ComparisonRequest) -> Outcome | None:
    """Publish a model folder or, unless `repo_type` is "model", a comparison folder.

    Returns:
        The outcome of the upload; None for a dry run.

    Raises:
        UserError: the folder or the request cannot be used; nothing was uploaded.
    """
    return publish_model(request) if request.publish.repo_type == "model" else publish_comparison(request)
