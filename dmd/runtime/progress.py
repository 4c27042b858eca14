"""Progress bars with rate and remaining time, on the main process only."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from accelerate import PartialState
from tqdm.auto import tqdm

T = TypeVar("T")


def track(items: Iterable[T], description: str, *, total: int, initial: int = 0, unit: str = "it") -> Iterator[T]:
    """Yield from `items` behind a bar that starts at `initial` of `total`."""
    hidden = not PartialState().is_local_main_process
    return iter(
        tqdm(
            items,
            description,
            total=total,
            initial=initial,
            unit=unit,
            disable=hidden,
            dynamic_ncols=True,
            mininterval=1,
        )
    )
