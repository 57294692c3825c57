"""Places in buckets: what a URI names, and in which store a source lies."""

from __future__ import annotations

import pytest
from boresight_api.buckets import BucketPlace, store_of


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a/b.jsonl", "bucket", "a/b.jsonl"),
        ("s3://bucket/a/", "bucket", "a"),
        ("s3://bucket/a%20b%3Fc", "bucket", "a b?c"),
    ],
)
def test_a_place_is_a_bucket_and_what_stands_behind_it(uri: str, bucket: str, prefix: str) -> None:
    assert BucketPlace.parse(uri) == BucketPlace(bucket, prefix)


@pytest.mark.parametrize(
    "uri",
    [
        *("s3://", "s3:///a", "file:///a", "s3://user@bucket/a", "s3://bucket/a?versionId=1", "s3://bucket/a#b"),
        *("s3://bucket/..", "s3://bucket/a/../b", "s3://bucket/a%2F..%2Fb", "s3://bucket/./a", "s3://bucket/a//b"),
        *("s3://bucket/a%00b", "s3://bucket/a%0Ab"),
    ],
)
def test_what_is_no_place_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="expected s3://<bucket>/<prefix>"):
        BucketPlace.parse(uri)


STORES = ("s3://alignment/team", "file:///shared", "s3://alignment", "s3://data/sets/", "s3://data/sets", "s3://whole")


@pytest.mark.parametrize(
    ("uri", "store"),
    [
        ("s3://alignment/team/data", 0),
        ("s3://alignment/team", 0),
        ("s3://alignment/team-2", 2),
        ("s3://alignment/te%61m/x", 0),
        ("s3://data/sets/x", 3),
        ("s3://data/setsx", None),
        ("s3://data", None),
        ("s3://whole", 5),
        ("s3://whole/x", 5),
        ("s3://wholes/x", None),
    ],
)
def test_a_source_lies_in_the_deepest_store_that_holds_it(uri: str, store: int | None) -> None:
    assert store_of(uri, STORES) == store


def test_a_source_lies_in_no_store_if_there_is_none() -> None:
    assert store_of("s3://bucket/x", ()) is None
    assert store_of("s3://bucket/x", ("file:///x",)) is None
