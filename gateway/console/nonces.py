"""Content-Security-Policy nonces for the scripts of the console's page."""

from __future__ import annotations

from jinja2 import ChoiceLoader, DictLoader
from nicegui.client import templates

from gateway.access.headers import NONCE
from gateway.console.words import WORDS

TEMPLATE = "index.html"
TOO_OLD = "Your browser does not support ES modules.<br />Please use a modern browser."


def install() -> None:
    """Put the request's nonce into each script element of NiceGUI's template.

    The template is changed, never a page: what data bring in has no nonce.
    """
    loader = templates.env.loader
    if loader is None or isinstance(loader, ChoiceLoader):
        return
    source, _, _ = loader.get_source(templates.env, TEMPLATE)
    source = source.replace(TOO_OLD, "".join(f"{one}<br />" for one in WORDS["browser"]))
    with_nonce = source.replace("<script", f"<script nonce=\"{{{{ request.scope['{NONCE}'] }}}}\"")
    templates.env.loader = ChoiceLoader([DictLoader({TEMPLATE: with_nonce}), loader])
