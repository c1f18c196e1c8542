"""Prices and sizes as whole numbers: text, float and `Decimal` to integer units and back, exactly.

A value with ``precision`` p is held as ``value * 10**p``. Sums and equality are exact, and both are fast.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import chain

from binance_proxy.domain.errors import ScaleError

INT64_MAX = 2**63 - 1
FLOAT_DIGITS = 15
"""Every decimal of up to so many significant digits survives the way through a 64-bit float and back."""

_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]*))?")


def to_units(text: str, precision: int) -> int:
    """Read a decimal number, such as an exchange prints it, as units of ``10**-precision``.

    Zeros behind the last place that the precision has are accepted, other digits are not.

    Raises:
        ScaleError: The text is no plain decimal number, is finer than the precision, or is too large for
            64 bits. Nothing is ever rounded.
    """
    whole, _, fraction = text.partition(".")
    if len(fraction) == precision and 0 < len(whole) <= 18 - precision:  # what exchanges print nearly always
        digits = whole + fraction
        if digits.isascii() and digits.isdigit():
            return int(digits)
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ScaleError(f"{text!r} is not a decimal number")
    sign, whole, fraction = match.groups(default="")
    if len(fraction) > precision:
        fraction, finer = fraction[:precision], fraction[precision:]
        if finer.strip("0"):
            raise ScaleError(f"{text} has more than the {precision} decimals of its instrument")
    digits = (whole + fraction.ljust(precision, "0")).lstrip("0")
    if len(digits) > 19 or (units := int(digits or "0")) > INT64_MAX:  # int() refuses thousands of digits
        raise ScaleError(f"{text:.40} is too large to be held with {precision} decimals")
    return -units if sign else units


def from_float(value: float, precision: int) -> int:
    """Take a number that a library has already turned into a float.

    Up to 15 significant digits the float stands for one decimal only, and that one is returned.

    Raises:
        ScaleError: The value is not finite, has more than 15 significant digits, is finer than the precision,
            or is too large for 64 bits.
    """
    scaled = value * 10**precision
    if abs(scaled) < 10**FLOAT_DIGITS:
        units: int = round(scaled)
        if units / 10**precision == value:
            return units
    text = f"{value:.{FLOAT_DIGITS}g}"
    if float(text) != value:  # also true for NaN
        raise ScaleError(f"{value!r} has more than {FLOAT_DIGITS} significant digits")
    return to_units(f"{Decimal(text):f}", precision)


def to_text(units: int, precision: int) -> str:
    """Write units as the shortest plain decimal: ``"3050.12"``, ``"0"``; never an exponent."""
    if -(10**FLOAT_DIGITS) < units < 10**FLOAT_DIGITS:
        text = repr(
            units / 10**precision
        )  # the shortest text of the float is the exact decimal, FLOAT_DIGITS
        if "e" not in text:
            return text.removesuffix(".0")
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(precision + 1, "0")
    if precision == 0:
        return sign + digits
    fraction = digits[-precision:].rstrip("0")
    whole = digits[:-precision]
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def to_decimal(units: int, precision: int) -> Decimal:
    """Give people and databases the same value as an exact `Decimal`."""
    return Decimal(to_text(units, precision))


class FloatLevels:
    """Turns the levels of a book from floats into units and back, at the speed of C and exactly.

    A parser reads a quoted number as a float for half of what its text costs. The way through a float is
    exact if the number has at most `FLOAT_DIGITS` digits and none behind the last place of the precision;
    so those two things are what is checked, for a whole frame at once.
    """

    _SHAPE = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))

    def __init__(self, price_precision: int, size_precision: int) -> None:
        """Take the precisions that prices and sizes are held in."""
        self._price_unit, self._size_unit = 10.0**price_precision, 10.0**size_precision
        self._price_limit = 10.0 ** (FLOAT_DIGITS - price_precision)
        self._size_limit = 10.0 ** (FLOAT_DIGITS - size_precision)
        self._too_fine = b"." + b"0" * (min(price_precision, size_precision) + 1)

    def are_plain(self, text: bytes) -> bool:
        """Return true only if every number in the arrays of a JSON text is plain.

        A plain number has no minus, no exponent, no escaped digit and no more decimals than the precision.
        """
        start = text.find(b"[")  # a key in front of the arrays may have an e
        if b"-" in text or b"\\" in text or text.find(b"e", start) >= 0 or text.find(b"E", start) >= 0:
            return False
        return self._too_fine not in text.translate(self._SHAPE, b'[]{}:"')

    def to_units(self, levels: Sequence[tuple[float, float]]) -> tuple[tuple[int, int], ...] | None:
        """Return (price, size) in units, for floats parsed from text that `are_plain`.

        `None` means that some number is too long for a float or a price is not above zero: read the text
        number by number, with the function `to_units`.
        """
        if not levels:
            return ()
        if not (min(levels)[0] > 0 and self._all_below(levels, self._price_limit, self._size_limit)):
            return None
        price_unit, size_unit = self._price_unit, self._size_unit
        try:
            return tuple([(round(price * price_unit), round(size * size_unit)) for price, size in levels])
        except ValueError:  # NaN, which compares with nothing
            return None

    def to_floats(self, levels: Sequence[tuple[int, int]]) -> list[tuple[float, float]] | None:
        """Return floats whose shortest text is the exact decimal of each unit; `None` if one is too long."""
        if not self._all_below(levels, 10**FLOAT_DIGITS, 10**FLOAT_DIGITS):
            return None
        price_unit, size_unit = self._price_unit, self._size_unit
        return [(price / price_unit, size / size_unit) for price, size in levels]

    @staticmethod
    def _all_below(levels: Sequence[tuple[float, float]], price_limit: float, size_limit: float) -> bool:
        """Return whether all prices and sizes, none of them negative, are below their limits."""
        # One sum over everything settles nearly all cases for half of what two maxima cost.
        if sum(chain.from_iterable(levels)) < min(price_limit, size_limit):
            return True
        return all(price < price_limit and size < size_limit for price, size in levels)
