"""Numbers go in and out as what they are, or not at all."""

from decimal import Decimal
from math import inf, nan

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from binance_proxy.domain.errors import BridgeError, ScaleError
from binance_proxy.domain.scale import (
    FLOAT_DIGITS,
    INT64_MAX,
    FloatLevels,
    from_float,
    to_decimal,
    to_text,
    to_units,
)

precisions = st.integers(0, 18)
any_units = st.integers(-INT64_MAX, INT64_MAX)


def plain_texts(max_whole: int = 12, max_fraction: int = 20) -> st.SearchStrategy[str]:
    return st.from_regex(rf"-?[0-9]{{1,{max_whole}}}(\.[0-9]{{0,{max_fraction}}})?", fullmatch=True)


@st.composite
def decimals_of_few_digits(draw: st.DrawFn) -> tuple[str, int]:
    """A decimal with at most 15 significant digits, as plain text, and a precision that holds it."""
    precision = draw(precisions)
    digits = draw(st.integers(-(10**FLOAT_DIGITS) + 1, 10**FLOAT_DIGITS - 1))
    shift = draw(st.integers(0, 18))
    value = Decimal(digits).scaleb(shift - precision)
    assume(abs(value.scaleb(precision)) <= INT64_MAX)
    return f"{value:f}", precision


class TestToUnits:
    @pytest.mark.parametrize(
        ("text", "precision", "units"),
        [
            ("3050.12", 2, 305012),
            ("3050.12", 8, 305_012_000_000),
            ("61737.63000000", 8, 6_173_763_000_000),
            ("61737.63000000", 2, 6_173_763),
            ("0.00000000", 8, 0),
            ("0.00000001", 8, 1),
            ("1", 0, 1),
            ("1.000", 0, 1),
            ("1.", 3, 1000),
            ("007.50", 2, 750),
            ("-1.5", 1, -15),
            ("-0.0", 1, 0),
            ("0.000000000000000001", 18, 1),
        ],
    )
    def test_text_becomes_units(self, text, precision, units):
        assert to_units(text, precision) == units

    @pytest.mark.parametrize("text", ["0.011", "3050.123456789", "-0.001", "1.0000000000000000001"])
    def test_a_finer_number_is_refused_not_rounded(self, text):
        with pytest.raises(ScaleError, match="more than the 2 decimals"):
            to_units(text, 2)

    @pytest.mark.parametrize(
        "text",
        [
            "", " ", "-", ".", "-.", ".5", "-.5", "+1", "--1", "1-", "1_000", "1,000", "1e3", "1E3", "1e-3",
            " 1", "1 ", "1\n", "\t1", "1. 5", "1.-5", "1.+5", "1.2.3", "1..2", "1._5", "0x10", "NaN", "nan",
            "Infinity", "inf", "\u0661", "1.\u0665", "\u00b2", "1.\u00b2", "\uff11", "\u22121", "1\x00",
            "one",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("precision", [0, 1, 2, 8])
    def test_what_is_no_plain_decimal_is_refused(self, text, precision):
        with pytest.raises(ScaleError, match="not a decimal number"):
            to_units(text, precision)

    @pytest.mark.parametrize("precision", range(19))
    def test_int64_is_the_bound_on_either_side(self, precision):
        most = to_text(INT64_MAX, precision)
        assert to_units(most, precision) == INT64_MAX
        assert to_units(f"-{most}", precision) == -INT64_MAX
        beyond = to_text(INT64_MAX + 1, precision)
        for text in (beyond, f"-{beyond}"):
            with pytest.raises(ScaleError, match="too large"):
                to_units(text, precision)

    @pytest.mark.parametrize("text", ["9" * 20, "9" * 5000, "1" + "0" * 5000 + ".5", "-" + "9" * 100_000])
    def test_a_number_of_any_length_gets_the_same_error_quickly_and_briefly(self, text):
        with pytest.raises(ScaleError, match="too large") as caught:
            to_units(text, 2)
        assert len(str(caught.value)) < 200

    def test_zeros_in_front_and_behind_do_not_count(self):
        assert to_units("0" * 5000 + "1.5" + "0" * 5000, 1) == 15

    def test_its_error_is_one_of_ours_and_a_value_error(self):
        assert issubclass(ScaleError, BridgeError)
        assert issubclass(ScaleError, ValueError)

    @given(plain_texts(), precisions)
    @example("0.000", 2)
    @example("-0", 0)
    @example("92233720368.54775808", 8)
    def test_equals_decimal_arithmetic_or_refuses(self, text, precision):
        exact = Decimal(text).scaleb(precision)
        whole = exact == exact.to_integral_value()
        if whole and abs(exact) <= INT64_MAX:
            assert to_units(text, precision) == int(exact)
        else:
            with pytest.raises(ScaleError):
                to_units(text, precision)

    @given(st.text(max_size=12) | st.text("0123456789.-+eE_ \u0661", max_size=12), precisions)
    def test_any_text_is_read_as_the_decimal_it_is_or_refused(self, text, precision):
        try:
            units = to_units(text, precision)
        except ScaleError:
            return
        assert set(text) <= set("0123456789.-")
        assert Decimal(units).scaleb(-precision) == Decimal(text)


class TestToText:
    @pytest.mark.parametrize(
        ("units", "precision", "text"),
        [
            (305012, 2, "3050.12"),
            (0, 8, "0"),
            (0, 0, "0"),
            (1, 8, "0.00000001"),
            (100, 2, "1"),
            (150, 2, "1.5"),
            (1500, 0, "1500"),
            (-5, 1, "-0.5"),
            (-1500, 0, "-1500"),
            (10**18, 18, "1"),
            (INT64_MAX, 18, "9.223372036854775807"),
        ],
    )
    def test_units_become_the_shortest_plain_decimal(self, units, precision, text):
        assert to_text(units, precision) == text

    @given(any_units, precisions)
    def test_every_number_comes_back_from_its_text(self, units, precision):
        text = to_text(units, precision)
        assert to_units(text, precision) == units
        assert Decimal(text) == Decimal(units).scaleb(-precision)
        assert "e" not in text.lower()
        assert not ("." in text and text.endswith(("0", ".")))

    @given(any_units, precisions)
    def test_people_get_the_same_value_as_a_decimal(self, units, precision):
        assert to_decimal(units, precision).scaleb(precision) == units


class TestFromFloat:
    @pytest.mark.parametrize(
        ("value", "precision", "units"),
        [
            (3050.12, 2, 305012),
            (0.1, 8, 10_000_000),
            (0.3, 18, 3 * 10**17),
            (61737.63, 8, 6_173_763_000_000),
            (-1.1, 1, -11),
            (0.0, 8, 0),
            (-0.0, 8, 0),
            (999_999_999_999_999.0, 0, 999_999_999_999_999),
            (25_000_000.0, 8, 2_500_000_000_000_000),  # one order of a coin that costs next to nothing
            (1e15, 3, 10**18),
            (1e-8, 8, 1),
            (5, 2, 500),
        ],
    )
    def test_a_float_becomes_the_one_decimal_it_stands_for(self, value, precision, units):
        assert from_float(value, precision) == units

    @pytest.mark.parametrize("value", [inf, -inf, nan])
    @pytest.mark.parametrize("precision", [0, 8, 18])
    def test_what_is_not_finite_is_refused(self, value, precision):
        with pytest.raises(ScaleError):
            from_float(value, precision)

    @pytest.mark.parametrize(
        ("value", "precision"),
        [
            (0.1 + 0.2, 18),
            (1 / 3, 8),
            (0.001, 2),
            (0.5, 0),
            (5e-324, 18),
            (1e-19, 18),
            (0.005, 2),
            (2**53 + 2.0, 0),
        ],
    )
    def test_more_digits_than_a_float_carries_are_refused_not_rounded(self, value, precision):
        with pytest.raises(ScaleError):
            from_float(value, precision)

    @pytest.mark.parametrize(("value", "precision"), [(1e19, 0), (1e11, 8), (-1e308, 18), (1e300, 0)])
    def test_what_does_not_fit_64_bits_is_refused(self, value, precision):
        with pytest.raises(ScaleError):
            from_float(value, precision)

    @given(decimals_of_few_digits())
    @example(("999999999999999", 0))
    @example(("0.999999999999999", 15))
    @example(("92233720368.5477", 8))
    @example(("9007199.25474099", 11))
    def test_up_to_15_significant_digits_text_through_float_is_text(self, case):
        text, precision = case
        assert from_float(float(text), precision) == to_units(text, precision)

    @given(st.floats(), precisions)
    def test_any_float_is_one_decimal_that_reads_as_that_float_or_is_refused(self, value, precision):
        try:
            units = from_float(value, precision)
        except ScaleError:
            return
        assert abs(units) <= INT64_MAX
        assert float(to_text(units, precision)) == value
        assert len(str(abs(units)).strip("0")) <= FLOAT_DIGITS


class TestFloatLevels:
    @given(
        st.lists(st.tuples(st.integers(1, 10**15 - 1), st.integers(0, 10**15 - 1)), max_size=4),
        precisions,
        precisions,
    )
    def test_units_come_back_from_floats_whose_shortest_text_is_exact(
        self, units, price_precision, size_precision
    ):
        levels = FloatLevels(price_precision, size_precision)
        floats = levels.to_floats(units)
        assert [(Decimal(repr(price)), Decimal(repr(size))) for price, size in floats] == [
            (to_decimal(price, price_precision), to_decimal(size, size_precision)) for price, size in units
        ]

    @pytest.mark.parametrize("level", [(10**15, 1), (1, 10**15)])
    def test_units_that_no_float_holds_are_not_written_as_one(self, level):
        assert FloatLevels(8, 8).to_floats([(1, 1), level]) is None
