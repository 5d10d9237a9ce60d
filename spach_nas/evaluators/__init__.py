"""Functions that score a candidate."""

from typing import TYPE_CHECKING

from spach_nas.lazy_import import late

if TYPE_CHECKING:
    from spach_nas.evaluators.proxy import ProxyEvaluator

__getattr__ = late(__name__, {"ProxyEvaluator": "proxy"})
__all__ = ["ProxyEvaluator"]
