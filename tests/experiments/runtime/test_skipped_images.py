from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp

from experiments.runtime.skipped_images import share_skipped


def share_in_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    data: Any = SimpleNamespace(skipped={"both.jpg", f"{rank}.jpg"})
    share_skipped(data)
    assert data.skipped == {"both.jpg", "0.jpg", "1.jpg"}
    Path(folder, f"{rank}").touch()
    dist.destroy_process_group()


def test_skipped_images_are_shared_between_processes(tmp_path: Path):
    mp.start_processes(share_in_process, (str(tmp_path),), nprocs=2, start_method="fork")
    assert {path.name for path in tmp_path.iterdir()} >= {"0", "1"}


def test_a_single_process_keeps_its_skipped_images():
    data: Any = SimpleNamespace(skipped={"a.jpg"})
    share_skipped(data)
    assert data.skipped == {"a.jpg"}
