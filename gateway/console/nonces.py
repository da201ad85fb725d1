"""A nonce for the scripts of the console's page: its policy allows no other script that is inline."""

from __future__ import annotations

from jinja2 import ChoiceLoader, DictLoader
from nicegui.client import templates

from gateway.access.headers import NONCE

TEMPLATE = "index.html"


def install() -> None:
    """Put the request's nonce into each script element of NiceGUI's template.

    The template is changed, never a page: what data bring in has no nonce.
    """
    loader = templates.env.loader
    if loader is None or isinstance(loader, ChoiceLoader):
        return
    source, _, _ = loader.get_source(templates.env, TEMPLATE)
    with_nonce = source.replace("<script", f"<script nonce=\"{{{{ request.scope['{NONCE}'] }}}}\"")
    templates.env.loader = ChoiceLoader([DictLoader({TEMPLATE: with_nonce}), loader])
