"""Tags of several platforms, and digests of repositories."""

import pytest

from minidock.errors import ImageNotFound
from minidock.store.store import Store
from tests.unit.store.conftest import add_image
from tests.unit.store.test_images import delete

TAG = "docker.io/library/x:latest"
INDEX, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
REPOSITORY = "docker.io/library/x"


def test_platforms_join_under_one_target(store: Store) -> None:
    one, two, three = (add_image(store, digit, ("l",)) for digit in "abc")
    names = store.names
    assert names.set_tag(TAG, one, INDEX, join=True) is None
    assert names.set_tag(TAG, two, INDEX, join=True) == one
    assert names.images(TAG) == [two, one], "the last one is what the bare name means"
    assert names.get(TAG).image_id == two  # type: ignore[union-attr]
    assert names.get(TAG).target == INDEX  # type: ignore[union-attr]
    assert names.set_tag(TAG, one, INDEX, join=True) == two
    assert names.images(TAG) == [one, two]
    assert [tag.image_id for tag in names.tags()] == [one, two]
    # Another index, or a local image: the others lose the name.
    assert names.set_tag(TAG, three, OTHER, join=True) == one
    assert names.images(TAG) == [three]
    names.set_tag(TAG, one, OTHER, join=True)
    names.set_tag(TAG, two)
    assert names.images(TAG) == [two]
    assert names.get(TAG).target is None  # type: ignore[union-attr]
    # Without a target nothing joins.
    names.set_tag(TAG, one, None, join=True)
    assert names.images(TAG) == [one]


def test_removing_one_platform_or_all(store: Store) -> None:
    one, two = (add_image(store, digit, ("l",)) for digit in "ab")
    names = store.names
    for image in (one, two):
        names.set_tag(TAG, image, INDEX, join=True)
    assert names.remove_tag(TAG, two)
    assert not names.remove_tag(TAG, two)
    assert names.images(TAG) == [one]
    assert names.get(TAG).image_id == one  # type: ignore[union-attr]
    names.set_tag(TAG, two, INDEX, join=True)
    assert names.remove_tag(TAG, one)
    assert names.get(TAG).image_id == two  # type: ignore[union-attr]
    assert names.remove_tag(TAG, two)
    assert names.get(TAG) is None
    for image in (one, two):
        names.set_tag(TAG, image, INDEX, join=True)
    assert names.remove_tag(TAG)
    assert not names.remove_tag(TAG)
    assert names.images(TAG) == []
    assert not store.database.rows("SELECT * FROM tag_images")


def test_an_image_goes_from_a_name_of_several(store: Store) -> None:
    one, two = (add_image(store, digit, (digit,)) for digit in "ab")
    for image in (one, two):
        store.names.set_tag(TAG, image, INDEX, join=True)
        store.names.add_digest(REPOSITORY, INDEX, image)
    delete(store, two)
    assert store.names.images(TAG) == [one]
    assert store.names.get(TAG).image_id == one  # type: ignore[union-attr]
    assert store.names.by_digest(REPOSITORY, INDEX) == [one]
    delete(store, one)
    assert store.names.tags() == store.names.digests() == []


def test_names_of_what_is_not_there(store: Store) -> None:
    assert store.names.get(TAG) is None
    assert store.names.images(TAG) == []
    with pytest.raises(ImageNotFound):
        store.names.set_tag(TAG, "sha256:" + "f" * 64, INDEX, join=True)
    one = add_image(store)
    store.database.execute("UPDATE images SET hidden = 1")
    with pytest.raises(ImageNotFound):
        store.names.set_tag(TAG, one)
    store.names.add_digest(REPOSITORY, INDEX, one)
    assert store.names.by_digest(REPOSITORY, INDEX) == [], "hidden"


def test_digests(store: Store) -> None:
    one, two = (add_image(store, digit, ("l",)) for digit in "ab")
    names = store.names
    for repository in (REPOSITORY, "localhost:5000/y"):
        for digest in (INDEX, OTHER):
            names.add_digest(repository, digest, one)
            names.add_digest(repository, digest, one)
    names.add_digest(REPOSITORY, INDEX, two)
    assert names.by_digest(REPOSITORY, INDEX) == [one, two], "an index has several images"
    assert names.by_digest(REPOSITORY, OTHER) == [one]
    assert names.by_digest("docker.io/library/z", INDEX) == []
    assert len(names.digests()) == 5
    assert [(row.repository, row.digest) for row in names.digests(two)] == [(REPOSITORY, INDEX)]
    assert names.remove_digests(one, REPOSITORY, INDEX) == [INDEX]
    assert names.remove_digests(one, REPOSITORY, INDEX) == []
    assert names.remove_digests(one, "localhost:5000/y") == [INDEX, OTHER]
    assert [row.digest for row in names.digests(one)] == [OTHER]
    assert names.by_digest(REPOSITORY, INDEX) == [two]
