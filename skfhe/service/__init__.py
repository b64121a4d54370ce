"""The key holder over HTTPS: the service and its client; both need ``skfhe[service]``.

What travels are the package's own messages (`skfhe.protocol.messages`). The service adds who may
call what, and limits on size, rate and time; it decrypts nothing itself.
"""

try:
    import httpx  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "the key holder's service needs the extra `service`: pip install 'skfhe[service]'"
    ) from error

from .access import Access
from .app import make_app
from .client import RemoteKeyHolder
from .limits import Limits
from .server import serve

__all__ = ["Access", "Limits", "RemoteKeyHolder", "make_app", "serve"]
