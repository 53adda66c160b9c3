"""Hashes of text: FarmHash's Fingerprint64 and SipHash-2-4, as 64-bit integers.

Both are defined to be the same on every computer and in every process, unlike Python's `hash`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_MASK = 2**64 - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def fingerprint64(text: bytes) -> int:
    """Return FarmHash's 64-bit fingerprint (Pike and Alakuijala, 2014).

    Examples
    --------
    >>> fingerprint64(b"a")
    12917804110809363939
    """
    n = len(text)
    if n > 64:
        return _hash_long(text)
    if n > 32:
        return _hash_33_to_64(text)
    if n > 16:
        return _hash_17_to_32(text)
    factor = _K2 + 2 * n
    if n >= 8:
        a, b = _word(text, 0) + _K2, _word(text, n - 8)
        return _mix(_rotate(b, 37) * factor + a, (_rotate(a, 25) + b) * factor, factor)
    if n >= 4:
        first, last = (int.from_bytes(text[i : i + 4], "little") for i in (0, n - 4))
        return _mix(n + (first << 3), last, factor)
    if n > 0:
        y, z = text[0] + (text[n >> 1] << 8), n + (text[-1] << 2)
        return _shifted(y * _K2 ^ z * _K0) * _K2 & _MASK
    return _K2


def _word(text: bytes, begin: int) -> int:
    return int.from_bytes(text[begin : begin + 8], "little")


def _rotate(value: int, bits: int) -> int:
    """Rotate a word to the right; the value may exceed 64 bits."""
    value &= _MASK
    return (value >> bits | value << 64 - bits) & _MASK


def _shifted(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _mix(u: int, v: int, factor: int) -> int:
    a = _shifted((u ^ v) * factor)
    return _shifted((v ^ a) * factor) * factor & _MASK


def _hash_17_to_32(text: bytes) -> int:
    n = len(text)
    factor = _K2 + 2 * n
    a, b = _word(text, 0) * _K1, _word(text, 8)
    c, d = _word(text, n - 8) * factor, _word(text, n - 16) * _K2
    low = _rotate(a + b, 43) + _rotate(c, 30) + d
    return _mix(low & _MASK, a + _rotate(b + _K2, 18) + c & _MASK, factor)


def _hash_33_to_64(text: bytes) -> int:
    n = len(text)
    factor = _K2 + 2 * n
    a, b = _word(text, 0) * _K2, _word(text, 8)
    c, d = _word(text, n - 8) * factor, _word(text, n - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d & _MASK
    z = _mix(y, a + _rotate(b + _K2, 18) + c & _MASK, factor)
    e, f = _word(text, 16) * factor, _word(text, 24)
    g, h = (y + _word(text, n - 32)) * factor, (z + _word(text, n - 24)) * factor
    low = _rotate(e + f, 43) + _rotate(g, 30) + h
    return _mix(low & _MASK, e + _rotate(f + a, 18) + g & _MASK, factor)


class _State(NamedTuple):
    x: int
    y: int
    z: int
    v: tuple[int, int]
    w: tuple[int, int]

    def after(self, text: bytes, at: int, factor: int, scale: int) -> _State:
        """Return the state after the 64 bytes that begin at `at`."""
        x, y, z, v, w = self
        x = _rotate(x + y + v[0] + _word(text, at + 8), 37) * factor & _MASK
        y = _rotate(y + v[1] + _word(text, at + 48), 42) * factor & _MASK
        x ^= w[1] * scale & _MASK
        y = y + v[0] * scale + _word(text, at + 40) & _MASK
        z = _rotate(z + w[0], 33) * factor & _MASK
        v = _half(text, at, v[1] * factor, x + w[0])
        w = _half(text, at + 32, z + w[1], y + _word(text, at + 16))
        return _State(z, y, x, v, w)


def _half(text: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    """Return two words from 32 bytes and from two other words."""
    first, second, third, fourth = (_word(text, at + 8 * i) for i in range(4))
    a += first
    b = _rotate(b + a + fourth, 21)
    total = a + second + third
    return total + fourth & _MASK, b + _rotate(total, 44) + a & _MASK


def _hash_long(text: bytes) -> int:
    n = len(text)
    y = 81 * _K1 + 113 & _MASK
    z = _shifted(y * _K2 + 113) * _K2 & _MASK
    state = _State(81 * _K2 + _word(text, 0) & _MASK, y, z, (0, 0), (0, 0))
    for at in range(0, (n - 1) // 64 * 64, 64):
        state = state.after(text, at, _K1, 1)
    x, y, z, v, w = state
    factor = _K1 + ((z & 0xFF) << 1)
    w0 = w[0] + ((n - 1) & 63)
    v0 = v[0] + w0
    state = _State(x, y, z, (v0 & _MASK, v[1]), (w0 + v0 & _MASK, w[1]))
    x, y, z, v, w = state.after(text, n - 64, factor, 9)
    first = _mix(v[0], w[0], factor) + _shifted(y) * _K0 + z
    return _mix(first & _MASK, _mix(v[1], w[1], factor) + x & _MASK, factor)


def siphash64(key: Sequence[int], text: bytes) -> int:
    """Return SipHash-2-4 with a key of two 64-bit words (Aumasson and Bernstein, 2012).

    Examples
    --------
    >>> key = [int.from_bytes(range(i, i + 8), "little") for i in (0, 8)]
    >>> hex(siphash64(key, bytes(range(15))))
    '0xa129ca6149be45e5'
    """
    k0, k1 = (word & _MASK for word in key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D]
    v += [k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    whole = len(text) // 8 * 8
    words = [_word(text, at) for at in range(0, whole, 8)]
    words.append(int.from_bytes(text[whole:], "little") | (len(text) & 0xFF) << 56)
    for word in words:
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _rounds(v: list[int], n: int) -> None:
    """Apply n SipRounds to the four words."""
    a, b, c, d = v
    for _ in range(n):
        a = a + b & _MASK
        c = c + d & _MASK
        b, d = _rotate(b, 51) ^ a, _rotate(d, 48) ^ c
        a = _rotate(a, 32) + d & _MASK
        c = c + b & _MASK
        d, b = _rotate(d, 43) ^ a, _rotate(b, 47) ^ c
        c = _rotate(c, 32)
    v[:] = [a, b, c, d]
