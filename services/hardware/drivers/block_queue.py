"""How a block device likes to be used: its queue and its zones."""

from __future__ import annotations

import re

from services.hardware.drivers.tree import Tree
from services.hardware.models.storage import BlockQueue, BlockZones

_CHOSEN = re.compile(r"\[([^]]+)\]")


def queue(tree: Tree, folder: str, disk: str) -> BlockQueue:
    """The limits of `disk`, and where `folder` (a partition of it, or itself) lies in them."""

    def number(name: str) -> int | None:
        return tree.number(f"{disk}/queue/{name}")

    schedulers = tree.text(f"{disk}/queue/scheduler") or ""
    chosen = _CHOSEN.search(schedulers)
    ahead = number("read_ahead_kb")
    return BlockQueue(
        logical_sector_size=number("logical_block_size"),
        physical_sector_size=number("physical_block_size"),
        minimum_io=number("minimum_io_size"),
        optimal_io=number("optimal_io_size"),
        alignment_offset=tree.number(f"{folder}/alignment_offset"),
        discard_alignment=tree.number(f"{folder}/discard_alignment"),
        discard_granularity=number("discard_granularity"),
        discard_maximum=number("discard_max_bytes"),
        discard_zeroes=tree.flag(f"{disk}/queue/discard_zeroes_data"),
        write_same_maximum=number("write_same_max_bytes"),
        read_ahead=None if ahead is None else ahead << 10,
        scheduler=chosen.group(1) if chosen else None,
        requests=number("nr_requests"),
        adds_randomness=tree.flag(f"{disk}/queue/add_random"),
        dax=tree.flag(f"{disk}/queue/dax"),
        write_cache=tree.text(f"{disk}/queue/write_cache"),
    )


def zones(tree: Tree, disk: str) -> BlockZones | None:
    """None: the kernel knows nothing of zones."""
    model = tree.text(f"{disk}/queue/zoned")
    if model is None:
        return None
    size = tree.number(f"{disk}/queue/chunk_sectors")
    return BlockZones(
        model=model,
        size=0 if model == "none" else None if size is None else size * 512,
        write_granularity=tree.number(f"{disk}/queue/zone_write_granularity"),
        append_maximum=tree.number(f"{disk}/queue/zone_append_max_bytes"),
        count=tree.number(f"{disk}/queue/nr_zones"),
        open_maximum=tree.number(f"{disk}/queue/max_open_zones") or 0,
        active_maximum=tree.number(f"{disk}/queue/max_active_zones") or 0,
    )
