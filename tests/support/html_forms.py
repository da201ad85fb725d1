"""Reads the fields of an HTML form as a browser would send them."""

from __future__ import annotations

import html
import re
from typing import Any


def form_of(page: str, address: str) -> dict[str, Any]:
    """The fields of the form that is sent to an address, as a browser would send them."""
    found = re.search(rf'<form[^>]*action="{re.escape(address)}".*?</form>', page, re.DOTALL)
    assert found is not None, page
    fields: dict[str, Any] = {}

    def add(name: str, value: str) -> None:
        fields.setdefault(name, []).append(html.unescape(value))

    pattern = (
        r'<input[^>]*>|<textarea[^>]*name="(?P<area>[^"]+)"[^>]*>(?P<text>.*?)</textarea>'
        r'|<select[^>]*name="(?P<select>[^"]+)".*?</select>'
    )
    for one in re.finditer(pattern, found[0], re.DOTALL):
        if one["area"]:
            add(one["area"], one["text"])
        elif one["select"]:
            options = re.findall(r'<option value="([^"]*)"[^>]*?( selected)?>', one[0])
            add(one["select"], next((value for value, is_chosen in options if is_chosen), options[0][0]))
        else:
            attributes = dict(re.findall(r'([a-z_-]+)="([^"]*)"', one[0]))
            if "name" in attributes and (attributes.get("type") != "checkbox" or " checked" in one[0]):
                add(attributes["name"], attributes.get("value", ""))
    return fields
