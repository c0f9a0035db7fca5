"""Convolutional front ends: what torch's own layers give, one mathematics in every form, safe files."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import agents
from agents.networks.front_ends import Conv4, FrontEnd, ResNet12, Strided
from evolution import RunSettings, evaluate, make_searcher, train
from plastic_envs.core.supervised import SupervisedTask
from plastic_envs.tasks import make_task
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.registry import format_spec, own_code, parse_spec

TASK = make_task("FewShotImageClassification,n_way=3")
NETWORKS = [
    ("self-modulated", "hebbian", {"hidden": 9}),
    ("self-modulated", "gradient", {"hidden": 9, "cell": "lstm"}),
    ("plastic-head", "decaying-hebb", {}),
    ("plastic-rnn", "oja", {"hidden": 9}),
]


class Normalised(nn.Sequential):
    """A user's own that is no FrontEnd: one convolution and torch's batch normalisation."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(nn.Conv2d(image_shape[0], 2, 3, stride=4), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten())
        self.features = 8


class Corners(FrontEnd):
    """A user's own: the four corners of an image times a number."""

    features = 4

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, image: Tensor) -> Tensor:
        return self.gain * image[:, 0, :: image.shape[2] - 1, :: image.shape[3] - 1].flatten(1)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def make(network: str, rule: str, options: dict[str, Any], front_end: str = "conv4") -> agents.Agent:
    return agents.make_for(TASK, network=network, rule=rule, front_end=front_end, seed=1, **options)


def trained_a_little(agent: agents.Agent, task: SupervisedTask = TASK) -> agents.Agent:
    """With running averages that are not those of the start."""
    searcher = make_searcher("backprop,batch_size=4", task, agent, seed=0)
    for _ in range(3):
        searcher.step()
    return searcher.agent()


def test_strided_is_four_convolutions_and_tanh() -> None:
    front_end = Strided((1, 31, 31))
    layers = [layer for convolution in front_end.convolutions for layer in (convolution, nn.Tanh())]
    image = torch.rand(3, 1, 31, 31)
    assert front_end.features == 64
    torch.testing.assert_close(front_end(image), nn.Sequential(*layers)(image).flatten(1))


@pytest.mark.parametrize(("side", "features"), [(84, 1600), (31, 64), (32, 256), (8, 64)])
def test_conv4_is_four_blocks(side: int, features: int) -> None:
    front_end = Conv4((3, side, side))
    assert front_end.features == features
    image = torch.rand(5, 3, side, side)
    expected = image
    for convolution, norm in zip(front_end.convolutions, front_end.norms, strict=True):
        plain = nn.BatchNorm2d(64)
        plain.load_state_dict(norm.state_dict())
        block = nn.Sequential(convolution, plain, nn.ReLU(), *([nn.MaxPool2d(2)] if expected.shape[-1] > 1 else []))
        expected = block(expected)
    torch.testing.assert_close(front_end(image), expected.flatten(1))


def test_conv4_has_as_many_channels_as_it_is_told() -> None:
    agent = make("plastic-head", "oja", {}, "conv4,channels=32")
    assert agent.get_parameter("front_end.convolutions.3.weight").shape == (32, 32, 3, 3)
    assert agent.get_parameter("head.weight").shape == (32, 3)


def test_resnet12_has_the_usual_size() -> None:
    front_end = ResNet12((3, 84, 84))
    assert front_end(torch.rand(2, 3, 32, 32)).shape == (2, 640)
    assert sum(value.numel() for value in front_end.parameters()) == 12_424_320


def statistics(agent: agents.Agent) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in agent.named_buffers()}


def test_training_takes_the_statistics_of_a_rollout_and_keeps_averages_of_them_once() -> None:
    agent = make("plastic-head", "decaying-hebb", {}).train()
    convolution = agent.get_submodule("front_end.convolutions.0")
    episode = agents.rollout(agent, TASK, 4, generator()).episode
    assert episode is not None
    first = convolution(episode.inputs[..., :64].reshape(-1, 1, 8, 8)).transpose(0, 1).flatten(1)  # (channels, N·H·W)
    averages = statistics(agent)
    assert averages["front_end.norms.0.num_batches_tracked"] == 1
    torch.testing.assert_close(averages["front_end.norms.0.running_mean"], 0.1 * first.mean(1))
    torch.testing.assert_close(averages["front_end.norms.0.running_var"], 0.9 + 0.1 * first.var(1))


def test_only_training_changes_averages() -> None:
    agent = make("self-modulated", "hebbian", {"hidden": 9})
    before = statistics(agent)
    both = {name: torch.stack([value, value]) for name, value in agent.named_parameters()}
    agent(torch.rand(1, TASK.observation_size))  # a single image, with gradients
    agents.rollout(agent, TASK, 3, generator())
    agents.rollout(agent, TASK, 3, generator(), parameters=both)
    evaluate(agent.train(), TASK, 8)
    assert all(torch.equal(value, before[name]) for name, value in agent.named_buffers())
    assert not evaluate(agent, TASK, 8).scores.ne(evaluate(agent.eval(), TASK, 8).scores).any()


def test_training_leaves_a_front_end_that_is_not_searched_as_it_is() -> None:
    agent = make("plastic-head", "decaying-hebb", {})
    searcher = make_searcher("backprop,batch_size=4", TASK, agent, seed=0, searched=["head.*"])
    searcher.step()
    given, found = agent.state_dict(), searcher.agent().state_dict()
    assert {name for name in given if not torch.equal(given[name], found[name])} <= {"head.weight", "head.plasticity"}
    assert not torch.equal(given["head.weight"], found["head.weight"])


def test_what_a_search_gives_is_in_evaluation_mode() -> None:
    agent = make("plastic-head", "decaying-hebb", {}).train()
    for name in ("backprop,batch_size=4", "pgpe,popsize=4,episodes=2"):
        searcher = make_searcher(name, TASK, agent, seed=0)
        searcher.step()
        assert not any(module.training for module in searcher.agent().modules())


@pytest.mark.parametrize(("network", "rule", "options"), NETWORKS)
@pytest.mark.parametrize(
    "front_end", ["conv4", "tests.agents.test_front_ends:Corners", "tests.agents.test_front_ends:Normalised"]
)
def test_rollout_equals_single_steps_and_a_population(
    network: str, rule: str, options: dict[str, Any], front_end: str
) -> None:
    agent = trained_a_little(make(network, rule, options, front_end))
    episode = TASK.sample(3, generator())
    state, outputs = None, []
    for observation in episode.inputs:
        output, state = agent(observation, state)
        outputs.append(output)
    result = agents.rollout(agent, TASK, 3, generator(), episode=episode)
    torch.testing.assert_close(result.outputs, torch.stack(outputs), rtol=1e-4, atol=1e-5)
    values = {name: torch.stack([value, value * 0.9]) for name, value in agent.named_parameters()}
    some = {name: value for name, value in values.items() if not name.startswith("front_end.")}
    for parameters in (some, values):
        with torch.no_grad():
            both = agents.rollout(agent, TASK, 3, generator(), episode=episode, parameters=parameters)
            second = {name: value[1] for name, value in parameters.items()}
            alone = agents.rollout(agent, TASK, 3, generator(), episode=episode, parameters=second)
        torch.testing.assert_close(both.outputs[0], result.outputs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(both.outputs[1], alone.outputs, rtol=1e-4, atol=1e-5)


def test_a_front_end_that_all_share_sees_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make("plastic-head", "decaying-hebb", {})
    seen: list[int] = []
    honest = Conv4.forward
    monkeypatch.setattr(Conv4, "forward", lambda self, image: (seen.append(len(image)), honest(self, image))[1])
    head = {"head.weight": torch.randn(50, *agent.get_parameter("head.weight").shape)}
    with torch.no_grad():
        agents.rollout(agent, TASK, 3, generator(), parameters=head)
    assert seen == [TASK.horizon * 3]


@pytest.mark.parametrize(("network", "rule", "options"), NETWORKS)
def test_gradients_reach_the_front_end(network: str, rule: str, options: dict[str, Any]) -> None:
    agent = make(network, rule, options)
    if network == "plastic-head":
        agent.get_parameter("head.plasticity").data.fill_(1.0)
    agents.rollout(agent, TASK, 4, generator()).loss.mean().backward()
    for name, value in agent.named_parameters():
        if name.startswith("front_end."):
            assert value.grad is not None, name
            assert value.grad.any(), name


def test_rectified_features_and_the_label_take_the_place_of_the_encoding_layer() -> None:
    agent = make("self-modulated", "hebbian", {"hidden": 9}, "tests.agents.test_front_ends:Corners")
    assert list(agent.layers()) == ["cell", "decode"]
    observation = TASK.sample(2, generator()).inputs[0]
    record: dict[str, Tensor] = {}
    agent(observation, None, record)
    image = observation[:, :64].view(2, 8, 8)
    corners = 2 * image[:, ::7, ::7].flatten(1)
    weight = agent.encode.weight
    torch.testing.assert_close(record["embedding"][:, :6], (corners @ weight[:4] + weight[4]).relu())
    torch.testing.assert_close(record["embedding"][:, 6:], observation[:, 64:])


def test_agents_are_saved_with_their_running_averages(tmp_path: Any) -> None:
    agent = trained_a_little(make("plastic-head", "oja", {}))
    agents.save(agent, tmp_path)
    again = agents.load(tmp_path)
    observation = TASK.sample(2, generator()).inputs[0]
    with torch.no_grad():
        assert torch.equal(again(observation)[0], agent(observation)[0])
    agents.save(make("plastic-head", "oja", {}, "tests.agents.test_front_ends:Corners"), tmp_path)
    with pytest.raises(UsageError, match=r"--trust tests\.agents\.test_front_ends:Corners"):
        agents.load(tmp_path)


class Wrong(nn.Module):
    """Says that it makes one feature more than it does."""

    def __init__(self, image_shape: tuple[int, int, int], extra: int = 1) -> None:
        super().__init__()
        self.features = image_shape[1] * image_shape[2] + extra

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1)


def test_options_of_a_front_end_stand_in_parentheses(tmp_path: Any) -> None:
    spec = "plastic-head,front_end=(conv4,channels=16),label_gain=10"
    agent = agents.make_for(TASK, rule="oja", network=spec)
    assert (agent.front_end.features, agent.options.label_gain) == (16, 10)
    assert parse_spec(format_spec(*parse_spec(spec))) == parse_spec(spec)
    agents.save(agent, tmp_path)
    assert agents.load(tmp_path).front_end.features == 16
    with pytest.raises(UsageError, match="different numbers of parentheses"):
        parse_spec("plastic-head,front_end=(conv4,channels=16")
    assert own_code("none,front_end=(mine:Front,width=8),source=mine:images") == ["mine:Front", "mine:images"]


def test_a_front_end_is_told_that_its_features_are_others_than_it_says() -> None:
    own = "tests.agents.test_front_ends:Wrong"
    with pytest.raises(UsageError, match=r"says features=65, and makes \(1, 64\) of an image"):
        agents.make_for(TASK, rule="oja", network=f"plastic-head,front_end={own}")
    agents.make_for(TASK, rule="oja", network=f"plastic-head,front_end=({own},extra=0)")


def test_interrupted_training_goes_on_with_the_same_averages(tmp_path: Any) -> None:
    run = RunSettings(
        "FewShotImageClassification,n_way=3", rule="decaying-hebb", network="plastic-head",
        searcher="backprop,batch_size=4", budget=40, evals=2, eval_episodes=20, agent_options={"front_end": "conv4"},
    )  # fmt: skip
    whole = train(run, tmp_path / "whole")
    begun = 0

    def stop(_: Any) -> None:
        nonlocal begun
        begun += 1
        if begun == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path / "part", progress=stop)
    again = train(run, tmp_path / "part", resume=True)
    assert again.metric == whole.metric
    contents = [(tmp_path / name / "agent.safetensors").read_bytes() for name in ("whole", "part")]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("task", "options", "sentence"),
    [
        ("CueReward", {"front_end": "conv4"}, "needs observations that begin with an image"),
        (TASK, {"front_end": "strided"}, "images of at least 31×31 pixels, not 8×8"),
        (TASK, {"front_end": "resnet12"}, "images of at least 16×16"),
        (TASK, {"front_end": "conv5"}, "unknown front end 'conv5'"),
        (TASK, {"front_end": "conv4,channels=0"}, "channels must be an integer of at least 1, not 0"),
        (TASK, {"front_end": "torch.nn:Identity"}, "features of front end 'torch.nn:Identity' must be an integer"),
        (TASK, {"front_end": "conv4", "image_shape": (9, 9)}, "no more than the observation's 67 numbers"),
        (TASK, {"front_end": "conv4", "image_shape": (8,)}, r"image_shape=\(8,\) must be \(H, W\) or \(C, H, W\)"),
        (TASK, {"front_end": "conv4", "hidden": 3}, r"hidden \(with a front end\) must be an integer of at least 4"),
        (TASK, {"front_end": "conv4", "network": "feedback", "rule": "pool"}, "unknown option 'front_end'"),
    ],
)
def test_what_makes_no_sense_is_refused(task: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        agents.make_for(make_task(task) if isinstance(task, str) else task, **options)
