"""Adds Content-Security-Policy nonces to the script elements of NiceGUI's page template."""

from __future__ import annotations

from jinja2 import ChoiceLoader, DictLoader
from nicegui.client import templates

from gateway.console.translations import TRANSLATIONS
from gateway.transport.security_headers import NONCE_SCOPE_KEY

TEMPLATE = "index.html"
ES_MODULES_TEXT = "Your browser does not support ES modules.<br />Please use a modern browser."


def add_nonce_to_template() -> None:
    """Put the request's nonce into each script element of NiceGUI's template.

    The template is changed, not the rendered page: scripts injected through data get no nonce.
    """
    loader = templates.env.loader
    if loader is None or isinstance(loader, ChoiceLoader):
        return
    source, _, _ = loader.get_source(templates.env, TEMPLATE)
    source = source.replace(ES_MODULES_TEXT, "".join(f"{one}<br />" for one in TRANSLATIONS["browser"]))
    with_nonce = source.replace("<script", f"<script nonce=\"{{{{ request.scope['{NONCE_SCOPE_KEY}'] }}}}\"")
    templates.env.loader = ChoiceLoader([DictLoader({TEMPLATE: with_nonce}), loader])
