import json
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from contextlib import contextmanager

import pytest
import safetensors.torch
import torch

from vireid._files import (
    CHECKSUM,
    check_file,
    load_json,
    load_tensors,
    lock_folder,
    save_json,
    save_tensors,
    write_file,
)
from vireid.models import load_training_state, save_training_state

TENSORS = {"rows": torch.arange(24.0).view(6, 4), "ids": torch.arange(6)}
KINDS = {
    "tensors": (lambda path: save_tensors(path, TENSORS, {"kind": "test"}), load_tensors),
    "json": (lambda path: save_json(path, {"name": "test", "sizes": [1, 2], "é": None}), load_json),
    "state": (lambda path: save_training_state(path, {"epoch": 3, "model": TENSORS}), load_training_state),
}
KIND = pytest.mark.parametrize(("save", "load"), KINDS.values(), ids=KINDS)


@contextmanager
def forked(function, *arguments):
    """Run a function in another process, which is killed at the end."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_tensors_come_back(tmp_path):
    weight = torch.rand(3, 4).bfloat16()
    shared = {"a": weight, "b": weight, "turned": weight.T, "row": weight[1], "none": torch.empty(0, 4)}
    save_tensors(tmp_path / "new" / "x", shared, {"kind": "é", "version": "2"})
    tensors, metadata = load_tensors(tmp_path / "new" / "x")
    assert metadata == {"format": "pt", "kind": "é", "version": "2"}
    assert tensors.keys() == shared.keys()
    for name, tensor in shared.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0)
    assert safetensors.torch.load_file(tmp_path / "new" / "x")["a"].shape == (3, 4)


def test_json_comes_back(tmp_path):
    save_json(tmp_path / "x", {"é": [1, None, {"b": 2.5}]})
    assert load_json(tmp_path / "x") == {"é": [1, None, {"b": 2.5}]}
    assert json.loads((tmp_path / "x").read_text())[CHECKSUM].startswith("vireid-sha256:")


@KIND
def test_every_flipped_bit_is_noticed(save, load, tmp_path):
    path = tmp_path / "x"
    save(path)
    whole, draw = path.read_bytes(), random.Random(0)
    marks = [whole.index(mark) + i for mark in (b"vireid.checksum", b"vireid-sha256:") for i in (0, 5, 12)]
    for place in [draw.randrange(len(whole)) for _ in range(150)] + marks + [0, 7, 8, len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="path must be an? .*file, got|path must be a whole training state, got"):
            load(path)
    for part in (whole[:-1], whole[: len(whole) // 2], whole[:9], b"", whole + b"\n"):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="path must be an? .*file, got|path must be a whole training state, got"):
            load(path)
    path.write_bytes(whole)
    load(path)


def test_files_without_a_checksum_are_read(tmp_path):
    safetensors.torch.save_file(TENSORS, tmp_path / "x", {"format": "pt", "sha256": "sha256:ab"})
    assert not check_file(tmp_path / "x")
    assert load_tensors(tmp_path / "x")[0]["ids"].tolist() == [0, 1, 2, 3, 4, 5]
    (tmp_path / "x").write_text('{"a": 1}')
    assert load_json(tmp_path / "x") == {"a": 1}


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a": ' * 100_000, "[1]", "nan", "{", "\udcff", f"[{' ' * 2**24}]"]
)
def test_json_that_is_refused(content, tmp_path):
    (tmp_path / "x").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match="path must be a JSON file"):
        load_json(tmp_path / "x")


@pytest.mark.parametrize("load", [load for _, load in KINDS.values()], ids=KINDS)
def test_files_that_are_missing(load, tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match="path must be a file, got"):
            load(path)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@KIND
def test_rights_are_those_of_the_umask(save, load, mask, tmp_path):
    before = os.umask(mask)
    try:
        save(tmp_path / "x")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def fill_the_disk(save, path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        save(path)
    except OSError as error:
        os._exit(7 if str(error).startswith("path must be a file that can be written, got '") else 8)


@KIND
def test_a_full_disk_is_an_oserror_and_leaves_the_earlier_file(save, load, tmp_path):
    save(tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    with forked(fill_the_disk, save, tmp_path / "x") as process:
        process.join()
        assert process.exitcode == 7
    assert (tmp_path / "x").read_bytes() == before
    assert os.listdir(tmp_path) == ["x"]


@KIND
def test_files_that_cannot_be_written(save, load, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x", tmp_path / "folder"):
        with pytest.raises(OSError, match="path must be a file that can be written, got"):
            save(path)

    def fail(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="path must be a file that can be written, got .*no space left"):
        save(tmp_path / "x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_an_error_of_the_writer_passes(tmp_path):
    def write(path):
        path.write_text("half")
        raise ValueError("my own")

    with pytest.raises(ValueError, match="my own"):
        write_file(tmp_path / "x", write)
    assert os.listdir(tmp_path) == []


def write_slowly(path, started, done):
    def write(unfinished):
        unfinished.write_text("slow")
        started.set()
        done.wait()

    write_file(path, write)


def test_litter_of_killed_runs_is_removed_but_not_what_another_process_writes(tmp_path):
    started, done = multiprocessing.Event(), multiprocessing.Event()
    with forked(write_slowly, tmp_path / "x", started, done):
        assert started.wait(10)
        litter = os.listdir(tmp_path)
        save_json(tmp_path / "y", {})
        assert sorted(os.listdir(tmp_path)) == sorted([*litter, "y"])
    started, done = multiprocessing.Event(), multiprocessing.Event()
    with forked(write_slowly, tmp_path / "x", started, done) as process:
        assert started.wait(10)
        names = os.listdir(tmp_path)
        assert len(names) == 2
        assert names != [*litter, "y"]
        save_json(tmp_path / "y", {})
        assert sorted(os.listdir(tmp_path)) == sorted(names)
        done.set()
        process.join()
    assert (tmp_path / "x").read_text() == "slow"
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_many_writers_of_one_file(tmp_path):
    def write(number):
        for _ in range(20):
            save_json(tmp_path / "x", {"number": number, "long": number * 1000 * [number]})
            load_json(tmp_path / "x")

    failed = []
    before, threading.excepthook = threading.excepthook, lambda args: failed.append(args.exc_value)
    try:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    finally:
        threading.excepthook = before
    assert failed == []
    assert os.listdir(tmp_path) == ["x"]


# Locks


def hold(folder, locked):
    with lock_folder(folder):
        if os.fork() == 0:  # a worker that outlives the run
            time.sleep(20)
            os._exit(0)
        locked.set()
        time.sleep(60)


def test_a_lock_tells_the_second_run_who_has_it(tmp_path):
    folder, locked = tmp_path / "new", multiprocessing.Event()
    with forked(hold, folder, locked) as holder:
        assert locked.wait(10)
        rule = f"folder must be free, got '.*new', which is in use by process {holder.pid} on .*Wait for it"
        with pytest.raises(BlockingIOError, match=rule), lock_folder(folder):
            pass
    with lock_folder(folder):
        assert os.listdir(folder) == [".lock"]
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on"), lock_folder(folder):
            pass
    assert os.listdir(folder) == []
    with lock_folder(folder):
        pass


def test_one_of_many_gets_the_lock(tmp_path):
    inside, most, refused = [], [], []

    def enter():
        for _ in range(200):
            try:
                with lock_folder(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.0002)
                    inside.pop()
            except BlockingIOError:
                refused.append(1)

    threads = [threading.Thread(target=enter) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert max(most) == 1
    assert refused
