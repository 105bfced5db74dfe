# The public names for type checkers and editors; `__init__.py` loads them when they are first used.
from . import models as models
from .api import Comparison as Comparison
from .api import Trained as Trained
from .api import compare as compare
from .api import convert as convert
from .api import decide as decide
from .api import decision as decision
from .api import ensemble as ensemble
from .api import explain as explain
from .api import export as export
from .api import finetune as finetune
from .api import generate as generate
from .api import predict as predict
from .api import pretrain as pretrain
from .api import publish as publish
from .errors import UserError as UserError
from .models import *  # noqa: F403

__version__: str
