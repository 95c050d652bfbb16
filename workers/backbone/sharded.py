"""A frozen backbone in shards: each rank holds a part of every tensor, and a layer is whole only while it runs.

DeepSpeed's stage 3 does the gathering, by hooks on the modules, without its engine: ``deepspeed.initialize`` would make
an optimiser's stand-in, send every tensor whole from rank to rank, and leak with each pack. Here the hooks are set once
a backbone (``DeepSpeedZeRoOffload``), packs put theirs beside them, and ``backward()`` is torch's own. Four things are
ours:

- a rank reads or draws just its own part of a tensor, so none is ever whole for being loaded;
- what autograd keeps of a weight is its name, not its numbers: DeepSpeed would replace ``torch.nn.functional.linear``
  in the whole process to that end, and other sums are other bits;
- a pass begins where :meth:`Shards.passing` says, for a pack calls parts of a model and DeepSpeed counts on the root.
  It fetches ahead by what the pass before did; where a pass is of another kind (scoring after training), it forgets
  that, fetches layer by layer, and learns anew in the next. The values are the same, whatever it has learnt;
- behind a layer all of its matrices go, whatever comes next. DeepSpeed asks a cache that is never emptied, which knows
  of passes long gone, and holds every backbone that there was.

Memory of a rank's device: its shards, the vectors (biases, norms), and gathered at most :attr:`Shards.live` scalars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from trials.sources.tensors import Sizes
from workers.backbone.full import Fingerprint, joined, shard_fingerprint
from workers.backbone.opened import Found, Opened, complete, put
from workers.gang.deepspeed import connected
from workers.gang.gang import Gang
from workers.pack.together import together

_RELEASES = "_PartitionedParameterCoordinator__params_to_release"  # DeepSpeed's method, by module and place in a pass


@dataclass(frozen=True)
class Sharding:
    """How ranks share a backbone.

    Args:
        gang: the ranks.
        offload: whether shards lie in the machine's memory, from where a layer is copied to the device when it runs.
    """

    gang: Gang
    offload: bool = False


class Shards:
    """The parameters of one model, of each a part on every rank. A process has one such model at a time.

    Args:
        opened: the model without its numbers, and where they come from; the same on all ranks.
        device: where it runs.
        dtype: of its numbers.
        sharding: who shares it.

    Raises:
        ApetError, OutOfMemoryError: on every rank, where one of them can't read its part, finds numbers there that
            aren't finite, or has no room for it.

    Attributes:
        model: its parameters have no scalars while they are released; ``ds_shape`` is what they have then.
        offload: see :class:`Sharding`.
        live: scalars that are gathered at once at most: those of a block, fetched ahead, and of the largest tensor.
    """

    def __init__(self, opened: Opened, device: str | torch.device, dtype: torch.dtype, sharding: Sharding) -> None:
        self.model, self.offload, self._gang = opened.model, sharding.offload, sharding.gang
        deepspeed = connected(device)
        init = deepspeed.zero.Init(config_dict_or_path=_config(torch.device(device), dtype, sharding.offload))
        together(self._gang, lambda: self._fill(opened, init, dtype))
        complete(self.model, opened.ref, device)
        self._parameters: list[Any] = list(self.model.parameters())
        block = _largest_block(self.model)
        self.live = block + max(p.ds_numel for p in self._parameters)
        self._passing = False
        self._offloading = _hooked(self.model, block)
        self._coordinator = self._offloading.param_coordinator
        self._coordinator.reset_step = self._at_root  # DeepSpeed's hook on the root calls it

    def _fill(self, opened: Opened, init: Any, dtype: torch.dtype) -> None:
        """Take the memory of all parts, then their numbers."""
        type(init).param_id = 0  # ranks compare DeepSpeed's numbers, and one that failed last time has made fewer
        for name, sizes in opened.tensors.shapes.items():
            put(self.model, name, _parameter(init, sizes, dtype))
        for name in opened.tensors.shapes:
            p: Any = self.model.get_parameter(name)
            part, start = _own(p)
            opened.tensors.fill(part, name, start)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Around a forward pass, whichever parts of the model it calls; outside, each call of the model is one."""
        self._begin()
        self._passing = True
        try:
            with weights_named():
                yield
        finally:
            self._passing = False

    def rest(self) -> None:
        """Release what a pass has left gathered: behind its backward pass, or where it was given up."""
        from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

        self._coordinator.release_backward_leftovers()  # of layers that read no gradient, nobody says when they end
        settle(self._parameters, self._offloading.module.ds_inflight_param_registry)
        for p in self._parameters:
            p.ds_active_sub_modules.clear()
            if not p.ds_persist and p.numel() == p.ds_numel:
                p.partition()
        FWD_MODULE_STACK[:] = [self.model]  # a pass that was given up leaves its layers there

    def fingerprint(self) -> Fingerprint:
        """That of the whole model; called by all ranks."""
        mine = [shard_fingerprint(*_own(p)) for p in self._parameters]
        return joined(self._gang.gather(tuple(chain.from_iterable(mine))))

    def close(self) -> None:
        """Let the numbers go, at once; the model must not be used again."""
        from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

        self.rest()
        self._offloading.destroy()
        FWD_MODULE_STACK.clear()
        for p in self._parameters:  # they refer to themselves, so that they stay until Python looks for such
            p.ds_tensor = None
            p.data = p.data.new_empty(0)

    def _begin(self) -> None:
        self.rest()
        type(self._coordinator).reset_step(self._coordinator)

    def _at_root(self) -> None:
        if not self._passing:
            self._begin()


def sharded(
    opening: Callable[[], Opened], device: str | torch.device, dtype: torch.dtype, sharding: Sharding
) -> tuple[Shards, Found]:
    """Open a model, and hold this rank's part of it.

    Raises:
        ApetError, OutOfMemoryError: on every rank, where one of them can't; see :class:`Shards`.
    """
    opened = together(sharding.gang, opening)
    shards = Shards(opened, device, dtype, sharding)
    return shards, Found(shards.model, opened.tokenizer)


@contextmanager
def weights_named() -> Iterator[None]:
    """Around a pass over shards: what autograd keeps of a weight is its name, so that its numbers can go."""
    with torch.autograd.graph.saved_tensors_hooks(_named, _found):
        yield


def settle(parameters: Iterable[Any], fetching: Any) -> None:
    """Wait for the parameters that are on their way, and drop those of a gather that had no room to begin."""
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    for p in parameters:
        if p in fetching:
            fetching.pop(p).wait()
        if p.ds_status is ZeroParamStatus.INFLIGHT:
            p.data, p.ds_status = p.data.new_empty(0), ZeroParamStatus.NOT_AVAILABLE


@contextmanager
def whole(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor of a model, gathered meanwhile if it is in shards; then all ranks call it."""
    p: Any = tensor
    if getattr(p, "ds_tensor", None) is None or p.numel() == p.ds_numel:
        yield tensor
        return
    p.all_gather()
    try:
        yield tensor
    finally:
        p.partition()


def shape_of(tensor: Tensor) -> torch.Size:
    """The shape of a tensor of a model, gathered or not."""
    found: torch.Size = getattr(tensor, "ds_shape", tensor.shape)
    return found


def _config(device: torch.device, dtype: torch.dtype, offload: bool) -> dict[str, Any]:
    """DeepSpeed's settings of how tensors are cut and gathered."""
    there = {"offload_param": {"device": "cpu", "pin_memory": device.type == "cuda"}}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "zero_optimization": {
            "stage": 3,
            "memory_efficient_linear": False,
            "stage3_allgather_sequential": True,  # each tensor into its place; in buckets all would be there twice
            **(there if offload else {}),
        },
    }


def _parameter(init: Any, sizes: Sizes, dtype: torch.dtype) -> nn.Parameter:
    """A parameter of which a rank holds a part, without its numbers.

    DeepSpeed cuts the flat tensor into as many equal parts as there are ranks, the last ones padded with zeros. It does
    so when a tensor is whole; here it is told of the shape, by one scalar seen many times, and given the part.
    """
    from deepspeed.runtime.swap_tensor.partitioned_param_swapper import PartitionedParamStatus

    p: Any = nn.Parameter(torch.zeros((), dtype=dtype, device=init.local_device).expand(sizes), requires_grad=False)
    init._convert_to_deepspeed_param(p)
    p.ds_persist = len(sizes) == 1  # biases and norms stay whole on every rank: they weigh nothing, and a call costs
    place = init.local_device if p.ds_persist else init.remote_device
    part: Any = torch.zeros(-(-p.ds_numel // init.dp_world_size), dtype=dtype, device=place)
    if part.device.type == "cpu" and init.pin_memory:
        part = part.pin_memory()
    part.ds_numel, part.final_location = part.numel(), None
    part.status = PartitionedParamStatus.AVAILABLE
    p.ds_tensor, p.ds_numel_aligned = part, part.numel() * init.dp_world_size
    p.partition()
    parameter: nn.Parameter = p
    return parameter


def _own(p: Any) -> tuple[Tensor, int]:
    """This rank's scalars of a parameter, without padding, and the first one's place in the flat tensor."""
    size = p.ds_tensor.numel()
    start = min(size * p.ds_zero_partition_rank, p.ds_numel)
    return p.ds_tensor[: min(size, p.ds_numel - start)], start


def _largest_block(model: nn.Module) -> int:
    """Scalars of the largest item of a list of modules."""
    lists = (x for x in model.modules() if isinstance(x, nn.ModuleList))
    return max(sum(shape_of(p).numel() for p in block.parameters()) for blocks in lists for block in blocks)


def _hooked(model: nn.Module, ahead: int) -> Any:
    """DeepSpeed's hooks on every module; ``ahead``: scalars that may be gathered before they are needed."""
    from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK, DeepSpeedZeRoOffload

    FWD_MODULE_STACK.clear()
    offloading = DeepSpeedZeRoOffload(
        model,
        timers=None,
        ds_config=None,  # of tensors that aren't cut yet: there are none
        prefetch_bucket_size=ahead,
        max_reuse_distance=0,
        max_live_parameters=ahead,
        param_persistence_threshold=0,  # :func:`_parameter` has said which
    )
    setattr(offloading.param_coordinator, _RELEASES, _matrices)
    return offloading


def _matrices(module: nn.Module, place: int) -> set[int]:
    """What goes behind a layer, by DeepSpeed's numbers."""
    parameters: Any = module.parameters(recurse=False)
    return {p.ds_id for p in parameters if not p.ds_persist}


@dataclass(frozen=True)
class _View:
    """A weight as autograd wants it kept, without its numbers."""

    parameter: Any
    sizes: torch.Size
    strides: tuple[int, ...]
    offset: int


def _named(x: Tensor) -> Tensor | _View:
    """Keep a tensor for the backward pass: of the weights of the layer that runs just the name."""
    from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

    for p in FWD_MODULE_STACK[-1]._parameters.values():
        if p is not None and x.numel() and p.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
            return _View(p, x.shape, x.stride(), x.storage_offset() - p.storage_offset())
    return x


def _found(kept: Tensor | _View) -> Tensor:
    """What was kept; the layer's hook has gathered its weights again."""
    if not isinstance(kept, _View):
        return kept
    p = kept.parameter
    assert p.numel() == p.ds_numel, f"a weight was released before its backward pass: {p.ds_summary()}"
    found: Tensor = p.detach().as_strided(kept.sizes, kept.strides, p.storage_offset() + kept.offset)
    return found
