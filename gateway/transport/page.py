"""A page for a person in a browser: how it looks, and what keeps it to itself."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

__all__ = ["page"]

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:1rem}"
    "main{max-width:38rem;margin:6vh auto;overflow-wrap:anywhere}"  # what is long is wrapped, never cut off
    "h1{font-size:1.5rem;line-height:1.25}"
    "b{unicode-bidi:isolate}"  # a name written from right to left turns nothing around it
    "form{margin:.75rem 0}"
    "label{display:block}"
    "input,button{font:inherit;box-sizing:border-box;width:100%;min-height:2.75rem;padding:.5rem;margin:.25rem 0}"
    "button{white-space:normal;cursor:pointer}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_SAFE: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # not no-referrer: browsers would send the forms with `Origin: null`
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
_LAYOUT: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"{{head}}<title>{{title}} · Toolgate</title><style>{_STYLE.replace('{', '{{').replace('}', '}}')}</style></head>"
    "<body><main><h1>{title}</h1>{body}</main></body></html>"
)


def page(title: str, body: str, status: int = 200, head: str = "") -> Response:
    """Return a page that nobody can frame, keep or run anything in. All of it is HTML: escape what others wrote."""
    return Response(_LAYOUT.format(head=head, title=title, body=body), status, dict(_SAFE), media_type="text/html")
