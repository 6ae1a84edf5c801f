"""Tables for a terminal: as wide as they must be, and no wider than there is room."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from podfleet.cli.output import columns, cut

HEAD = ("name", "node", "age")
WORDS = st.text(st.sampled_from("abc-9試é"), max_size=60)
ROWS = st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=8)


@given(WORDS, st.integers(1, 70))
def test_a_cut_text_fits_and_keeps_both_its_ends(text: str, width: int) -> None:
    shown = cut(text, width)
    assert cell_len(shown) <= max(width, 1)
    if cell_len(text) <= width:
        assert shown == text
    elif width >= 5:  # room for one wide character on each side
        assert (shown[0], shown[-1]) == (text[0], text[-1])


@given(ROWS, st.integers(16, 200))
def test_a_table_fits_and_cuts_no_more_than_it_must(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    whole = columns(HEAD, rows)
    shown = columns(HEAD, rows, width)
    widest = max(map(cell_len, whole.splitlines()))
    assert max(map(cell_len, shown.splitlines())) <= width
    if widest <= width - 60:
        assert shown == whole
    assert shown.splitlines()[0].split() == ["NAME", "NODE", "AGE"]
