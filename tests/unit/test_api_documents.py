"""YAML is read as kubectl reads it: the right-hand sides are the answers of sigs.k8s.io/yaml v1.6.0."""

from __future__ import annotations

import json

import pytest
from boresight_api.documents import MAX_NODES, dump_yaml, load_documents, load_yaml
from boresight_api.problems import ManifestError
from hypothesis import example, given
from hypothesis import strategies as st

# Written by sigs.k8s.io/yaml's YAMLToJSONStrict on `v: <text>`.
KUBECTL = """
1 1|0 0|-0 0|+1 1|-1 -1|1_000 1000|1__0 10|_1 "_1"|1_ 1|0o17 15|017 15|08 8|09 9|0x1F 31|0X1f 31|-0x1F -31|0b101 5
0B1 1|0b12 "0b12"|-0b11 -3|+0b1 1|0o8 "0o8"|1:30 "1:30"|190:20:30 "190:20:30"|1.5 1.5|1. 1|.5 0.5|-.5 -0.5|+.5 0.5
1e5 100000|1E5 100000|1e+5 100000|1e-5 0.00001|2e-5 0.00002|2.0e-5 0.00002|1.e3 1000|.5e3 500|1e "1e"|1e21 1e+21
1.5e400 "1.5e400"|-1e400 "-1e400"|1e-400 0|inf "inf"|nan "nan"|Infinity "Infinity"
yes true|Yes true|YES true|no false|No false|NO false|on true|On true|ON true|off false|Off false|OFF false
y true|Y true|n false|N false|true true|True true|TRUE true|tRUE "tRUE"|false false|False false|FALSE false
null null|Null null|NULL null|~ null|nUll "nUll"
9223372036854775807 9223372036854775807|9223372036854775808 9223372036854775808
18446744073709551615 18446744073709551615|-9223372036854775808 -9223372036854775808
123456789012345678901234567890 1.2345678901234568e+29
0.1 0.1|0.10 0.1|1.0 1|100.0 100|1e3 1000|1e20 100000000000000000000
1_0.5 10.5|1_000.5_0 1000.5|0x_1 1|0b_1 1|2001-01-01 "2001-01-01"|12e03 12000|0.1.2 "0.1.2"|1,000 "1,000"|1-2 "1-2"
--1 "--1"|+-1 "+-1"|0x "0x"|0b "0b"|0o "0o"|= "="|<< "<<"|1e5x "1e5x"|0777 511|-017 -15|0x1.8p1 "0x1.8p1"
0xffffffffffffffff 18446744073709551615|0x10000000000000000 "0x10000000000000000"
-0x8000000000000000 -9223372036854775808|4.0 4|+0 0|00 0|0_7 7|07_7 63|1e1_0 10000000000
"""
CASES = [tuple(case.split(" ", 1)) for line in KUBECTL.strip().splitlines() for case in line.split("|")]


@pytest.mark.parametrize(("text", "answer"), CASES)
def test_a_scalar_is_what_kubectl_sends(text: str, answer: str) -> None:
    (value,) = load_yaml(f"v: {text}\n").values()
    expected = json.loads(answer)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1: a\n", {"1": "a"}),
        ("yes: a\n", {"true": "a"}),
        ("1.5: a\n", {"1.5": "a"}),
        ("0x10: a\n", {"16": "a"}),
        ("1e3: a\n", {"1000": "a"}),
        ('a: "yes"\n', {"a": "yes"}),
        ("a: 'on'\n", {"a": "on"}),
        ("a: !!str 5\n", {"a": "5"}),
        ('a: !!int "5"\n', {"a": 5}),
        ('a: !!float "2e-5"\n', {"a": 0.00002}),
        ("a: !!bool yes\n", {"a": True}),
        ("a:\n", {"a": None}),
        ("a: |\n  x\n", {"a": "x\n"}),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_structure_is_what_kubectl_sends(text: str, answer: object) -> None:
    assert load_yaml(text) == answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", 'line 2: found "a" twice in one mapping'),
        ("a: {b: 1, b: 2}\n", 'line 1: found "b" twice in one mapping'),
        ("c: {<<: {a: 1}, a: 2}\n", 'line 1: found "a" twice in one mapping'),
        ("a: .inf\n", "line 1: found the number .inf, expected a finite number"),
        ("a: .nan\n", "line 1: found the number .nan, expected a finite number"),
        ("null: a\n", "line 1: found null as a name"),
        ("? [a]\n: b\n", "line 1: found a list or mapping as a name"),
        ("a: !foo bar\n", "line 1: found the tag !foo, expected no tags"),
        ("a: !!int x\n", 'line 1: found "x" with the tag !!int'),
        ("\ta: 1\n", "line 1, column 1: found"),
        ("a: [1, 2\n", "found"),
        ("a: &a [*a]\n", "line 1: found an anchor that contains itself"),
        ("[1]\n", "line 1: found a list, expected a mapping"),
        ("a\n", "line 1: found a str, expected a mapping"),
        ("", "found nothing, expected one document"),
        ("a: \x00b\n", "no YAML"),
        ("a: 1\n---\nb: 2\n", "found 2 documents, expected one"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_yaml(text)
    assert message in str(caught.value)


def test_several_documents_come_in_order_and_empty_ones_are_skipped() -> None:
    assert load_documents("a: 1\n---\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


def test_aliases_cannot_grow_without_bound() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ManifestError, match=f"more than {MAX_NODES} values"):
        load_yaml("\n".join(lines))


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])))
@example("n")
@example("2e-5")
@example("1_000")
@example("0o17")
@example("")
@example("two\nlines\n")
def test_text_that_is_written_is_text_to_who_reads_it_as_kubectl_does_in_names_and_in_values(text: str) -> None:
    document = {text: text, "list": [text]}
    assert load_yaml(dump_yaml(document)) == document


def test_only_what_needs_quotes_gets_them_and_the_order_stays() -> None:
    assert dump_yaml({"b": "text", "a": [1, True, None, "1"], "n": "2e-5"}) == (
        "b: text\na:\n- 1\n- true\n- null\n- '1'\n'n': '2e-5'\n"
    )
