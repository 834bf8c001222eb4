"""The package's page templates: everything put into them is escaped."""

from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(name: str, **values: object) -> str:
    """Return a template filled in; a value it lacks is an error."""
    return _environment().get_template(name).render(values)


def text_of(name: str) -> str:
    """Return a file that lies beside the templates as it is."""
    return files("dtrag_core.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("dtrag_core.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
