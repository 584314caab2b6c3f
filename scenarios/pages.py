"""How pages are made: one environment for all templates, which escapes whatever comes from outside."""

import base64

import jinja2

from scenarios.words import plain


def make_environment(package: str) -> jinja2.Environment:
    """Return what renders the templates that lie in *package*; to it an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=plain,
    )
    environment.filters["data"] = make_data_uri
    return environment


def make_data_uri(data: bytes, kind: str = "image/svg+xml") -> str:
    """Return *data* of the media type *kind* as an address that holds it all, so that a page loads nothing."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
