"""Names of containers: their rule, and made-up ones."""

from __future__ import annotations

import os
import re

from minidock.errors import InvalidArgument

_RULE = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"
_MAX = 255

_ADJECTIVES = """
agile amber ample airy apt azure balmy bold brave breezy brisk bronze calm candid civil clear clever coral cosy crisp
curious daring dewy eager earnest easy fair fleet fluent fond frank fresh frosty gentle giddy glad golden grand hardy
hazel hearty humble ivory jade jaunty jolly keen kind lilac limber lively loyal lucid lucky lunar mellow merry mild
mint mossy neat nimble noble olive opal patient pearly placid plucky polite proud quick quiet rapid ready robust rosy
ruby rustic sage sandy scarlet serene sharp silent silver sleek smart snug solar solid spry stark steady stout sunny
swift tame teal tidy tranquil trim umber upbeat valiant velvet vivid warm wise witty
"""
_SURNAMES = """
abel adleman agnesi ampere anning apgar archimedes aryabhata banach barton bell bernoulli bohr boole bose brahe cantor
carson cauchy cavendish celsius chandra church clarke cori coulomb curie dalton darwin descartes diophantus dirac
dijkstra edison einstein engelbart erdos euclid euler faraday fermat fermi feynman fibonacci fourier franklin galilei
galois gauss germain godel goodall haber hamming hawking heisenberg hertz hilbert hooke hopper hubble huygens hypatia
ibnsina jemison joule kepler khwarizmi kilby knuth kovalevskaya lagrange lamarr laplace leavitt leibniz liskov
lovelace maxwell mcclintock meitner mendel mirzakhani napier nash newton noether nobel ohm pascal pasteur pauli payne
planck poincare ptolemy ramanujan riemann ride ritchie rubin russell sagan shannon tesla tharp thompson torvalds
turing vaughan volta wiles wozniak wright yalow zhang
"""


def check(name: str) -> str:
    """Return ``name`` without a leading slash; raise InvalidArgument unless it may name a container."""
    bare = name.removeprefix("/")
    if not re.fullmatch(_RULE, bare) or len(bare) > _MAX:
        shown = bare[:100] if bare.isprintable() else ascii(bare[:100])
        raise InvalidArgument(
            f"invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to {_MAX} characters"
        )
    return bare


def make(attempt: int = 0) -> str:
    """Return a random name such as ``keen_hopper``; with digits at the end from the fourth attempt on."""
    adjectives, surnames = _ADJECTIVES.split(), _SURNAMES.split()
    noise = int.from_bytes(os.urandom(8), "little")
    noise, adjective = divmod(noise, len(adjectives))
    noise, surname = divmod(noise, len(surnames))
    tail = str(noise % 10**attempt) if attempt > 2 else ""
    return f"{adjectives[adjective]}_{surnames[surname]}{tail}"
