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
    sign = ""
    if units < 0:
        sign, units = "-", -units
    digits = str(units)
    if precision == 0:
        return sign + digits
    if len(digits) <= precision:
        digits = digits.rjust(precision + 1, "0")
    return f"{sign}{digits[:-precision]}.{digits[-precision:]}".rstrip("0").rstrip(".")


def to_decimal(units: int, precision: int) -> Decimal:
    """Give people and databases the same value as an exact `Decimal`."""
    return Decimal(to_text(units, precision))


class FloatLevels:
    """Turns the levels of a book into floats that print as their exact decimals, at the speed of C."""

    def __init__(self, price_precision: int, size_precision: int) -> None:
        """Take the precisions that prices and sizes are held in."""
        self._price_unit, self._size_unit = 10.0**price_precision, 10.0**size_precision

    def to_floats(self, levels: Sequence[tuple[int, int]]) -> list[tuple[float, float]] | None:
        """Return floats whose shortest text is the exact decimal of each unit; `None` if one is too long."""
        # One sum over everything settles nearly all cases for half of what two maxima cost.
        limit = 10**FLOAT_DIGITS
        if sum(chain.from_iterable(levels)) >= limit and any(
            price >= limit or size >= limit for price, size in levels
        ):
            return None
        price_unit, size_unit = self._price_unit, self._size_unit
        return [(price / price_unit, size / size_unit) for price, size in levels]
