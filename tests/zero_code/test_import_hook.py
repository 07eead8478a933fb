"""The hook tells of a module that has been imported, and nothing of the module shows that."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import pickle
import sys
import threading
import zipfile
from collections.abc import Iterator
from importlib.machinery import BuiltinImporter, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pixelmeter.drivers.import_hook import ImportHook

NAMES = ("zc_fox", "zc_owl", "zc_broken")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModuleType]]:
    """The modules that the hook has told of; those that it watches lie in a folder on the path."""
    (tmp_path / "zc_fox.py").write_text("loaders = [__loader__, __spec__.loader]\nnumber = 1\n")
    (tmp_path / "zc_owl").mkdir()
    (tmp_path / "zc_owl" / "__init__.py").write_text("import zc_owl.wing\n")
    (tmp_path / "zc_owl" / "wing.py").write_text("")
    (tmp_path / "zc_broken.py").write_text("raise RuntimeError('mine')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    told: list[ModuleType] = []
    hook = ImportHook(NAMES, told.append)
    hook.install()
    hook.install()
    assert 1 == sys.meta_path.count(hook)
    yield told
    hook.remove()
    hook.remove()
    assert hook not in sys.meta_path
    for name in [name for name in sys.modules if name.partition(".")[0] in NAMES]:
        del sys.modules[name]


def test_a_module_is_told_of_once_it_has_been_executed(told: list[ModuleType]) -> None:
    fox: Any = importlib.import_module("zc_fox")
    owl = importlib.import_module("zc_owl.wing")
    importlib.import_module("zc_fox")
    assert [fox, sys.modules["zc_owl"]] == told
    assert (1, "zc_owl.wing") == (fox.number, owl.__name__)


@pytest.mark.usefixtures("told")
def test_the_loader_of_a_module_is_its_own_even_while_it_is_executed() -> None:
    fox: Any = importlib.import_module("zc_fox")
    assert type(fox.__loader__) is SourceFileLoader
    assert [fox.__loader__] * 3 == [*fox.loaders, fox.__spec__.loader]
    assert "exec_module" not in vars(fox.__loader__)


def test_a_reload_is_told_of_again_and_leaves_the_module_as_it_is(told: list[ModuleType]) -> None:
    fox: Any = importlib.import_module("zc_fox")
    again: Any = importlib.reload(fox)
    assert fox is again
    assert [fox, fox] == told
    loaders: list[Any] = [fox.__loader__, fox.__spec__.loader]
    assert [SourceFileLoader] * 2 == [type(loader) for loader in loaders]
    assert "exec_module" not in vars(loaders[0])


def test_asking_where_a_module_is_imports_nothing_and_what_is_found_can_be_copied(told: list[ModuleType]) -> None:
    spec = importlib.util.find_spec("zc_fox")
    assert spec is not None
    assert isinstance(spec.loader, SourceFileLoader)
    assert spec.loader.get_source("zc_fox") is not None
    copies: list[Any] = [copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))]
    for copied in copies:
        module = importlib.util.module_from_spec(copied)
        copied.loader.exec_module(module)
        assert 1 == module.number
    assert [] == told
    assert "zc_fox" not in sys.modules


def test_a_module_that_raises_raises_the_same_and_is_not_told_of(told: list[ModuleType]) -> None:
    with pytest.raises(RuntimeError, match=r"^mine$"):
        importlib.import_module("zc_broken")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'zc_owl\.beak'$"):
        importlib.import_module("zc_owl.beak")
    assert ["zc_owl"] == [module.__name__ for module in told]
    assert "zc_broken" not in sys.modules


def test_what_is_done_with_a_module_may_fail(told: list[ModuleType]) -> None:
    def fail(module: ModuleType) -> None:
        raise RuntimeError(module)

    hook = ImportHook(["zc_fox"], fail)
    hook.install()
    try:
        assert importlib.import_module("zc_fox").number == 1
    finally:
        hook.remove()
    assert ["zc_fox"] == [module.__name__ for module in told]


def test_another_finder_may_ask_all_of_them_again(told: list[ModuleType]) -> None:
    """So do the hooks of wrapt, which tracers are made with."""

    class Asking:
        def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            if name != "zc_fox" or self in asking:
                return None
            asking.append(self)
            try:
                return importlib.util.find_spec(name)
            finally:
                asking.remove(self)

    asking: list[Asking] = []
    finders: Any = [Asking(), Asking()]
    sys.meta_path.insert(0, finders[0])
    sys.meta_path.insert(2, finders[1])
    try:
        fox: Any = importlib.import_module("zc_fox")
    finally:
        for finder in finders:
            sys.meta_path.remove(finder)
    assert {fox} == set(told)
    assert [fox.__loader__] * 3 == [*fox.loaders, fox.__spec__.loader]


class _HandingOn:
    """A loader around another one, as ddtrace's: it has by itself what Python looks for, and hands on all else."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.exec_module = loader.exec_module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class _Around:
    """A finder whose loaders are made of Python's own."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name)
        if spec is not None:
            spec.loader = self.of(spec.loader)
        return spec


def test_a_module_is_told_of_whose_loader_stands_around_another_one(told: list[ModuleType]) -> None:
    around: Any = _Around(_HandingOn)
    sys.meta_path.insert(1, around)
    try:
        fox: Any = importlib.import_module("zc_fox")
    finally:
        sys.meta_path.remove(around)
    assert ([fox], 1) == (told, fox.number)
    assert {_HandingOn} == {type(loader) for loader in (*fox.loaders, fox.__loader__, fox.__spec__.loader)}


class _Slotted:
    """A loader that keeps nothing but what it was made with."""

    __slots__ = ("loader",)

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)


class _OfClass:
    """A class that is its own loader, as those of compilers are."""

    loader: Any

    @classmethod
    def create_module(cls, _spec: ModuleSpec) -> ModuleType | None:
        return None

    @classmethod
    def exec_module(cls, module: ModuleType) -> None:
        cls.loader.exec_module(module)


def of_class(loader: Any) -> Any:
    _OfClass.loader = loader
    return _OfClass


@pytest.mark.parametrize("of", [_Slotted, of_class])
def test_a_module_is_told_of_whose_loader_cannot_be_copied(told: list[ModuleType], of: Any) -> None:
    around: Any = _Around(of)
    sys.meta_path.insert(1, around)
    try:
        spec: Any = importlib.util.find_spec("zc_fox")
        assert type(spec.loader.loader) is SourceFileLoader
        assert type(copy.deepcopy(spec).loader) in (_Slotted, type)
        fox: Any = importlib.import_module("zc_fox")
    finally:
        sys.meta_path.remove(around)
    assert ([fox], 1) == (told, fox.number)
    loaders = (*fox.loaders, fox.__loader__, fox.__spec__.loader)
    assert all(isinstance(each, _Slotted) or each is _OfClass for each in loaders)


def test_a_module_in_an_archive_is_told_of(
    told: list[ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("zc_fox.py", "number = 2\n")
        archive.writestr("zc_owl.py", "number = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path / "archive.zip"))
    fox, owl = importlib.import_module("zc_fox"), importlib.import_module("zc_owl")
    assert ([fox, owl], 2, 3) == (told, fox.number, owl.number)
    assert fox.__loader__ is owl.__loader__
    assert "exec_module" not in vars(fox.__loader__)


def test_a_module_that_is_loaded_late_is_told_of_when_it_is(told: list[ModuleType]) -> None:
    spec = importlib.util.find_spec("zc_fox")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["zc_fox"] = module
    spec.loader.exec_module(module)
    assert [] == told
    assert (1, [module]) == (module.number, told)


def test_threads_that_import_at_once_get_the_same_module_told_of_once(told: list[ModuleType]) -> None:
    start = threading.Barrier(8)
    found: list[ModuleType] = []

    def get(name: str) -> None:
        start.wait()
        found.append(importlib.import_module(name))

    threads = [threading.Thread(target=get, args=(NAMES[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 == len({id(module) for module in found})
    assert ["zc_fox", "zc_owl"] == sorted(module.__name__ for module in told)


@pytest.mark.usefixtures("told")
def test_a_module_without_a_file_is_found_as_ever() -> None:
    name = next(name for name in sys.builtin_module_names if name not in sys.modules)
    hook = ImportHook([name, "zc_nowhere"], print)
    hook.install()
    try:
        assert hook.find_spec("zc_nowhere") is None
        spec = hook.find_spec(name)
        assert spec is not None
        found: Any = spec.loader
        assert BuiltinImporter is found
        importlib.import_module(name)
    finally:
        hook.remove()
