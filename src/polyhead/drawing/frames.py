"""Tables of pandas, which is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polyhead.errors import PolyheadError

if TYPE_CHECKING:
    import pandas


def frame(rows: Sequence[dict[str, Any]]) -> pandas.DataFrame:
    """Rows as a table of pandas.

    Raises:
        PolyheadError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        remedy = "Install it: pip install 'polyhead[notebook]'"
        raise PolyheadError("Tables in notebooks need pandas.", remedy=remedy) from error
    return pandas.DataFrame(rows)
