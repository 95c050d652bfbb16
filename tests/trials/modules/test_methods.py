"""Methods: the study's Table 2 follows from the shapes, and wrong sizes are refused."""

from __future__ import annotations

from typing import Any

import pytest

from trials import backbones
from trials.errors import ApetError
from trials.modules import methods
from trials.modules.positions import layout
from trials.trial import Method, Source, TaskRef, Training, Trial

TABLE_2 = {  # Su et al. 2023, the authors' code; BERT's BitFit and all of T5's BitFit: from the shapes
    "bert-small": {"lora": 65_536, "adapter": 200_896, "bitfit": 23_040, "prompt": 51_200},
    "bert-base": {"lora": 294_912, "adapter": 903_744, "bitfit": 102_144, "prompt": 76_800},
    "bert-large": {"lora": 786_432, "adapter": 2_409_600, "bitfit": 271_360, "prompt": 102_400},
    "bloom-7b1": {"lora": 3_932_160, "adapter": 12_043_680, "bitfit": 1_359_872, "prompt": 409_600},
    "bloom-1b1": {"lora": 1_179_648, "adapter": 3_613_824, "bitfit": 408_576, "prompt": 153_600},
    "bloom-560m": {"lora": 786_432, "adapter": 2_409_600, "bitfit": 272_384, "prompt": 102_400},
    "t5-small": {"lora": 229_376, "adapter": 803_584, "bitfit": 102_400, "prompt": 51_200},
    "t5-base": {"lora": 589_824, "adapter": 1_807_488, "bitfit": 274_944, "prompt": 76_800},
    "t5-xxl": {"lora": 6_291_456, "adapter": 19_269_888, "bitfit": 2_859_008, "prompt": 409_600},
}


def trial(name: str, method: Method) -> Trial:
    return Trial(backbones.get(name), TaskRef("rte", Source("hub", "rte", "0")), method, 1e-3, Training(steps=1))


@pytest.mark.parametrize("name", TABLE_2)
@pytest.mark.parametrize("method", ["lora", "adapter", "bitfit", "prompt"])
def test_table_2(name: str, method: str) -> None:
    assert methods.count_of(methods.named(method), backbones.get(name)) == TABLE_2[name][method]


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5", "t5-small", "bloom-560m"])
@pytest.mark.parametrize("method", ["lora", "adapter", "bitfit"])
def test_the_table_is_what_the_layout_has(name: str, method: str) -> None:
    found = layout(trial(name, methods.named(method)))
    scalars = sum(g.units.size * (g.init.shape[1] + OUT[op.op](g.site)) for op in found.ops for g in op.groups)
    assert found.count == scalars == methods.count_of(methods.named(method), backbones.get(name))
    assert all(op.cut is None for op in found.ops)


OUT: dict[str, Any] = {"add": lambda site: 1, "concat": lambda site: site.d_out, "plug": lambda site: site.d_out + 1}


@pytest.mark.parametrize("size", [1, 3, 20])
def test_the_table_follows_rank_bottleneck_and_tokens(size: int) -> None:
    ref = backbones.get("t5-small")
    d, width, places = 512, 6 * 64, 32
    assert methods.count_of(methods.named("lora", rank=size), ref) == size * (d + width) * places
    assert methods.count_of(methods.named("prompt", tokens=size), ref) == size * d
    assert methods.count_of(methods.named("adapter", bottleneck=size), ref) == (size * (2 * d + 1) + d) * places


def test_full_is_measured_and_apet_says_its_own_count() -> None:
    ref = backbones.get("tiny-t5")
    assert methods.count_of(methods.named("full"), ref) is None
    assert methods.count_of(methods.apet("t5", 77), ref) == 77


def test_defaults_are_filled_in() -> None:
    assert methods.named("lora") == Method("lora", rank=8, alpha=16.0)
    assert methods.named("lora", rank=None, alpha=4) == Method("lora", rank=8, alpha=4.0)
    assert isinstance(methods.named("lora", alpha=4).alpha, float)
    assert methods.named("adapter") == Method("adapter", bottleneck=24)
    assert methods.named("bitfit") == Method("bitfit")
    assert methods.named("prompt") == Method("prompt", tokens=100)


def test_apet_is_canonical() -> None:
    method = methods.apet("bert", 10, {"plug": 4, "add": 2}, {"add": ["down", "q"]}, "adjacent")
    assert method == Method(
        "apet",
        operations={"add": 1, "plug": 2},
        sites={"add": ("q", "down"), "plug": ("o", "down")},
        placement="adjacent",
        count=10,
    )
    same = methods.apet("bert", 10, {"add": 1, "plug": 2}, {"add": ["q", "down"], "plug": ["o", "down"]}, "adjacent")
    assert trial("tiny-bert", same).trial_id == trial("tiny-bert", method).trial_id
    assert methods.apet("t5", 1).operations == {"add": 1, "concat": 1, "plug": 1}


def test_lora_stands_on_self_attention_and_adapter_after_it() -> None:
    ref = backbones.get("tiny-t5")
    (lora,) = methods.place(methods.named("lora", rank=4, alpha=2.0), ref)
    assert {site.kind for site in lora.sites} == {"q", "v"}
    assert len(lora.sites) == 2 * (2 + 2)
    assert lora.scale == 0.5
    add, plug = methods.place(methods.named("adapter"), ref)
    assert (add.op, plug.op) == ("add", "plug")
    assert add.sites == plug.sites
    assert {site.kind for site in plug.sites} == {"o", "down"}


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        (
            "bitfitt",
            {},
            r"method 'bitfitt' is unknown; did you mean bitfit\? Choices: full, prompt, bitfit, lora, adapter, apet",
        ),
        ("bitfit", {"rank": 2}, r"rank is no size of bitfit; it has no sizes"),
        ("lora", {"bottleneck": 2}, r"bottleneck is no size of lora; its sizes: rank, alpha"),
        ("lora", {"rank": 0}, r"rank 0 of lora: give a positive whole number"),
        ("lora", {"rank": 2.0}, r"rank 2.0 of lora: give a positive whole number"),
        ("lora", {"alpha": float("inf")}, r"alpha inf of lora: give a positive number"),
        ("adapter", {"bottleneck": True}, r"bottleneck True of adapter: give a positive whole number"),
    ],
)
def test_wrong_sizes(name: str, sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ApetError, match=message):
        methods.named(name, **sizes)


@pytest.mark.parametrize("count", [0, -1, 1.0, True, "8"])
def test_wrong_counts(count: Any) -> None:
    with pytest.raises(ApetError, match=r"count .*: give a whole number from 1 to the capacity"):
        methods.apet("bert", count)


def test_sizes_above_capacity() -> None:
    ref = backbones.get("tiny-bert")
    assert methods.count_of(methods.named("lora", rank=64), ref) == 64 * 128 * 4
    with pytest.raises(ApetError, match=r"rank 65 of lora is above the capacity of tiny-bert: concat holds 64 units"):
        methods.count_of(methods.named("lora", rank=65), ref)
    with pytest.raises(ApetError, match=r"bottleneck 65 of adapter is above the capacity of tiny-bert: plug holds 64"):
        layout(trial("tiny-bert", methods.named("adapter", bottleneck=65)))
