"""A page for a person in a browser: how it looks, what keeps it to itself, and what its forms send."""

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.credentials.pages import PageRefused

__all__ = ["form_of", "onward", "page"]

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:1rem}"
    "main{max-width:38rem;margin:6vh auto;overflow-wrap:anywhere}"  # what is long is wrapped, never cut off
    "h1{font-size:1.5rem;line-height:1.25}"
    "b{unicode-bidi:isolate}"  # a name written from right to left turns nothing around it
    "form{margin:.75rem 0}"
    "label{display:block}"
    "input,button,textarea{font:inherit;box-sizing:border-box;width:100%;min-height:2.75rem}"
    "input,button,textarea{padding:.5rem;margin:.25rem 0}"
    "button{white-space:normal;cursor:pointer}"
    "textarea,pre{font-family:ui-monospace,monospace}"
    "pre{border:1px solid;padding:.5rem;white-space:pre-wrap}"
    ".exact,.exact bdi{unicode-bidi:isolate-override;direction:ltr}"  # every character in its place
    "h2{font-size:1.1rem;margin:1.5rem 0 .25rem}"
    "dl{display:grid;grid-template-columns:minmax(6rem,auto) 1fr;gap:.25rem .75rem;margin:0}"
    "dd{margin:0;min-width:0}"
    "ul{padding-left:1.25rem}"
    "ins,del{color:#000;background:#bfb;text-decoration:none}"
    "del{background:#fbb}"
)
_MOST_FIELDS: Final = 16
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


def onward(url: str) -> Response:
    """Send the browser on by the page itself: some browsers do not follow a form's redirect to another origin."""
    target = escape(url, quote=True)
    body = f'<p><a href="{target}" rel="noreferrer">Go on</a></p>'
    return page("One moment", body, head=f'<meta http-equiv="refresh" content="0;url={target}">')


async def form_of(request: Request, most_bytes: int) -> Mapping[str, str]:
    """Return what a form sent, as text. Raises `PageRefused`: it is more than that, or out of shape."""
    raw = b""
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > most_bytes:
                raise PageRefused("This is more than a form of this page holds.", 413)
        return dict(
            parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
        )
    except ClientDisconnect:
        raise PageRefused("The browser went away.", 400) from None
    except ValueError:
        raise PageRefused("This is not what a form of this page sends.", 400) from None
