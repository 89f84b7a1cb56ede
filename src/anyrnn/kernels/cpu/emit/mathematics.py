"""Vector functions of our own: exp, log, tanh, sigmoid, softplus, to a few units in the last place.

Infinities and NaN give what the interpreter gives. Subnormal numbers count as zero (`entry`), so a
function of normal numbers with a normal result has no subnormal number in between.
"""

from __future__ import annotations

import math

from anyrnn.kernels.cpu.emit.assembly import Vectors

LOG2_E = 1.4426950408889634
LN2 = {  # as a sum of two numbers, the first of few digits, by whether it is float64
    False: (0.693359375, -2.12194440e-4),
    True: (6.93145751953125e-1, 1.42860682030941723212e-6),
}
TANH = (  # of float32: in the numerator besides x, and in the denominator
    (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    ),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)
EXP = [1 / math.factorial(n) for n in range(13, -1, -1)]


def exponential(v: Vectors, x: str) -> str:
    """exp(x): 2^n times a polynomial on half a binary order around zero."""
    low, high = (-746.0, 710.0) if v.double else (-104.0, 89.0)
    x = v.most(v.least(x, high), low)
    shift = 1.5 * 2.0 ** (52 if v.double else 23)  # adding it leaves the nearest whole number
    shifted = v.fma(x, v.constant(LOG2_E), v.constant(shift))
    n = v.subtract(shifted, v.constant(shift))
    high, low = LN2[v.double]
    r = v.fma(n, v.constant(-low), v.fma(n, v.constant(-high), x))
    p = v.polynomial(r, EXP if v.double else EXP[6:])
    bits = v.on_bits("sub", v.bits(shifted), v.bits_of(shift))
    half = v.on_bits("ashr", bits, v.integer(1))
    return v.multiply(v.multiply(p, _power(v, half)), _power(v, v.on_bits("sub", bits, half)))


def _power(v: Vectors, exponent: str) -> str:
    """2 to a whole number, by its bits."""
    bias, mantissa = (1023, 52) if v.double else (127, 23)
    biased = v.on_bits("add", exponent, v.integer(bias))
    return v.floats(v.on_bits("shl", biased, v.integer(mantissa)))


def logarithm(v: Vectors, x: str) -> str:
    """log(x): the exponent, and a series in (m - 1) / (m + 1) for the mantissa m around one."""
    mantissa = 52 if v.double else 23
    bits = v.bits(x)
    root = v.bits_of(math.sqrt(0.5))
    # the exponent for which the mantissa lies between sqrt(1/2) and sqrt(2)
    offset = v.on_bits("sub", bits, root)
    exponent = v.on_bits("ashr", offset, v.integer(mantissa))
    m = v.floats(v.on_bits("sub", bits, v.on_bits("shl", exponent, v.integer(mantissa))))
    n = v.function.value(f"sitofp {v.integers} {exponent} to {v.type}")
    s = v.divide(v.subtract(m, v.constant(1.0)), v.add(m, v.constant(1.0)))
    s2 = v.multiply(s, s)
    terms = 11 if v.double else 5
    series = v.polynomial(s2, [2 / (2 * k + 1) for k in range(terms, 0, -1)])
    high, low = LN2[v.double]
    tail = v.fma(n, v.constant(low), v.multiply(v.multiply(s, s2), series))
    result = v.fma(n, v.constant(high), v.fma(s, v.constant(2.0), tail))
    infinite = v.compare("oeq", x, v.constant(math.inf))
    result = v.select(infinite, v.constant(math.inf), result)
    result = v.select(v.compare("oeq", x, v.constant(0.0)), v.constant(-math.inf), result)
    below = v.compare("ult", x, v.constant(0.0))  # negative, or NaN
    return v.select(below, v.constant(math.nan), result)


def sigmoid(v: Vectors, x: str) -> str:
    """1 / (1 + exp(-x)), with full relative precision for negative x."""
    return v.divide(v.constant(1.0), v.add(v.constant(1.0), exponential(v, v.negative(x))))


def tanh(v: Vectors, x: str) -> str:
    """tanh(x): a rational function; in float64 for small x only, else by exp."""
    if not v.double:
        # the bound at which the quotient is 1, so that the derivative there is 0
        bound = 7.99881172180175781 if v.fused else 7.90531110763549805
        x = v.most(v.least(x, bound), -bound)
        x2 = v.multiply(x, x)
        lift = 2.0**8  # or x times the last coefficient would be subnormal before x is
        numerator, denominator = (
            v.polynomial(x2, [lift * coefficient for coefficient in coefficients])
            for coefficients in TANH
        )
        return v.divide(v.multiply(x, numerator), denominator)
    x2 = v.multiply(x, x)
    numerator = v.polynomial(
        x2, [-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3]
    )
    denominator = v.polynomial(
        x2, [1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3]
    )
    near = v.fma(v.multiply(x, x2), v.divide(numerator, denominator), x)
    size = v.call("fabs", x)
    raised = exponential(v, v.multiply(size, v.constant(2.0)))
    share = v.divide(v.constant(2.0), v.add(raised, v.constant(1.0)))
    far = v.call("copysign", v.subtract(v.constant(1.0), share), x)
    return v.select(v.compare("ogt", size, v.constant(0.625)), far, near)


def softplus(v: Vectors, x: str) -> str:
    """log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|))."""
    e = exponential(v, v.negative(v.call("fabs", x)))
    u = v.add(v.constant(1.0), e)
    lost = v.subtract(e, v.subtract(u, v.constant(1.0)))
    log1p = v.add(logarithm(v, u), v.divide(lost, u))
    return v.add(v.most(x, 0.0), log1p)
