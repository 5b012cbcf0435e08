"""Bugs that are put in on purpose are bugs of today's product, and tests that must notice them exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.faults.mutation import Mutation
from tests.faults.mutations import PROMISES

ROOT = Path(__file__).parent.parent.parent
MUTATIONS = [mutation for mutations in PROMISES.values() for mutation in mutations]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.bug)
def test_a_bug_is_in_one_place_and_the_product_with_it_can_be_read(mutation: Mutation) -> None:
    right = (ROOT / mutation.file).read_text(encoding="utf-8")

    wrong = right.replace(mutation.old, mutation.new)

    assert right.count(mutation.old) == 1
    assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(right))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.bug)
def test_what_must_notice_it_is_a_test(mutation: Mutation) -> None:
    file, _, name = mutation.test.partition("::")
    tests = {
        node.name
        for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert name in tests | {""}


def test_no_bug_is_there_twice() -> None:
    assert len({mutation.bug for mutation in MUTATIONS}) == len(MUTATIONS)
