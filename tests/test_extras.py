from __future__ import annotations

import pytest

from art_mi.extras import optional


def test_an_installed_module_is_given() -> None:
    assert optional("json.decoder", "anything").JSONDecoder


def test_a_missing_package_is_named_with_the_extra_that_installs_it() -> None:
    with pytest.raises(ImportError, match=r"`no_such_package` is not installed: pip install 'art-mi\[extra\]'"):
        optional("no_such_package.part", "extra")


def test_what_an_installed_package_lacks_itself_is_not_taken_for_the_package(tmp_path, monkeypatch) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"):
        optional("half_installed", "extra")
