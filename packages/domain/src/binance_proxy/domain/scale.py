"""Prices and sizes as whole numbers: text, float and `Decimal` to integer units and back, exactly.

A value with ``precision`` p is held as ``value * 10**p``. Sums and equality are exact, and both are fast.
"""

import re
from decimal import Decimal

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
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ScaleError(f"{text!r} is not a decimal number")
    sign, whole, fraction = match.groups(default="")
    if len(fraction) > precision:
        fraction, finer = fraction[:precision], fraction[precision:]
        if finer.strip("0"):
            raise ScaleError(f"{text} has more than the {precision} decimals of its instrument")
    units = int(whole + fraction.ljust(precision, "0"))
    if units > INT64_MAX:
        raise ScaleError(f"{text} is too large to be held with {precision} decimals")
    return -units if sign else units


def from_float(value: float, precision: int) -> int:
    """Take a number that a library has already turned into a float.

    Up to 15 significant digits the float stands for one decimal only, and that one is returned.

    Raises:
        ScaleError: The value is not finite, has more than 15 significant digits in these units, or is finer
            than the precision.
    """
    scaled = value * 10**precision
    if not abs(scaled) < 10**FLOAT_DIGITS:  # also true for NaN
        raise ScaleError(f"{value!r} has too many digits for a float with {precision} decimals")
    units: int = round(scaled)
    if units / 10**precision != value:
        raise ScaleError(f"{value!r} has more than the {precision} decimals of its instrument")
    return units


def to_text(units: int, precision: int) -> str:
    """Write units as the shortest plain decimal: ``"3050.12"``, ``"0"``; never an exponent."""
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
